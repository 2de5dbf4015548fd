"""Where Debezium's connectors stand in a database's log, across all of its rows: what positions share, and heartbeats.

Sources of the rules: Debezium's documentation, "Debezium connector for PostgreSQL: Data change events" (`sequence`),
"… Message events", "… heartbeat.action.query"; PostgreSQL's, "Logical Decoding Output Plugin Callbacks" (transactions
are sent whole, in the order of their commits; a message that isn't transactional at once) and "pg_lsn Type"; MySQL's,
"SHOW BINARY LOG STATUS". A heartbeat of Debezium's own has a time alone, so ours is a message of PostgreSQL's.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from core.change import Event, Position
from core.errors import PositionError, quote
from core.shards.progress import Reached

HEARTBEAT = "freshet.heartbeat"
"""The prefix of the messages that stand for heartbeats."""

HEARTBEAT_QUERY = (
    "SELECT pg_logical_emit_message(false, 'freshet.heartbeat', "
    "(extract(epoch FROM clock_timestamp()) * 1000)::bigint::text)"
)
"""What a connector's `heartbeat.action.query` is: it writes to the log, and to no table."""

_HALF = 16
_MYSQL = 33
_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
_BINLOG = re.compile(r"(?:[^:/\s]{1,200}\.)?([0-9]{1,19}):([0-9]{1,19})")
_OURS = re.compile(r"[0-9a-f]{16}\.[0-9a-f]{16}(?:\.[0-9a-fk]{1,60})?")
_GTID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-")
_FORMS = "an LSN as PostgreSQL prints it (0/16B3748), or FILE:POSITION of MySQL's binlog"


def place_of(position: Position) -> str:
    """Before which all was sent when a change of this position came.

    PostgreSQL: the last commit before the change's own, which may have more to say. MySQL: where the change stands.
    """
    return position[:_HALF] if len(position) <= _MYSQL else position[:_MYSQL]


class _Message(msgspec.Struct, frozen=True):
    prefix: str = ""
    content: str | None = None


class _Heartbeat(msgspec.Struct, frozen=True):
    source: Mapping[str, Any] = {}
    message: _Message = _Message()
    payload: _Heartbeat | None = None


_read = msgspec.json.Decoder(_Heartbeat).decode


def heartbeat(event: Event) -> Reached | None:
    """What a heartbeat of ours says: all that was committed before it was sent before it. None for anything else."""
    try:
        whole = _read(event.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    said = whole.payload or whole
    lsn = said.source.get("lsn")
    if said.message.prefix != HEARTBEAT or type(lsn) is not int or not 0 <= lsn < 2**64:
        return None
    return Reached(event.offset, f"{lsn:016x}", _milliseconds(said.message.content))


def _milliseconds(content: str | None) -> int | None:
    try:
        digits = base64.b64decode(content or "", validate=True)
    except (binascii.Error, ValueError):
        return None
    return int(digits) if digits.isdigit() and len(digits) < 16 else None


def shown(place: str) -> str:
    """A place as its database prints it; of a binlog without the file's name, which no position has."""
    if len(place) == _HALF:
        return f"{int(place[:8], 16):X}/{int(place[8:], 16):X}"
    return f"{int(place[:_HALF], 16):06d}:{int(place[_HALF + 1 :], 16)}" if place else ""


def place_from(text: str) -> str:
    """The place that somebody names. Raises PositionError, with what is understood."""
    if found := _LSN.fullmatch(text):
        return f"{int(found[1], 16):08x}{int(found[2], 16):08x}"
    if (found := _BINLOG.fullmatch(text)) and int(found[1]) < 2**64 and int(found[2]) < 2**64:
        return f"{int(found[1]):016x}.{int(found[2]):016x}"
    if _GTID.match(text):
        raise PositionError(f"position is {quote(text)}, a GTID: those of two servers have no order; give {_FORMS}")
    raise PositionError(f"position is {quote(text)}, must be {_FORMS}")


def is_ours(text: str) -> bool:
    """Whether a text is a document's position, as the ledger has it."""
    return _OURS.fullmatch(text) is not None


def is_past(position: Position, place: str) -> bool:
    """Whether a change of a row is one that was written to the log at a place or behind it."""
    if len(place) == _HALF:
        halves = position[:_HALF], position[_HALF + 1 :]
        return len(position) == _MYSQL and max(halves) >= place
    return len(position) > _MYSQL and position[:_MYSQL] >= place
