"""All records linked at once, in the plainest way that the order rule of `core.identity.linking` can be read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from core.identity.identifiers import Identifier
from core.identity.linking import RecordChange
from core.identity.rules import HOUR_MS, Rules, digest, identifier_id

People = dict[str, tuple[frozenset[str], frozenset[Identifier]]]
"""Profile id to records and identifiers."""


def latest(changes: Iterable[RecordChange]) -> list[RecordChange]:
    """The records as they are after all changes, whatever the order of these."""
    last: dict[str, RecordChange] = {}
    for change in changes:
        if change.record not in last or last[change.record].position < change.position:
            last[change.record] = change
    return [change for change in last.values() if not change.deleted]


def number_first(value: str) -> tuple[int, int, str]:
    return (0, int(value), value) if value.isdecimal() else (1, 0, value)


def group_id(table: str, identifiers: Iterable[Identifier]) -> bytes:
    return digest("group", table, *(part for each in identifiers for part in each))


def link(records: Iterable[RecordChange], rules: Rules, hour: int) -> People:
    types = [rule.type for rule in rules.identifiers]
    rule_of = {rule.type: rule for rule in rules.identifiers}
    tables = list(rules.trust)

    def place(identifier: Identifier) -> tuple[int, tuple[int, int, str]]:
        return types.index(identifier.type), number_first(identifier.value)

    members: dict[tuple[str, tuple[Identifier, ...]], list[str]] = defaultdict(list)
    alone: People = {}
    for record in records:
        standing = [
            each
            for each in set(record.identifiers)
            if not rule_of[each.type].expires_ms or hour <= (record.time_ms + rule_of[each.type].expires_ms) // HOUR_MS
        ]
        if standing:
            members[record.table, tuple(sorted(standing, key=place))].append(record.record)
        elif rules.keep_alone:
            alone[digest("alone", record.record).hex()] = (frozenset([record.record]), frozenset())
    degree = Counter(each for _, identifiers in members for each in identifiers)
    links = [
        (
            types.index(each.type),
            -rules.trust[group[0]],
            tables.index(group[0]),
            [*map(place, group[1])],
            place(each),
            group,
            each,
        )
        for group in members
        for each in group[1]
        if degree[each] <= rule_of[each.type].shared
    ]
    cluster: dict[object, set[object]] = {node: {node} for node in [*members, *degree]}
    for *_, group, each in sorted(links):
        one, two = cluster[group], cluster[each]
        counts = Counter(node.type for node in one | two if isinstance(node, Identifier))
        if all(counts[rule.type] <= rule.limit for rule in rules.identifiers):
            for node in one | two:
                cluster[node] = one | two
    people: People = {}
    for nodes in {id(found): found for found in cluster.values()}.values():
        identifiers = frozenset(node for node in nodes if isinstance(node, Identifier))
        groups = [group for group in members if group in nodes]
        if not groups:
            continue
        name = identifier_id(min(identifiers, key=place)) if identifiers else group_id(*groups[0])
        people[name.hex()] = (frozenset(record for group in groups for record in members[group]), identifiers)
    return people | alone
