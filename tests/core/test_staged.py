"""Documents as records: written, read back, split, and held to the published schema."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.change import Position
from core.errors import DecodeError, StoreRejected
from core.plans import Chunk
from core.stores.contract import Stood
from core.stores.staged import Index, Known, Maker, Staged, document_of, joined, key_of, read, records
from tests.pages import ROOT

SCHEMA = jsonschema.Draft202012Validator(
    json.loads((ROOT / "docs" / "staged-record.schema.json").read_text(encoding="utf-8"))
)
BY = Maker("articles", "m", 4, made="0123456789abcdef")
TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=200)


def staged(position: str = "5", *texts: str, **others: Any) -> Staged:
    chunks = tuple(Chunk(f"c{at}", at, text) for at, text in enumerate(texts))
    vectors = np.random.default_rng(1).standard_normal((len(texts), 4)).astype(np.float32)
    given = {"metadata": '{"lang": "en"}', "numbers": (), "document_id": "public.a/1"} | others
    return Staged(
        given["document_id"], Position(position), 7, "m", chunks, vectors, given["metadata"], given["numbers"]
    )


def back(made: list[tuple[bytes, bytes]]) -> Staged:
    parts = sorted((read(value) for _, value in made), key=lambda each: each.number)
    assert [each.of for each in parts] == [len(parts)] * len(parts)
    return joined([each.staged for each in parts])


def same(one: Staged, other: Staged) -> bool:
    fields = ("document_id", "position", "committed_ms", "model", "chunks", "metadata", "numbers")
    return all(getattr(one, name) == getattr(other, name) for name in fields) and np.array_equal(
        one.vectors, other.vectors
    )


@settings(max_examples=40)
@given(texts=st.lists(TEXT, min_size=1, max_size=30), name=TEXT.filter(bool), largest=st.integers(2_000, 20_000))
def test_a_document_comes_back_of_its_records_whatever_their_size(texts: list[str], name: str, largest: int) -> None:
    wanted = staged("5", *texts, document_id=f"public.a/{name}")
    made = records(wanted, BY, largest)
    assert same(back(made), wanted)
    assert all(len(key) + len(value) <= largest for key, value in made)
    assert [document_of(key) for key, _ in made] == [(wanted.document_id, at) for at in reversed(range(len(made)))]
    for _, value in made:
        SCHEMA.validate(json.loads(value))


def test_the_schema_refuses_what_is_none() -> None:
    value = json.loads(records(staged("5", "one"), BY, 10_000)[0][1])
    for wrong in ({"version": 2}, {"position": 5}, {"chunks": [{"id": "c0"}]}, {"fingerprint": {}}):
        with pytest.raises(jsonschema.ValidationError):
            SCHEMA.validate({**value, **wrong})


def test_numbers_keep_their_digits() -> None:
    metadata = '{"price": 99999999999999999999.90, "n": [1.50]}'
    assert back(records(staged("5", "one", metadata=metadata, numbers=("price",)), BY, 10_000)).metadata == metadata


def test_half_precision_rounds_to_three_digits() -> None:
    wanted = staged("5", "one")
    half = back(records(wanted, Maker("articles", "m", 4, "float16"), 10_000))
    assert not np.array_equal(half.vectors, wanted.vectors) and np.allclose(half.vectors, wanted.vectors, rtol=1e-3)


def test_a_chunk_that_no_record_holds_is_refused() -> None:
    with pytest.raises(StoreRejected, match=r"chunk 1 is a record of 20,\d+ bytes .* the topic takes 10,000"):
        records(staged("5", "one", "x" * 20_000), BY, 10_000)


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff", b'{"version": 1}', b"[1]"])
def test_what_is_no_record_is_refused(value: bytes) -> None:
    with pytest.raises(DecodeError, match="is no staged document"):
        read(value)


def test_a_vector_of_another_length_is_refused() -> None:
    ((_, value),) = records(staged("5", "one"), BY, 10_000)
    changed = json.loads(value)
    changed["chunks"][0]["vector"] = "AAAA"
    with pytest.raises(DecodeError, match="isn't 4 numbers of float32"):
        read(json.dumps(changed).encode())
    with pytest.raises(DecodeError, match="of version 2, this release reads 1: upgrade"):
        read(json.dumps({**json.loads(value), "version": 2}).encode())


def taken(index: Index, document: Staged, offset: int, largest: int = 10_000) -> list[Known | None]:
    made = records(document, BY, largest)
    return [index.take(key, value, None, (0, offset + at)) for at, (key, value) in enumerate(made)]


def test_the_latest_position_counts_whatever_comes_behind_it() -> None:
    index = Index()
    assert taken(index, staged("5", "one"), 0) == [None]
    known = index.known["public.a/1"]
    assert (known.position, known.places, known.chunk_ids) == ("5", ((0, 0),), ("c0",))
    assert taken(index, staged("4", "older"), 1) == [known], "what was overtaken is told"
    assert index.take(key_of("public.a/1"), None, Stood(Position("4")), (0, 2)) == known
    assert taken(index, staged("5", "again"), 3) == [None] and index.known["public.a/1"].places == ((0, 3),)
    assert index.take(key_of("public.a/1"), None, Stood(Position("6")), (0, 4)) is None
    assert index.living() == {} and index.known["public.a/1"] == Known(Position("6"))
    assert index.take(key_of("public.a/1"), None, None, (0, 5)) is None and index.known == {}


def test_a_document_is_there_once_all_its_parts_of_one_position_are() -> None:
    index, large = Index(), staged("5", *["x" * 3_000] * 7)
    made = records(large, BY, 8_000)
    assert len(made) == 4
    # one part is of a later writing that never came to its end
    later = records(staged("6", *["y" * 3_000] * 7), BY, 8_000)
    for at, (key, value) in enumerate([*made[:2], later[2], made[3]]):
        index.take(key, value, None, (0, at))
    assert index.known == {}
    for at, (key, value) in enumerate(made):
        index.take(key, value, None, (0, 10 + at))
    assert index.known["public.a/1"].places == ((0, 13), (0, 12), (0, 11), (0, 10))


def test_a_table_is_its_documents_alone() -> None:
    index = Index()
    for name in ("public.a/1", "public.ab/1", "public.a/2"):
        taken(index, staged("5", "one", document_id=name), 0)
    assert sorted(each for each, _ in index.of_table("public.a")) == ["public.a/1", "public.a/2"]
