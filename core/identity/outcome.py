"""What follows from a change of a record, as a net result: what came and went in between is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from core.identity.audit import Audit, Cause, Ends, audit
from core.identity.query import cluster_of, is_there, resolve
from core.identity.region import Relinked
from core.identity.state import Alias, Graph


@dataclass(frozen=True, slots=True)
class Transfer:
    """A record's facts leave one group and come to another: ids of 16 bytes, b"" being none. `record` is its name."""

    record: str
    left: bytes
    old: bytes
    joined: bytes
    new: bytes


@dataclass(frozen=True, slots=True)
class Retired:
    """A profile that is no more, and the one that its name leads to; None where nothing is left of it."""

    profile_id: str
    into: str | None


@dataclass(frozen=True, slots=True)
class Moved:
    """A group that is of another profile now. None: it is new, or gone."""

    group: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Linked:
    """What follows from one change, or from time that passed.

    profiles  those that are there and have other records, facts or identifiers than before
    born      those of them that weren't there before
    more      there is more to do at this time: call `advance` again
    """

    profiles: tuple[str, ...] = ()
    born: tuple[str, ...] = ()
    retired: tuple[Retired, ...] = ()
    moved: tuple[Moved, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    audit: tuple[Audit, ...] = ()
    more: bool = False


def consequences(
    graph: Graph, rid: bytes, log: Relinked, transfers: tuple[Transfer, ...], ends: Ends, cause: Cause
) -> Linked:
    """What follows from a change that the log has; `rid` is the record's."""
    live = frozenset(each for each in log.touched | log.lived if is_there(graph, each))
    retired = []
    for name in sorted(log.lived - live):
        into = _successor(graph, log, name)
        graph.aliases[name.hex()] = Alias(into.hex()) if into else None
        retired.append(Retired(name.hex(), into.hex() if into else None))
    for name in live - log.lived:
        if graph.aliases.get(name.hex()) is not None:
            graph.aliases[name.hex()] = None
    moved = (
        Moved(gid.hex(), _hex(before), _hex(log.after[gid]))
        for gid, before in log.before.items()
        if gid != rid and before != log.after[gid]
    )
    return Linked(
        tuple(sorted(each.hex() for each in live & log.touched)),
        tuple(sorted(each.hex() for each in live & log.touched - log.lived)),
        tuple(retired),
        tuple(moved),
        transfers,
        tuple(audit(graph, log, live, ends, cause)),
    )


def _successor(graph: Graph, log: Relinked, name: bytes) -> bytes | None:
    """Whom the name of a profile leads to that is no more."""
    handle = cluster_of(graph, name)
    if handle:
        return graph.clusters[handle].canonical
    went = Counter(log.after[each] for each, before in log.before.items() if before == name)
    found = [(-count, into) for into, count in went.items() if into is not None]
    return min(found)[1] if found else None


def together(graph: Graph, done: Sequence[Linked]) -> Linked:
    """Several steps as one: what stands at the end."""
    lived: dict[str, bool] = {}
    for linked in done:
        for name in (*(each.profile_id for each in linked.retired), *linked.profiles):
            lived.setdefault(name, name not in linked.born)
    there = {name for name in lived if is_there(graph, bytes.fromhex(name))}
    gone = sorted(name for name, before in lived.items() if before and name not in there)
    moved: dict[str, Moved] = {}
    for each in (each for linked in done for each in linked.moved):
        moved[each.group] = Moved(each.group, moved.get(each.group, each).before, each.after)
    return Linked(
        tuple(sorted(there)),
        tuple(sorted(name for name in there if not lived[name])),
        tuple(Retired(each, resolve(graph, each)) for each in gone),
        tuple(each for each in moved.values() if each.before != each.after),
        tuple(each for linked in done for each in linked.transfers),
        tuple(each for linked in done for each in linked.audit),
    )


def _hex(name: bytes | None) -> str | None:
    return None if name is None else name.hex()
