"""What happened to profiles, and why: one record for each merge, split, new name and link that was cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from core.change import Position
from core.identity.identifiers import Identifier
from core.identity.region import Relinked
from core.identity.rules import identifier_id
from core.identity.state import Graph


class Why(StrEnum):
    """What happened to the record that the rest follows from."""

    CHANGED = "changed"
    DELETED = "deleted"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Cause:
    """The record's change that something followed from: its id, position and event time in ms since 1970."""

    record: str
    position: Position
    time_ms: int
    why: Why


class Kind(StrEnum):
    """What happened to a profile.

    merged    the others became part of it
    split     parts of it are the others now
    renamed   it was called as the other before
    cut       a link of it wasn't made, or was undone, because a limit would be broken
    restored  such a link is made now
    shared    an identifier stands on too many groups: it links nothing any longer; of no profile
    unshared  it links again
    """

    MERGED = "merged"
    SPLIT = "split"
    RENAMED = "renamed"
    CUT = "cut"
    RESTORED = "restored"
    SHARED = "shared"
    UNSHARED = "unshared"


@dataclass(frozen=True, slots=True)
class Audit:
    """What happened to a profile, and why.

    identifiers  those by which it came: of a merge the record's that link now, of a split the record's that it has no
                 longer, of a link its own
    reason       in words, without the identifiers' values
    """

    kind: Kind
    profile_id: str
    others: tuple[str, ...]
    identifiers: tuple[Identifier, ...]
    reason: str
    cause: Cause


@dataclass(frozen=True, slots=True)
class Ends:
    """The identifiers of the record that changed: before and after."""

    before: tuple[Identifier, ...]
    after: tuple[Identifier, ...]


def audit(graph: Graph, log: Relinked, live: frozenset[bytes], ends: Ends, cause: Cause) -> Iterator[Audit]:
    """The audit records of a change. `live`: the touched profiles that are there now."""
    yield from _merges(graph, log, live, ends, cause)
    yield from _splits(log, live, ends, cause)
    yield from _links(graph, log, cause)
    for identifier, shared in log.shared.items():
        rule = graph.rules.by_type[identifier.type]
        kind = Kind.SHARED if shared else Kind.UNSHARED
        count = "more than" if shared else "no more than"
        reason = f"this {identifier.type} stands on {count} {rule.shared} sets of identifiers"
        yield Audit(kind, "", (), (identifier,), reason, cause)


def _merges(graph: Graph, log: Relinked, live: frozenset[bytes], ends: Ends, cause: Cause) -> Iterator[Audit]:
    for name in _sorted(log.after.values()):
        came = {log.before[each] for each, after in log.after.items() if after == name} - {name, None}
        ended = _sorted(each for each in came if each not in live)
        by = tuple(each for each in ends.after if _holds(graph, name, each))
        said = f"record {cause.record} {cause.why}"
        if ended and (name in log.lived or len(ended) > 1):
            yield Audit(Kind.MERGED, name.hex(), _hex(ended), by, said, cause)
        elif ended and len(_targets(log, ended[0], live)) == 1:
            yield Audit(Kind.RENAMED, name.hex(), _hex(ended), by, said, cause)


def _splits(log: Relinked, live: frozenset[bytes], ends: Ends, cause: Cause) -> Iterator[Audit]:
    lost = tuple(each for each in ends.before if each not in ends.after)
    for name in _sorted(log.before.values()):
        targets = _targets(log, name, live)
        if len(targets) > 1:
            others = _hex(_sorted(targets - {name}))
            yield Audit(Kind.SPLIT, name.hex(), others, lost, f"record {cause.record} {cause.why}", cause)


def _links(graph: Graph, log: Relinked, cause: Cause) -> Iterator[Audit]:
    for (gid, iid), type_ in sorted(log.cut.items()):
        group, node = graph.groups.get(gid), graph.nodes.get(iid)
        if group is not None and node is not None:
            limit = graph.rules.by_type[type_].limit
            other = _called(graph, node.cluster)
            what = f"a record of {group.table} and this {node.identifier.type}"
            reason = f"together {what} would break {type_}'s limit, {limit}"
            yield Audit(Kind.CUT, *_of(graph, group.cluster, other), (node.identifier,), reason, cause)
    for gid, iid in sorted(log.healed):
        group, node = graph.groups.get(gid), graph.nodes.get(iid)
        if group is not None and node is not None:
            reason = f"a record of {group.table} and this {node.identifier.type} break no limit any longer"
            yield Audit(Kind.RESTORED, *_of(graph, group.cluster, ()), (node.identifier,), reason, cause)


def _of(graph: Graph, handle: int, others: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    return _called(graph, handle)[0], others


def _called(graph: Graph, handle: int) -> tuple[str, ...]:
    return (graph.clusters[handle].canonical.hex(),) if handle else ()


def _targets(log: Relinked, name: bytes, live: frozenset[bytes]) -> set[bytes]:
    """The profiles that have now what this one had."""
    went = {log.after[each] for each, before in log.before.items() if before == name}
    return {each for each in went if each is not None} | ({name} & live)


def _holds(graph: Graph, name: bytes, identifier: Identifier) -> bool:
    node = graph.nodes.get(identifier_id(identifier))
    return node is not None and node.cluster != 0 and graph.clusters[node.cluster].canonical == name


def _sorted(names: Iterable[bytes | None]) -> list[bytes]:
    return sorted({each for each in names if each is not None})


def _hex(names: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(each.hex() for each in names)
