"""What tells rows apart in their documents' ids."""

from __future__ import annotations

from core.documents.keys import id_of

QUOTES = ["", '"', '""', '"""']


def test_texts_and_booleans_of_one_look_have_ids_of_their_own() -> None:
    texts = [f"{left}{text}{right}" for text in ("true", "false", "") for left in QUOTES for right in QUOTES]
    keys: list[object] = [True, False, *dict.fromkeys(texts)]
    ids = [id_of("t", {"id": key}) for key in keys]
    assert len(set(ids)) == len(keys)


def test_ids_that_stay_as_they_were() -> None:
    ids = [id_of("t", {"id": each}) for each in (True, "true", "false", '"', "truer")]
    assert ids == ["t/true", 't/"true"', 't/"false"', 't/"', "t/truer"]
