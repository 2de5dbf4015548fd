"""Stores that stand at times to come: what is said of them, and when nothing is."""

from __future__ import annotations

from core.change import BEGINNING, Position
from core.documents.clocks import ahead, refused
from core.documents.unfolding import ObjectState, looked_ms, position

NOW = 1_800_000_000_000
DAY = 86_400_000


def at(ms: int, looks: int = 0) -> Position:
    return position(ObjectState(ms, looks))


def test_a_position_s_time() -> None:
    assert looked_ms(at(NOW, 3)) == NOW
    assert looked_ms(BEGINNING) == looked_ms(Position("7")) == looked_ms(Position("x" * 20)) == 0


def test_a_store_that_is_ahead_is_named_with_its_time_and_the_ways_on() -> None:
    said = ahead({"store.pgvector": at(NOW + DAY), "store.opensearch": at(NOW + 30 * DAY)}, NOW)
    assert said.startswith(
        "store.opensearch stands at 2027-02-14T08:00:00+00:00, 30 days ahead of this machine's clock"
    )
    assert "--without-state" in said and "another table or index" in said
    assert "90 minutes ahead" in ahead({"a": at(NOW + 90 * 60_000)}, NOW)
    assert "5 hours ahead" in ahead({"a": at(NOW + 5 * 3_600_000)}, NOW)


def test_clocks_that_differ_a_little_and_empty_stores_are_no_news() -> None:
    assert ahead({"a": BEGINNING, "b": at(NOW - DAY), "c": at(NOW + 5_000)}, NOW) == ahead({}, NOW) == ""


def test_changes_that_were_refused_are_counted_with_the_ways_on() -> None:
    assert refused(0) == ""
    assert refused(1_200).startswith("1,200 changes of files or objects were refused") and "check" in refused(1)
