"""What orders Debezium's changes of one row, or of one table.

Sources of the rules: Debezium's documentation, "Debezium connector for PostgreSQL: Data change events"
(`source.sequence`, `source.lsn`) and "Debezium connector for MySQL: Data change events" (`source.file`, `pos`, `row`,
`gtid`); PostgreSQL's, "Explicit Locking"; MySQL's, "GTID Format and Storage" and "Binary Log Transaction Compression".
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from core.change import Position, Turn
from core.errors import DecodeError, quote

_json = msgspec.json.Decoder().decode
_LONGEST_SUFFIX = 19
_FORMATS = {2: "%016x.%016x", 3: "%016x.%016x.%016x"}
_ARRIVED = "k"
"""Stands before an arrival: greater than every hexadecimal digit, so that what arrived is later than a snapshot's row
of the same place, and than a position of a release that had the row within the event there."""
_KAFKA_DIGITS = 20
_OFFSET_DIGITS = 15
_ROW_BYTES = 8


def position(source: Mapping[str, Any], snapshot: bool, came: str = "") -> Position:
    """Where a change stands among those of its key, from the event's `source` block. `snapshot`: the event has op `r`.

    PostgreSQL: `sequence` is the pair (LSN of the last commit before it, LSN of the change). The pair rises within a
    key, where `lsn` alone doesn't: a transaction that straddles the start of a snapshot has changes with a lower LSN
    than the snapshot's. A snapshot row counts as read at its LSN, before the first change of any later commit; a change
    before the first commit seen has a null there and counts as its own. Incremental snapshot rows have no
    `lsn` but the sequence of the change they were read after.
    A truncate's position compares with those of all the table's rows: TRUNCATE holds an ACCESS EXCLUSIVE lock until its
    commit, so each other transaction that wrote to the table committed before it began to (a lower pair) or
    wrote after its commit (a higher one), and within its own transaction the LSN tells.

    MySQL: the binlog file's numeric suffix, the position in it, then `came`: the event's `arrival`. File and position
    alone don't tell a key's changes apart: the events within a compressed transaction all have the position of the
    event around them, and `source.row` counts anew in each. What arrived later within a partition happened later, so of
    two with one position the later arrival counts; what a restarted connector repeats arrives again, in its order. A
    snapshot row has the position that the snapshot was taken at, and no arrival: all of a snapshot's rows are equal,
    and before what follows. Positions of earlier releases have the row in the arrival's place, before all arrivals.
    This rests on one server's binlog. After the connector is moved to another
    server, or RESET BINARY LOGS, files start anew and earlier positions say nothing; GTIDs don't mend that, as those of
    two servers have no order and an event carries only its own. Then the pipeline must start anew from a new snapshot.

    Raises DecodeError where the block holds neither.
    """
    sequence = source.get("sequence")
    if sequence:
        commit, lsn = _pair(sequence)
        if snapshot and source.get("lsn") is not None:
            return _position(lsn, 0)
        return _position(commit or lsn, lsn)
    if isinstance(source.get("lsn"), int):
        return _position(source["lsn"], 0 if snapshot else source["lsn"])
    file = source.get("file")
    suffix = file.rpartition(".")[2] if isinstance(file, str) else ""
    if suffix.isascii() and suffix.isdecimal() and len(suffix) <= _LONGEST_SUFFIX:
        place = _position(int(suffix), source.get("pos") or 0, source.get("row") or 0)
        return Position(f"{place[:34]}{_of_arrival(came)}") if came and not snapshot else place
    raise DecodeError(
        f"source.sequence is {quote(sequence)} and source.lsn and source.file are missing: nothing orders this change"
    )


def pair(source: Mapping[str, Any], of: Position) -> str:
    """What the two halves of a key change have in common, of an event whose position is `of`; "": that position.

    Source of the rule: one log record holds both; with MySQL each has its own arrival in its position.
    """
    if len(of) <= 33 or of[34] != _ARRIVED:
        return ""
    return _position(int(of[:16], 16), int(of[17:33], 16), source.get("row") or 0)


def turn(of: Position, key: bytes) -> Turn | None:
    """Where a change stands among those of other rows, whose partitions may be others; `key`: the event's.

    None where positions tell, as PostgreSQL's do, and those of MySQL's snapshots.
    """
    if len(of) <= 33 or of[34] != _ARRIVED:
        return None
    return Turn(of[:35], int(of[35:], 16), blake2b(key, digest_size=_ROW_BYTES).hexdigest(), len(of) - 35)


def _of_arrival(came: str) -> str:
    """As wide as the row's number of an earlier release where it is an offset; Kinesis's numbers are wider."""
    digits = f"{int(came):0{_OFFSET_DIGITS}x}" if len(came) == _KAFKA_DIGITS else came
    if len(digits) in (_OFFSET_DIGITS, len(came)):
        return _ARRIVED + digits
    raise DecodeError(f"the event's offset is {quote(int(came))}, must be below 2^{4 * _OFFSET_DIGITS}")


def _position(*parts: Any) -> Position:
    for part in parts:
        if type(part) is not int or not 0 <= part < 2**64:
            seen = ", ".join(quote(part) for part in parts)
            raise DecodeError(f"source has {seen} as its position, must be whole numbers below 2^64")
    return Position(_FORMATS[len(parts)] % parts)


def _pair(raw: Any) -> tuple[int, int]:
    try:
        commit, lsn = _json(raw)
        return int(commit or 0), int(lsn or 0)
    except (msgspec.DecodeError, TypeError, ValueError, OverflowError, RecursionError):
        raise DecodeError(f"source.sequence is {quote(raw)}, must be a JSON pair of log positions") from None
