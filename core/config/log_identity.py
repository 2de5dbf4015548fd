"""Which log a state's positions and offsets belong to: in another one they mean nothing, though they compare.

Sources of the rules: Kafka's KIP-516, "Topic Identifiers" (a topic made anew has another id); PostgreSQL's
documentation, "System Information Functions: pg_control_system" (the system identifier) and "Continuous Archiving and
Point-in-Time Recovery: Timelines"; MySQL's, "GTID Format and Storage" (a GTID begins with its server's UUID); Kinesis's
API reference, "StreamDescriptionSummary"; DynamoDB's, "TableDescription" (LatestStreamArn ends in when it was made).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from hashlib import sha256

import msgspec

from core.errors import OtherLog


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """What a pipeline's state belongs to, as far as it is known: what isn't is left out, and differs from nothing.

    order      what orders a key's changes, by the pipeline file, as in `rows by version (integer), then arrival`
    logs       topics and streams, as in `topic articles`, to their ids; "" for one that is known to be gone
    databases  what is known of the database whose log it is, as in `PostgreSQL's timeline`, to its value: of several
               words one in common is the same
    sources    table to the database that its events are of: `core.formats.debezium.source.source_name`
    partitions  topics, by their names in `logs`, to how many partitions they have
    """

    order: str = ""
    logs: Mapping[str, str] = field(default_factory=dict)
    databases: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    partitions: Mapping[str, int] = field(default_factory=dict)

    @property
    def orders_by_log(self) -> bool:
        """Whether positions are places in the topic or stream itself."""
        return self.order.endswith(_BY_LOG)


_BY_LOG = ("by arrival", "by sequence number")


@dataclass(frozen=True, slots=True)
class LogChange:
    """One thing that isn't as it was.

    what       in plain words, with what was and what is
    positions  positions mean nothing any more, which stores hold too; else offsets alone, which only the state has
    """

    what: str
    positions: bool


def changes(before: LogIdentity, now: LogIdentity, state: str) -> tuple[LogChange, ...]:
    """How the log that is there now differs from the one that `state`, as in `chk-12`, belongs to."""
    return (
        *_ordered_otherwise(before, now),
        *_made_anew(before, now, state),
        *_read_elsewhere(before, now),
        *(
            LogChange(
                f"{what} was {was} and is {now.databases[what]}: its log is another, or was taken up earlier", True
            )
            for what, was in before.databases.items()
            if what in now.databases and not set(was.split()) & set(now.databases[what].split())
        ),
        *(
            LogChange(f"{table} came from {was} and now comes from {now.sources[table]}, another database", True)
            for table, was in before.sources.items()
            if table in now.sources and now.sources[table] != was
        ),
    )


def _ordered_otherwise(before: LogIdentity, now: LogIdentity) -> list[LogChange]:
    if not before.order or not now.order or before.order == now.order:
        return []
    return [LogChange(f"format: changes were ordered as {before.order}, and are now as {now.order}", True)]


def _made_anew(before: LogIdentity, now: LogIdentity, state: str) -> list[LogChange]:
    found = []
    for name, was in before.logs.items():
        there = now.logs.get(name, was)
        if there == was or not was:
            continue
        change = f"was made anew since {state} (its id was {was} and is {there})" if there else f"is gone since {state}"
        found.append(LogChange(f"{name} {change}: offsets of the state mean nothing in another one", now.orders_by_log))
    return found


def _read_elsewhere(before: LogIdentity, now: LogIdentity) -> list[LogChange]:
    """Of positions that are places in a log: it is another one altogether."""
    was, there = (sorted(name for name, known in each.logs.items() if known) for each in (before, now))
    if not (now.orders_by_log and was and there) or set(was) & set(now.logs):
        return []
    return [LogChange(f"positions were places in {', '.join(was)}, and are now in {', '.join(there)}", True)]


def merged(before: LogIdentity, now: LogIdentity) -> LogIdentity:
    """What is known from now on: what was found now, and for the rest what was known before."""
    there = {name: known for name, known in now.logs.items() if known}
    return LogIdentity(
        now.order or before.order,
        {**before.logs, **there},
        {**before.databases, **now.databases},
        {**now.sources, **before.sources},
        {**before.partitions, **now.partitions},
    )


def accepted(before: LogIdentity, now: LogIdentity) -> LogIdentity:
    """As `merged`, where someone said that it is the same log under other names: what it is called now holds."""
    return replace(merged(before, now), sources={**before.sources, **now.sources})


def grown(before: LogIdentity, now: LogIdentity, since: str) -> list[str]:
    """What to tell of topics that have more partitions than they had, a line each. `since`: as in `chk-12`.

    Source of the rule: Kafka's documentation, "Modifying topics" (added partitions change where keys go, and nothing
    that is there is moved).
    """
    return [
        f"{name} has {count} partitions since {since}, was {was}: a key's later changes may be read before its earlier "
        "ones, and what they leave out is filled in as those come"
        for name, count in now.partitions.items()
        if (was := before.partitions.get(name, count)) < count and before.logs.get(name) == now.logs.get(name)
    ]


def refusal(found: Sequence[LogChange], name: str, empty: bool = False) -> str:
    """Why a run stops before it reads anything, and the ways on, a line each.

    name   the pipeline's
    empty  whether its stores are: then there is one way
    """
    voided = any(each.positions for each in found)
    ways = _WAY_INTO_EMPTY if empty else (*(_WAYS_OF_POSITIONS if voided else _WAYS_OF_OFFSETS), _SAME_LOG)
    return "\n".join([*(f"{name}: {each.what}" for each in found), *ways])


def mark(log: LogIdentity) -> str:
    """Eight digits by which a person says that they have seen which log it is: another one has others."""
    seen = replace(log, logs={name: known for name, known in log.logs.items() if known}, partitions={})
    return sha256(to_json(seen)).hexdigest()[:8]


def held(before: Sequence[LogIdentity], now: LogIdentity, name: str, seen: str, way: str) -> LogIdentity:
    """What is known of the log from now on, where no folder tells what a state belongs to, but the stores do.

    before  what earlier runs wrote into the stores
    name    the pipeline's
    seen    the mark of a log that someone goes on with; "" where nobody said anything
    way     how one says so, with `{mark}` in the mark's place

    Raises OtherLog, with the ways on, where it is another log than one of these, and nobody has said that it is meant.
    """
    # a topic that isn't there yet is no other one
    there = replace(now, logs={each: known for each, known in now.logs.items() if known})
    found = [each for log in before for each in changes(log, there, "the last run")]
    if not found:
        return reduce(lambda known, log: merged(log, known), before, there)
    if seen == mark(there):
        return there
    whats = dict.fromkeys(f"{name}: {each.what}" for each in found)
    ways = _CLUSTER_OF_POSITIONS if any(each.positions for each in found) else _CLUSTER_OF_OFFSETS
    raise OtherLog("\n".join([*whats, *ways, f"  {way.format(mark=mark(there))}, which says that this log is meant"]))


_CLUSTER_OF_POSITIONS = (
    "Nothing was read: state and store hold positions of before, and would refuse what comes as older. The way on:",
    "  start it without savepoint or snapshot, with another table or index below store: all is read from the start",
)
_CLUSTER_OF_OFFSETS = (
    "Nothing was read: some of what is there would be passed over. The way on:",
    "  start it without savepoint or snapshot: it is read from its start; what the store holds stays, and isn't "
    "embedded again",
)
_SAME_LOG = (
    "  --same-log             goes on from the state all the same: only where you know that its positions and "
    "offsets hold"
)
_WAY_INTO_EMPTY = (
    "Nothing was read: the state means nothing in this log. The store is empty, so the way on is:",
    "  --without-state        reads all from the start, into the store as it is",
)
_WAYS_OF_POSITIONS = (
    "Nothing was read: state and store hold positions of before, and would refuse what comes as older. Ways on:",
    "  --without-state        with another table or index below store: all is read from the start, into an empty store",
    "                         (what a topic tells of the log before wins, by its higher positions: make it anew too)",
)
_WAYS_OF_OFFSETS = (
    "Nothing was read: some of what is there would be passed over. Ways on:",
    "  --without-state        reads it from its start; what the store holds stays, and isn't embedded again",
)

FLOOD = 10
"""How many more rows of snapshots may be stale than not before that is an alarm."""


def surplus(before: int, stale: bool) -> int:
    """How many more of the last rows of snapshots were stale than fresh, counting one row more; 0 at least.

    A source's snapshot is later than all that it sent before, but for one that was restored to an earlier time, or is
    another. So this stays at nothing, whatever many snapshots were read; rows that changed since a snapshot which is
    read again are stale too, and few.
    """
    return max(0, before + (1 if stale else -1))


def flood(surplus: int) -> str:
    """What to tell of snapshots of which most rows are older than what is known; "" where they aren't."""
    if surplus < FLOOD:
        return ""
    return (
        f"most rows of a snapshot ({surplus:,} more than not) are older than what is known of them, and were refused: "
        "the source was restored to an earlier time, or is another database. Nothing that it tells is taken until its "
        "log has grown past the old positions: stop this run, and start anew with --without-state, another table or "
        "index, and topics that tell nothing of the log before"
    )


to_json = msgspec.json.Encoder(order="deterministic").encode
"""A LogIdentity as JSON."""

from_json = msgspec.json.Decoder(LogIdentity).decode
"""What `to_json` of this or another release wrote: what it doesn't have isn't known. Raises msgspec.DecodeError."""
