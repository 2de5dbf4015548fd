"""Laws of the identity graph: what it comes to is what linking the same records at once comes to."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from core.change import Position
from core.identity.identifiers import Identifier
from core.identity.ids import split
from core.identity.linking import RecordChange, advance, step
from core.identity.outcome import Linked
from core.identity.query import find, person, records_of, resolve
from core.identity.rules import HOUR_MS, IdentifierRule, Rules
from core.identity.state import Graph, Memory
from tests.core.identity_batch import People, latest, link
from tests.laws import examples

EXAMPLES = examples(1000)

TYPES = ("customer", "email", "device")
TABLES = ("crm", "orders", "web")

identifiers = st.builds(Identifier, st.sampled_from(TYPES), st.sampled_from(["1", "2", "10", "a", "b"]))

rules = st.builds(
    lambda limits, shared, trust, days, alone: Rules(
        [
            IdentifierRule(kind, limit, most, expires * HOUR_MS)
            for kind, limit, most, expires in zip(TYPES, limits, shared, days, strict=True)
        ],
        dict(zip(TABLES, trust, strict=True)),
        keep_alone=alone,
        remember_ms=1000 * HOUR_MS,
    ),
    st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3)),
    st.tuples(*[st.sampled_from([2, 3, 1000])] * 3),
    st.tuples(*[st.integers(0, 2)] * 3),
    st.tuples(st.just(0), st.just(0), st.sampled_from([0, 0, 3])),
    st.booleans(),
)


@st.composite
def histories(draw: st.DrawFn, most: int = 14) -> list[RecordChange]:
    """Changes of a few records, in an order in which each record's own are in order."""
    changes = []
    for number in range(draw(st.integers(1, most))):
        key = draw(st.integers(1, 6))
        table = TABLES[key % 3]
        deleted = draw(st.integers(0, 4)) == 0
        held = () if deleted else tuple(draw(st.lists(identifiers, max_size=3, unique=True)))
        time = draw(st.integers(0, 8)) * HOUR_MS
        changes.append(RecordChange(f"{table}/{key}", table, Position(f"{number:04}"), time, held, deleted=deleted))
    return changes


def shuffled(data: st.DataObject, changes: Sequence[RecordChange]) -> list[RecordChange]:
    """Another interleaving of the same records' changes, as from other partitions."""
    order = data.draw(st.permutations(range(len(changes))))
    waiting = {record: iter([c for c in changes if c.record == record]) for record in {c.record for c in changes}}
    return [next(waiting[changes[at].record]) for at in order]


def people(graph: Graph) -> People:
    store = graph_store(graph)
    found: People = {}
    for key in [key for key in store if key.startswith("c")]:
        name = graph.clusters[int(key[1:])].canonical.hex()
        assert name not in found
        whole = person(graph, name)
        assert whole is not None
        records = [record.name for group in whole.groups for record in records_of(graph, group)]
        assert len(records) == len(set(records))
        found[name] = (frozenset(records), frozenset(whole.identifiers))
    return found


def graph_store(graph: Graph) -> Memory:
    return graph.clusters._store  # type: ignore[return-value]


def sound(graph: Graph, found: People) -> None:
    """No profile beyond a limit, no identifier of two, nothing left behind in the state."""
    everywhere = [each for _, held in found.values() for each in held]
    assert len(everywhere) == len(set(everywhere))
    for name, (_, held) in found.items():
        for rule in graph.rules.identifiers:
            assert sum(each.type == rule.type for each in held) <= rule.limit
        assert all(find(graph, each) == name for each in held)
        assert resolve(graph, name) == name
        cluster = graph.clusters[graph.nodes[bytes.fromhex(name)].cluster] if held else None
        if cluster is not None:
            assert sum(cluster.counts) == len(split(cluster.identifiers)) == len(held)
    store = graph_store(graph)
    assert sum(key.startswith("g") for key in store) == sum(
        len(whole.groups) for name in found if (whole := person(graph, name)) is not None
    )
    assert not found or any(key.startswith("c") for key in store)


def reflect(graph: Graph, linked: Linked, mirror: dict[str, frozenset[str]]) -> None:
    """A store that receives what changed, and nothing else, has the profiles."""
    graph.save()
    for retired in linked.retired:
        del mirror[retired.profile_id]
        assert retired.into is None or resolve(graph, retired.profile_id) == retired.into
    for name in linked.profiles:
        whole = person(graph, name)
        assert whole is not None
        assert (name not in mirror) == (name in linked.born)
        mirror[name] = frozenset(record.name for group in whole.groups for record in records_of(graph, group))
    assert mirror == {name: records for name, (records, _) in people(graph).items()}


def follow(changes: Sequence[RecordChange], with_rules: Rules, hours: Sequence[int] = ()) -> Graph:
    store = Memory()
    mirror: dict[str, frozenset[str]] = {}
    for at, change in enumerate(changes):
        graph = Graph(store, with_rules)
        reflect(graph, step(graph, change), mirror)
        if at < len(hours):
            reflect(graph, advance(graph, hours[at] * HOUR_MS), mirror)
    return Graph(store, with_rules)


@settings(max_examples=EXAMPLES)
@given(histories(), rules, st.data())
def test_the_stream_comes_to_what_the_batch_does(changes: list[RecordChange], some: Rules, data: st.DataObject) -> None:
    hours = data.draw(st.lists(st.integers(0, 12), max_size=len(changes)).map(sorted))
    graph = follow(changes, some, hours)
    found = people(graph)
    assert found == link(latest(changes), some, graph.meta.hour)
    sound(graph, found)
