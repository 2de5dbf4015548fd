"""What a message of the topic of outcomes says to whom."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.change import Position
from core.plans import Plan, earlier_of
from core.stores.filters.evaluation import passes
from core.stores.filters.language import EVERYTHING, parse
from core.stores.outcomes import Cleared, Gone, There, applied, cleared, fitted, heard, of_stored

COLUMNS = {"tenant", "price"}
ACME = parse({"tenant": "acme"}, COLUMNS)
metadata = st.fixed_dictionaries({"tenant": st.sampled_from(["acme", "beta", None]), "price": st.integers(0, 3)})
filters = st.sampled_from(
    [{}, {"tenant": "acme"}, {"not": {"tenant": "acme"}}, {"price": {"gte": 2}}, {"tenant": {"exists": True}}]
)


def plan(now: dict[str, Any] | None, **more: Any) -> Plan:
    return Plan("a/1", Position("7"), ("c",) if now is not None else (), (), now or {}, committed_ms=5, **more)


@given(st.none() | metadata, st.lists(metadata, max_size=3), filters)
def test_what_is_heard_follows_from_what_passed_and_passes(
    now: dict[str, Any] | None, earlier: list[dict[str, Any]], text: dict[str, Any]
) -> None:
    among = parse(text, COLUMNS)
    message = applied("articles", plan(now), ["pgvector"], [json.dumps(each) for each in earlier])
    found = heard(message, "articles", "pgvector", among)
    if now is not None and passes(among, now):
        assert isinstance(found, There) and json.loads(found.metadata) == now and found.committed_ms == 5
    elif any(passes(among, each) for each in earlier):
        assert found == Gone("a/1", Position("7"), 5)
    else:
        assert found is None


def test_another_store_s_outcomes_are_not_heard() -> None:
    message = applied("articles", plan({"tenant": "acme"}), ["opensearch"], [])
    assert (
        heard(message, "articles", "pgvector", EVERYTHING) is None
        and heard(message, "articles", "opensearch", EVERYTHING) is not None
    )
    swept = cleared("articles", "a", Position("8"), ["opensearch"])
    assert heard(swept, "articles", "opensearch", ACME) == Cleared("articles", "a", Position("8"), ("opensearch",))
    assert heard(swept, "articles", "pgvector", ACME) is None
    gone = of_stored("articles", "a/1", Position("9"), "pgvector", None, ['{"tenant": "acme"}'])
    assert heard(gone, "articles", "pgvector", ACME) == Gone("a/1", Position("9"), None)


def test_another_pipeline_s_outcomes_in_the_same_topic_are_not_heard() -> None:
    metadata = '{"tenant": "acme"}'
    for message in (
        applied("tickets", plan({"tenant": "acme"}), ["pgvector"], []),
        of_stored("tickets", "a/1", Position("9"), "pgvector", None, [metadata]),
        cleared("tickets", "a", Position("8"), ["pgvector"]),
    ):
        assert heard(message, "tickets", "pgvector", ACME) is not None
        assert all(heard(message, "articles", "pgvector", among) is None for among in (ACME, EVERYTHING))


def test_numbers_keep_their_digits() -> None:
    message = applied("articles", plan({"tenant": "acme", "price": "0.30"}, numbers=("price",)), ["pgvector"], [])
    found = heard(message, "articles", "pgvector", parse({"price": {"lt": 0.31}}, COLUMNS))
    assert isinstance(found, There) and b"0.30" in found.metadata and b'"0.30"' not in found.metadata


def test_what_is_too_large_for_the_topic_is_heard_by_those_alone_who_may_see_all() -> None:
    whole = applied("articles", plan({"tenant": "acme" * 1_000}), ["pgvector"], ['{"tenant": "acme"}'])
    assert fitted(whole, len(whole)) == whole
    cut = fitted(whole, 1_000)
    assert len(cut) < 1_000
    assert heard(cut, "articles", "pgvector", EVERYTHING) == There("a/1", Position("7"), 5, b"{}")
    assert heard(cut, "articles", "pgvector", ACME) is None
    assert heard(cut, "articles", "pgvector", parse({"not": {"tenant": "acme"}}, COLUMNS)) is None


def test_a_deletion_is_one_also_where_what_it_was_is_too_large_for_the_topic() -> None:
    whole = applied("articles", plan(None), ["pgvector"], [json.dumps({"tenant": "acme" * 1_000})])
    cut = fitted(whole, 1_000)
    assert heard(cut, "articles", "pgvector", EVERYTHING) == Gone("a/1", Position("7"), 5)
    assert heard(cut, "articles", "pgvector", ACME) is None


def test_a_batch_keeps_what_each_of_its_plans_says_of_before() -> None:
    first, second = plan({}, earlier=("A",)), plan({}, earlier=("B", "A"))
    assert earlier_of([first, second, plan({})]) == {"a/1": ("A", "B")}
