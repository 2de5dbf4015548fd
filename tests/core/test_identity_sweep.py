"""A table that is emptied at a position: what comes after it stands, whenever what came before it arrives."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from core.change import Position
from core.identity.audit import Why
from core.identity.linking import RecordChange, advance, clear, step, sweep
from core.identity.rules import HOUR_MS, Rules
from core.identity.state import Graph, Memory
from tests.core.identity_batch import latest, link
from tests.core.test_identity import EXAMPLES, TABLES, graph_store, histories, people, rules, shuffled, sound
from tests.laws import examples


def emptied(graph: Graph, table: str, before: Position, at_once: int) -> None:
    found = sweep(graph, table, before)
    graph.save()
    for at in range(0, len(found), at_once):
        clear(graph, found[at : at + at_once], before, 5 * HOUR_MS)
        graph.save()


@settings(max_examples=EXAMPLES)
@given(histories(), rules, st.sampled_from(TABLES), st.integers(0, 14), st.integers(1, 3), st.data())
def test_the_stream_comes_to_the_batch_of_what_is_left(
    changes: list[RecordChange], some: Rules, table: str, number: int, at_once: int, data: st.DataObject
) -> None:
    before = Position(f"{number:04}")
    arriving = shuffled(data, changes)
    heard = data.draw(st.integers(0, len(arriving)))
    again = data.draw(st.booleans())
    graph = Graph(Memory(), some)
    for at, change in enumerate(arriving):
        if at == heard:
            emptied(graph, table, before, at_once)
        step(graph, change)
        graph.save()
    if heard == len(arriving) or again:
        emptied(graph, table, before, at_once)
    left = [each for each in latest(changes) if each.table != table or each.position >= before]
    found = people(graph)
    assert found == link(left, some, graph.meta.hour)
    sound(graph, found)


@settings(max_examples=examples(200))
@given(histories(), rules, st.lists(st.integers(0, 12), max_size=4).map(sorted), st.integers(1, 3))
def test_of_emptied_tables_nothing_is_kept_but_that_they_were_and_where_names_lead(
    changes: list[RecordChange], some: Rules, hours: list[int], at_once: int
) -> None:
    graph = Graph(Memory(), some)
    for at, change in enumerate(changes):
        step(graph, change)
        graph.save()
        if at < len(hours):
            advance(graph, hours[at] * HOUR_MS)
            graph.save()
    for table in TABLES:
        emptied(graph, table, Position("9"), at_once)
    last = {each.record: each for each in changes}
    assert {each.name for _, each in graph.records.saved()} <= {name for name, each in last.items() if each.deleted}
    advance(graph, 2_000 * HOUR_MS)
    graph.save()
    assert {key[0] for key in graph_store(graph)} <= {"m", "t", "a"}


def test_what_is_cleared_is_reported_with_its_cause() -> None:
    some = Rules([], {"crm": 0, "web": 0})
    graph = Graph(Memory(), some)
    step(graph, RecordChange("crm/1", "crm", Position("1"), 0))
    step(graph, RecordChange("web/1", "web", Position("1"), 0))
    graph.save()
    linked = clear(graph, sweep(graph, "crm", Position("5")), Position("5"), HOUR_MS)
    assert len(linked.retired) == 1 and linked.profiles == ()
    assert {each.cause.why for each in linked.audit} <= {Why.DELETED}
    graph.save()
    assert step(graph, RecordChange("crm/1", "crm", Position("4"), 0)).profiles == ()
    assert len(step(graph, RecordChange("crm/1", "crm", Position("5"), 0)).profiles) == 1
