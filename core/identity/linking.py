"""Records to persons: an identity graph that follows the changes of records, deletions and corrections included.

A record (a row of a source) names identifiers. Records that share one are of the same person, within limits. This
follows the records one change at a time, and each change costs what is near it. What it comes to at any time is a pure
function of the records as they are then, and of the graph's clock:

1. An identifier of a record links until its type's `expires_ms` after the record's event time, rounded up to the hour.
2. Records of one table with the same identifiers are one *group*: they are linked alike.
3. An identifier in more groups than its type's `shared` links nothing.
4. Of all others the links between groups and identifiers are taken in one order: strongest type first; of one type the
   table of the highest trust first, then the tables as the rules have them, then the groups by their identifiers (whole
   numbers by size, before texts), then the link's own identifier. A link is kept unless the two clusters that it joins
   would have, together, more identifiers of a type than its limit; then it is cut.
5. A cluster is a profile. It is called by its strongest identifier, of several the first in that order; a group that
   none of its identifiers links, by itself.

So nothing depends on the order in which changes came, how often, or what stood in between: following the stream equals
linking the same records afresh, ids included. Without limits in play the order of 4 has no say. No position and no time
orders links: the positions of different records don't compare, and a snapshot that is read again would have others.
The price: a newcomer that goes first may take the place of one that stood.

An identifier is of one profile at most, as it is in one cluster. The name of a profile that is no more stays an alias
of the one that holds its identifier, else of the one that most of its groups went to. Aliases tell what was: they alone
depend on the history.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from core.change import BEGINNING, Position
from core.documents.forgetting import table_of
from core.errors import ProfileError
from core.identity.audit import Cause, Ends, Why
from core.identity.identifiers import Identifier
from core.identity.ids import Ids, add, all_of, remove
from core.identity.links import add_group, remove_group
from core.identity.outcome import Linked, Transfer, consequences, together
from core.identity.query import profile_of
from core.identity.region import Relinked
from core.identity.rules import HOUR_MS, digest
from core.identity.state import Due, Graph, Group, Record


@dataclass(frozen=True, slots=True)
class RecordChange:
    """What a record says now; of one that was deleted `identifiers` and `facts` say nothing.

    record       its id: table and key
    position     orders the changes of this record
    time_ms      when it happened, in milliseconds since 1970
    facts        what it says beside identifiers, in bytes: `core.profiles.merging`
    anew         it says other things than at its position before: a late change brought what this one had left out
    """

    record: str
    table: str
    position: Position
    time_ms: int
    identifiers: tuple[Identifier, ...] = ()
    facts: bytes = b""
    deleted: bool = False
    anew: bool = False


def step(graph: Graph, change: RecordChange, replayed: bool = False) -> Linked:
    """Follow a record's change. Late and repeated ones change nothing; `replayed`: tell again what stands.

    The graph's changes wait for its `save`. Raises ProfileError for an identifier of a type without rule.
    """
    unknown = [each.type for each in change.identifiers if each.type not in graph.rules.ranks]
    if unknown:
        raise ProfileError(f"record {change.record} has an identifier of type {unknown[0]!r}, which no rule is for")
    mark = graph.marks.get(change.table)
    if mark is not None and change.position < mark:
        return Linked()
    rid = digest("record", change.record)
    before = graph.records.get(rid)
    # the halves of a key change may be one record's: the row that is deleted at a position is there at it
    arrives = before is not None and before.forget and not change.deleted and change.position == before.position
    anew = before is not None and change.anew and not before.forget and change.position == before.position
    if before is not None and change.position <= before.position and not (arrives or anew):
        again = replayed and change.position == before.position and before.group
        return _unchanged(graph, before) if again else Linked()
    standing, end = graph.rules.signature(change.identifiers, change.time_ms, graph.meta.hour)
    group = b"" if change.deleted else _group_id(graph, change.record, change.table, standing)
    forget = 0
    if change.deleted:
        forget = end = _forget(graph, change.time_ms)
    facts = b"" if change.deleted else change.facts
    after = Record(change.record, change.position, change.time_ms, group, before.due if before else 0, forget, facts)
    cause = Cause(change.record, change.position, change.time_ms, Why.DELETED if change.deleted else Why.CHANGED)
    graph.records[rid] = _schedule(graph, rid, after, end)
    return _place_record(graph, rid, before, after, change.table, standing, cause)


def sweep(graph: Graph, table: str, before: Position) -> list[bytes]:
    """Have a table's changes refused from now on that are older than `before`; its records that may be, to `clear`.

    None where that is so already. What looks through all that is saved; so nothing may wait to be saved.
    """
    if before <= (graph.marks.get(table) or BEGINNING):
        return []
    found = []
    for name, group in graph.groups.saved():
        if group.table == table:
            found += all_of(graph.pages, f"g{name}", group.records)
    if not graph.rules.keep_alone:
        found += [
            bytes.fromhex(name)
            for name, record in graph.records.saved()
            if not record.group and table_of(record.name) == table
        ]
    graph.marks[table] = before
    return found


def clear(graph: Graph, records: Iterable[bytes], before: Position, time_ms: int) -> Linked:
    """Take those of the records away whose last change is older than `before`, and forget them.

    Nothing need be known of them to refuse what comes late: `step` refuses all that is older than a `sweep`'s `before`.
    """
    done = []
    for rid in records:
        record = graph.records.get(rid)
        if record is None or record.position >= before:
            continue
        after = Record(record.name, record.position, time_ms)
        cause = Cause(record.name, before, time_ms, Why.DELETED)
        _unschedule(graph, rid, record)
        graph.records[rid] = None
        done.append(_place_record(graph, rid, record, after, "", (), cause))
    return together(graph, done)


def _forget(graph: Graph, time_ms: int) -> int:
    """The hour at which a record deleted now may be forgotten."""
    return max(time_ms // HOUR_MS, graph.meta.hour) + graph.rules.remember_ms // HOUR_MS + 1


def advance(graph: Graph, now_ms: int, most: int = 1000) -> Linked:
    """Let time pass: identifiers expire, and deleted records are forgotten, of at most `most` records a call.

    A clock that goes back stands still. What the stream comes to equals the records linked afresh at this time as soon
    as `more` is False.
    """
    meta = graph.meta
    hour = max(meta.hour, now_ms // HOUR_MS)
    if hour != meta.hour:
        meta = graph.meta = replace(meta, hour=hour)
    done: list[Linked] = []
    while meta.due and meta.due[0] <= hour and len(done) < most:
        name = str(meta.due[0])
        due = graph.due.get(name) or Due()
        for rid in all_of(graph.pages, f"d{name}", due.records)[: most - len(done)]:
            due = Due(remove(graph.pages, f"d{name}", due.records, rid))
            graph.due[name] = due if due.records.count else None
            done.append(_look(graph, rid, meta.due[0]))
        if not due.records.count:
            meta = graph.meta = replace(graph.meta, due=graph.meta.due[1:])
    return dataclasses.replace(together(graph, done), more=bool(meta.due and meta.due[0] <= hour))


def _unchanged(graph: Graph, record: Record) -> Linked:
    name = profile_of(graph, record.group)
    return Linked(() if name is None else (name.hex(),))


def _group_id(graph: Graph, record: str, table: str, standing: Sequence[Identifier]) -> bytes:
    if standing:
        return digest("group", table, *(part for each in standing for part in each))
    return digest("alone", record) if graph.rules.keep_alone else b""


def _place_record(
    graph: Graph,
    rid: bytes,
    before: Record | None,
    after: Record,
    table: str,
    standing: tuple[Identifier, ...],
    cause: Cause,
) -> Linked:
    """Bring a record from its group to another."""
    left = before.group if before else b""
    log = Relinked()
    ends = Ends(graph.groups[left].identifiers if left else (), standing if after.group else ())
    was = profile_of(graph, left)
    for name in (was, profile_of(graph, after.group if graph.groups.get(after.group) else b"")):
        if name is not None:
            log.saw(name)
    if left != after.group:
        if left:
            _leave(graph, rid, left, log)
        if after.group:
            _come(graph, rid, after.group, Group(table, standing), log)
    now = profile_of(graph, after.group)
    log.touched |= {each for each in (was, now) if each is not None}
    if was != now:
        log.moves(rid, was, now)
    there = Transfer(after.name, left, before.facts if before else b"", after.group, after.facts)
    return consequences(graph, rid, log, (there,) if left or after.group else (), ends, cause)


def _leave(graph: Graph, rid: bytes, gid: bytes, log: Relinked) -> None:
    group = graph.groups[gid]
    if group.records.count == 1:
        remove_group(graph, gid, log)
        return
    graph.groups[gid] = replace(group, records=remove(graph.pages, f"g{gid.hex()}", group.records, rid))


def _come(graph: Graph, rid: bytes, gid: bytes, new: Group, log: Relinked) -> None:
    if graph.groups.get(gid) is None:
        add_group(graph, gid, replace(new, records=Ids(1, 0, rid)), log)
        return
    group = graph.groups[gid]
    graph.groups[gid] = replace(group, records=add(graph.pages, f"g{gid.hex()}", group.records, rid))


def _look(graph: Graph, rid: bytes, hour: int) -> Linked:
    """A record whose hour has come: what of it has expired?"""
    record = graph.records.get(rid)
    if record is None or record.due != hour:  # it was to be looked at in this hour, and then in an earlier one
        return Linked()
    record = replace(record, due=0)
    graph.records[rid] = record
    if not record.group:
        if record.forget > graph.meta.hour:
            graph.records[rid] = _schedule(graph, rid, record, record.forget)
        elif record.forget:
            graph.records[rid] = None
        return Linked()
    group = graph.groups[record.group]
    standing, end = graph.rules.signature(group.identifiers, record.time_ms, graph.meta.hour)
    gid = _group_id(graph, record.name, group.table, standing)
    after = _schedule(graph, rid, replace(record, group=gid), end)
    graph.records[rid] = after
    if gid == record.group:
        return Linked()
    cause = Cause(record.name, record.position, record.time_ms, Why.EXPIRED)
    return _place_record(graph, rid, record, after, group.table, standing, cause)


def _schedule(graph: Graph, rid: bytes, record: Record, hour: int | None) -> Record:
    """Have the record looked at in an hour, unless it will be before: then that look sees to this one."""
    if hour is None or (record.due and record.due <= hour):
        return record
    name = str(hour)
    due = graph.due.get(name) or Due()
    graph.due[name] = Due(add(graph.pages, f"d{name}", due.records, rid))
    if hour not in graph.meta.due:
        graph.meta = replace(graph.meta, due=tuple(sorted((*graph.meta.due, hour))))
    return replace(record, due=hour)


def _unschedule(graph: Graph, rid: bytes, record: Record) -> None:
    """Have the record looked at no more. Its hour stays among those of the graph, and is found empty."""
    due = graph.due.get(str(record.due)) if record.due else None
    if due is not None:
        due = Due(remove(graph.pages, f"d{record.due}", due.records, rid))
        graph.due[str(record.due)] = due if due.records.count else None
