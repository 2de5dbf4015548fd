"""Which database and which server Debezium's events are of.

Sources of the rules: Debezium's documentation, "Debezium connector for PostgreSQL: Data change events" (`source.name`
is the connector's `topic.prefix`, `source.db` the database) and the same of "Debezium connector for MySQL" (`source.db`
is the table's schema; `source.gtid`); MySQL's, "GTID Format and Storage".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

REPAIRS, BACKFILLS = OURS = ("freshet-verify", "freshet-backfill")
"""`source.name` of the events that `freshet verify --repair` and `freshet backfill` send: they are of the table's own
database."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class _Envelope(msgspec.Struct):
    source: dict[str, Any] | None = None
    payload: Mapping[str, Any] | None = None


_envelope = msgspec.json.Decoder(_Envelope).decode


def source_name(source: Mapping[str, Any]) -> str:
    """The database that an event is of, from its `source` block: `PREFIX:DATABASE`; MySQL's, which names its schemas as
    databases, `PREFIX`. "" where the event doesn't say.

    A prefix holds no colon, so two databases never have one name.
    """
    name = source.get("name")
    if not isinstance(name, str) or not name or name in OURS:
        return ""
    database = source.get("db") if source.get("schema") else None
    return f"{name}:{database}" if isinstance(database, str) and database else name


def server(source: Mapping[str, Any]) -> str:
    """The UUID of the MySQL server that a change was made on, by its GTID; "" where it has none."""
    gtid = source.get("gtid")
    uuid = gtid.partition(":")[0] if isinstance(gtid, str) else ""
    return uuid.lower() if _UUID.fullmatch(uuid) else ""


def source_block(value: bytes | None) -> Mapping[str, Any]:
    """The `source` of an event's value, wrapped in its schema or bare; empty for what is no such event."""
    if value is None:
        return {}
    try:
        envelope = _envelope(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    source = envelope.source if envelope.payload is None else envelope.payload.get("source")
    return source if isinstance(source, dict) else {}


def table_of(source: Mapping[str, Any]) -> str:
    """The table that an event is of, `schema.table`; "" where the block names none."""
    schema, table = source.get("schema") or source.get("db"), source.get("table")
    return f"{schema}.{table}" if isinstance(schema, str) and isinstance(table, str) and table else ""
