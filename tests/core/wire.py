"""A history's changes as Debezium's connectors write them, with every field that theirs have, and read again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from core.change import Change, Event, Operation, Truncate
from core.formats.debezium.decoding import decode

_UNAVAILABLE = "__debezium_unavailable_value"
_ALWAYS = {"__debezium.context.connectorName": b"x"}
_POSTGRESQL = {
    "version": "3.7.0.Final", "connector": "postgresql", "name": "w", "ts_ms": 5, "snapshot": "false", "db": "w",
    "ts_us": 5000, "ts_ns": 5000000, "schema": "public", "table": "t", "txId": 7, "xmin": None, "origin": None,
    "origin_lsn": None,
}  # fmt: skip
_MYSQL = {
    "version": "3.7.0.Final", "connector": "mysql", "name": "w", "ts_ms": 5, "snapshot": "false", "db": "public",
    "sequence": None, "ts_us": 5000, "ts_ns": 5000000, "table": "t", "server_id": 1, "gtid": None,
    "file": "binlog.000001", "row": 0, "thread": 9, "query": None,
}  # fmt: skip


def from_postgresql(change: Change | Truncate, before: dict[str, Any] | None) -> Change | Truncate:
    """The change as the decoder hears of it; `before`: the row that a deletion's image has beyond the key."""
    commit, lsn = (int(part, 16) for part in change.position.split("."))
    source = {**_POSTGRESQL, "lsn": lsn, "sequence": json.dumps([str(commit) if commit else None, str(lsn)])}
    if not isinstance(change, Truncate) and lsn == 0:
        last = "last" if change.ends_snapshot else "true"
        source |= {"lsn": commit, "sequence": json.dumps([None, str(commit)]), "snapshot": last}
    return _heard(change, source, before, 0)


def from_mysql(change: Change | Truncate, before: dict[str, Any] | None, place: int, offset: int) -> Change | Truncate:
    """The same of MySQL: `place` is the transaction's in the binlog, `offset` the event's in its partition."""
    return _heard(change, {**_MYSQL, "pos": place}, before, offset)


def _heard(
    change: Change | Truncate, source: dict[str, Any], before: dict[str, Any] | None, offset: int
) -> Change | Truncate:
    if isinstance(change, Truncate):
        decoded = decode(Event("w.public.t", 0, offset, None, _json({"op": "t", "source": source}), _ALWAYS))
        assert isinstance(decoded, Truncate)
        return decoded
    gone = change.operation is Operation.DELETE
    op = "d" if gone else "r" if source["snapshot"] != "false" else "c" if change.moves or before is None else "u"
    after = None if gone else {**change.key, **change.row, **dict.fromkeys(change.unavailable, _UNAVAILABLE)}
    image = {**change.key, **(before or {})} if gone or (source["connector"] == "mysql" and op == "u") else None
    headers = {"__debezium.newkey" if gone else "__debezium.oldkey": b"{}"} if change.moves else {}
    envelope = {"op": op, "before": image, "after": after, "source": source, "ts_ms": 6}
    decoded = decode(Event("w.public.t", 0, offset, _json(change.key), _json(envelope), {**_ALWAYS, **headers}))
    assert isinstance(decoded, Change)
    return replace(decoded, row={name: value for name, value in decoded.row.items() if name != "id"})


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
