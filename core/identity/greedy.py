"""Links in their one order, each kept unless it would break a limit: a pure function of the records' groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.identity.identifiers import Identifier
from core.identity.rules import Rules, natural
from core.identity.state import Group

Link = tuple[bytes, bytes]
"""A group's id and an identifier's."""


@dataclass(slots=True)
class Partition:
    """Nodes to the representative of their cluster, and for each link that was cut the type whose limit it broke."""

    roots: dict[bytes, bytes] = field(default_factory=dict)
    cut: dict[Link, str] = field(default_factory=dict)


def order(rules: Rules, gid: bytes, group: Group) -> tuple[object, ...]:
    """Where a group stands among links of one type.

    Its table's trust, then the table's place in the rules, then its identifiers.
    """
    return (*rules.tables.get(group.table, (0, 0)), group.table, [rules.order(each) for each in group.identifiers], gid)


def partition(
    groups: Mapping[bytes, Group],
    links: Mapping[bytes, Sequence[bytes]],
    rules: Rules,
    known: Mapping[bytes, Identifier],
) -> Partition:
    """The clusters of groups and identifiers.

    links  of each group the ids of its identifiers; `known` says which they are

    Links go strongest type first; of one type the more trusted table's first, then by table, then by the group's
    identifiers, then by the link's own. A link is kept unless the two clusters that it joins have more identifiers
    of a type, together, than its limit.
    """
    found = Partition({node: node for node in (*groups, *known)})
    for component in _components(groups, links, known):
        gids, iids = component
        if _within(iids, known, rules):
            found.roots.update(dict.fromkeys((*gids, *iids), gids[0] if gids else iids[0]))
        else:
            _greedy(found, {gid: groups[gid] for gid in gids}, links, rules, {iid: known[iid] for iid in iids})
    return found


def _components(
    groups: Mapping[bytes, Group], links: Mapping[bytes, Sequence[bytes]], known: Mapping[bytes, Identifier]
) -> list[tuple[list[bytes], list[bytes]]]:
    """What hangs together if nothing is cut: groups and identifiers."""
    beside = defaultdict(list)
    for gid in groups:
        for iid in links[gid]:
            beside[iid].append(gid)
    found = []
    seen: set[bytes] = set()
    for start in groups:
        if start in seen:
            continue
        seen.add(start)
        gids, iids, at = [start], list[bytes](), 0
        while at < len(gids):
            for iid in links[gids[at]]:
                if iid in seen:
                    continue
                seen.add(iid)
                iids.append(iid)
                new = [gid for gid in beside[iid] if gid not in seen]
                seen.update(new)
                gids += new
            at += 1
        found.append((gids, iids))
    return found + [([], [iid]) for iid in known if iid not in seen]


def _within(iids: Sequence[bytes], known: Mapping[bytes, Identifier], rules: Rules) -> bool:
    counts = counted(iids, known, rules)
    return all(count <= limit for count, limit in zip(counts, rules.limits, strict=True))


def counted(iids: Sequence[bytes], known: Mapping[bytes, Identifier], rules: Rules) -> list[int]:
    """How many identifiers there are of each type, strongest first."""
    counts = [0] * len(rules.limits)
    for iid in iids:
        counts[rules.ranks[known[iid].type]] += 1
    return counts


def _greedy(
    found: Partition,
    groups: Mapping[bytes, Group],
    links: Mapping[bytes, Sequence[bytes]],
    rules: Rules,
    known: Mapping[bytes, Identifier],
) -> None:
    ranks, limits = rules.ranks, rules.limits
    places = {gid: at for at, gid in enumerate(sorted(groups, key=lambda gid: order(rules, gid, groups[gid])))}
    ordered = sorted(
        (ranks[known[iid].type], places[gid], natural(known[iid].value), gid, iid)
        for gid in groups
        for iid in links[gid]
    )
    roots = found.roots
    counts: dict[bytes, list[int]] = {iid: counted([iid], known, rules) for iid in known}
    none = [0] * len(limits)

    def root(node: bytes) -> bytes:
        while roots[node] != node:
            roots[node] = node = roots[roots[node]]
        return node

    for *_, gid, iid in ordered:
        one, two = root(gid), root(iid)
        if one == two:
            continue
        both = [a + b for a, b in zip(counts.get(one, none), counts.get(two, none), strict=True)]
        broken = next((rank for rank, count in enumerate(both) if count > limits[rank]), None)
        if broken is not None:
            found.cut[gid, iid] = rules.identifiers[broken].type
            continue
        roots[two] = one
        counts[one] = both
    for node in (*groups, *known):
        roots[node] = root(node)
