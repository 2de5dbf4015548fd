"""Debezium's change events, as its JSON converter writes them.

Sources of the rules: Debezium's documentation, "Debezium connector for PostgreSQL: Data change events" (envelope, `op`,
`source`, tombstones, primary key changes, toasted values) and "Debezium connector for MySQL" (`source.file`, `pos`,
`row`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from core.change import Change, Event, Operation, Position, Skip
from core.errors import DecodeError

UNAVAILABLE = "__debezium_unavailable_value"
"""What stands for an unchanged TOAST column (the connector's `unavailable.value.placeholder`)."""

_json = msgspec.json.Decoder().decode
_UPSERTS = ("c", "u", "r")
_LARGEST_INTEGER = 2**63 - 1
_QUOTED = 60


def decode(event: Event, placeholder: str = UNAVAILABLE) -> Change | Skip:
    """The row's change that an event carries, or why it carries none.

    Raises DecodeError for anything that is not a Debezium event, or is one that this release can't apply.
    """
    if event.value is None:
        return Skip.TOMBSTONE
    envelope = _payload(_object(event.value, "value"))
    source = envelope.get("source")
    if not isinstance(source, dict):
        return _rowless(envelope)
    operation = envelope.get("op")
    if operation == "m":
        return Skip.MESSAGE
    if operation == "t":
        raise DecodeError(f"{_table(source)} was truncated (op 't'), which this release doesn't apply to the store")
    if operation not in _UPSERTS and operation != "d":
        raise DecodeError(f"op is {_quote(operation)}, must be one of c, u, r, d, t or m")
    committed = source.get("ts_ms")
    row = _row(envelope, "before" if operation == "d" else "after")
    key = _key(event)
    return Change(
        table=_table(source),
        key=key,
        operation=Operation.DELETE if operation == "d" else Operation.UPSERT,
        position=position(source, snapshot=operation == "r"),
        row=row,
        unavailable=frozenset(name for name, value in row.items() if value == placeholder),
        committed_ms=committed if isinstance(committed, int) else None,
    )


def position(source: Mapping[str, Any], snapshot: bool) -> Position:
    """Where a change stands among those of its key, from the event's `source` block.

    PostgreSQL: `sequence` is the pair (LSN of the last commit before it, LSN of the change). The pair rises within a
    key, where `lsn` alone doesn't: a transaction that straddles the start of a snapshot has changes with a lower LSN
    than the snapshot's. A snapshot row counts as read at its LSN, before the first change of any later commit; a change
    before the first commit seen has a null there and counts as its own. Incremental snapshot rows have no
    `lsn` but the sequence of the change they were read after.
    MySQL: the binlog file's numeric suffix, the position in it, the row within the event.
    Raises DecodeError where the block holds neither.
    """
    if source.get("sequence"):
        commit, lsn = _sequence(source["sequence"])
        if snapshot and source.get("lsn") is not None:
            return _position(lsn, 0)
        return _position(commit or lsn, lsn)
    if isinstance(source.get("lsn"), int):
        return _position(source["lsn"], 0 if snapshot else source["lsn"])
    file, suffix = source.get("file"), str(source.get("file")).rpartition(".")[2]
    if file and suffix.isdecimal():
        return _position(int(suffix), source.get("pos") or 0, source.get("row") or 0)
    raise DecodeError(
        f"source.sequence is {_quote(source.get('sequence'))} and source.lsn and source.file are missing: "
        "nothing orders this change"
    )


def _position(*parts: Any) -> Position:
    if not all(isinstance(part, int) and 0 <= part < 2**64 for part in parts):
        raise DecodeError(f"source has {_quote(parts)} as its position, must be whole numbers below 2^64")
    return Position(".".join(f"{part:016x}" for part in parts))


def _sequence(raw: Any) -> tuple[int, int]:
    try:
        pair = [int(part or 0) for part in _json(raw)]
    except (msgspec.DecodeError, TypeError, ValueError):
        pair = []
    if len(pair) != 2:
        raise DecodeError(f"source.sequence is {_quote(raw)}, must be a JSON pair of log positions")
    return pair[0], pair[1]


def _rowless(envelope: Mapping[str, Any]) -> Skip:
    if envelope.get("status") in ("BEGIN", "END"):
        return Skip.TRANSACTION
    if set(envelope) <= {"ts_ms", "ts_us", "ts_ns"} and envelope:
        return Skip.HEARTBEAT
    raise DecodeError(f"not a Debezium envelope: no source among its fields ({_quote(', '.join(map(str, envelope)))})")


def _table(source: Mapping[str, Any]) -> str:
    schema, table = source.get("schema") or source.get("db"), source.get("table")
    if not (isinstance(schema, str) and isinstance(table, str) and table):
        raise DecodeError(f"source names the table {_quote(table)} in schema {_quote(schema)}; both must be text")
    return f"{schema}.{table}"


def _row(envelope: Mapping[str, Any], image: str) -> dict[str, Any]:
    row = envelope.get(image)
    if row is None and image == "before":
        return {}
    if not isinstance(row, dict):
        raise DecodeError(f"op is {_quote(envelope.get('op'))} but {image!r} is {_quote(row)}, must be the row")
    return {name: _storable(value) for name, value in row.items()}


def _storable(value: Any) -> Any:
    """Integers beyond 64 bits as text: MessagePack and most stores end there."""
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        return str(value)
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {name: _storable(item) for name, item in value.items()}
    return value


def _key(event: Event) -> dict[str, Any]:
    if event.key is None:
        return {}
    key = _payload(_object(event.key, "key"))
    return {name: _storable(value) for name, value in key.items()}


def _object(raw: bytes, what: str) -> dict[str, Any]:
    try:
        value = _json(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"the event's {what} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise DecodeError(f"the event's {what} is {_quote(value)}, must be a JSON object")
    return value


def _payload(value: dict[str, Any]) -> dict[str, Any]:
    """The bare object: the JSON converter wraps it in {schema, payload} where `schemas.enable` is on."""
    if value.keys() == {"schema", "payload"}:
        if not isinstance(value["payload"], dict):
            raise DecodeError(f"payload is {_quote(value['payload'])}, must be a JSON object")
        return value["payload"]
    return value


def _quote(value: Sequence[Any] | Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _QUOTED else shown[:_QUOTED] + "…"
