"""What stores keep of how far a job is, and what their answers say of the changes that they show."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.change import Position
from core.errors import Displaced
from core.shards.progress import Progress, Reached
from core.stores.contract import Stood
from tests.connectors.servers import Opener, Server
from tests.connectors.test_store_contract import apply, plan, rows, vector_of
from tests.connectors.test_store_owner import owner

FAR = {"a.b/0": Reached(7, "0000000001f3b748", 1_700_000_000_123), "ü/1": Reached(0)}


def test_what_a_run_says_is_kept_until_it_says_something_else(place: Opener) -> None:
    store = place()
    store.prepare()
    assert store.progress() is None
    store.keep(Progress(0, 1, FAR, ("a.b/1",)))
    assert store.progress() == Progress(0, 1, FAR, ("a.b/1",))
    store.keep(Progress(0, 2, {}))
    assert store.progress() == Progress(0, 2, {})
    # it is no document, and nothing that clears or counts documents takes it for one
    assert apply(store, plan("t/1", "5", "one")) == ["applied"]
    store.clear("t", Position("6"))
    store.clear("", Position("6"))
    assert list(store.document_ids()) == []
    assert store.bereft() == 0
    assert store.progress() == Progress(0, 2, {})
    store.close()


def test_a_run_that_was_taken_over_says_nothing_any_more(place: Opener) -> None:
    first, second = place(owner=owner(1)), place(owner=owner(2))
    first.prepare()
    first.keep(Progress(1, 1, FAR))
    second.keep(Progress(2, 2, {}))
    with pytest.raises(Displaced):
        first.keep(Progress(1, 3, FAR))
    assert second.progress() == Progress(2, 2, {})
    for each in (first, second):
        each.close()


def test_answers_say_which_change_they_show(place: Opener, server: Server) -> None:
    store = place()
    store.prepare()
    known = plan("t/1", "5", "one", "two", metadata={"lang": "ü", "n": [1, None, 2.5]}, committed_ms=1_700_000_000_123)
    unknown = plan("t/2", "6", "three")
    assert apply(store, known, unknown) == ["applied", "applied"]
    stood = {"t/1": Stood(Position("5"), 1_700_000_000_123), "t/2": Stood(Position("6"))}
    assert store.stood(["t/1", "t/2", "t/3"]) == stood
    assert {hit.document_id: hit.stood for hit in rows(store)} == stood
    if server.has_words:
        assert {hit.document_id: hit.stood for hit in store.match("one three", 5, vector=vector_of(""))} == stood
    assert store.read(["t/1"])["t/1"].committed_ms == 1_700_000_000_123
    # kept chunks are the later change's as much as new ones, and its deletion stands too
    assert apply(store, replace(known, position=Position("7"), committed_ms=2, write=())) == ["applied"]
    assert {hit.stood for hit in rows(store) if hit.document_id == "t/1"} == {Stood(Position("7"), 2)}
    assert apply(store, plan("t/1", "8", committed_ms=3)) == ["applied"]
    assert store.stood(["t/1"]) == {"t/1": Stood(Position("8"), 3)}
    assert store.read(["t/1"]) == {}
    store.close()
