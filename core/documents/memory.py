"""What is kept of a table's unsettled changes, by name, and how Flink keeps it."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import structs

from core.change import Position
from core.documents.unsettled import Unsettled

ASKED = Position("\x7f")
"""Behind every position: what the source said when it was asked is no older than what comes late."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a document's learned values are from.

    since  column to the position at which the row's old key last had its value, or it became unknown; ASKED
    pair   of the key change by which the row came; "" where it is forgotten, or did not come by one
    last   the last change that lacked some of the values: emitted anew where they turn out to be others
    again  `last` is emitted once more in the end: it was emitted with other values, and by another way, which may be
           the longer one
    """

    since: dict[str, Position] = field(default_factory=dict)
    pair: str = ""
    last: Unsettled | None = None
    again: bool = False


@dataclass(frozen=True, slots=True)
class Way:
    """Where the values of a row went that left a key.

    to       the document that lacked them
    at       the position at which it came to be
    onward   the key change by which the row has left that one too; it took `columns` on
    """

    to: str
    at: Position
    onward: str = ""
    columns: tuple[str, ...] = ()


class Kept(msgspec.Struct, frozen=True):
    """What is kept under a name: a half that waits, changes that wait behind it, values, or ways.

    answered  the half was answered without the other, which is expected all the same
    others    further halves that wait for the same: several key changes of one compressed transaction of MySQL share
              all that there is to share. Which is whose isn't known, and only decides whose vectors are looked at
    origin    of values
    ways      of a key change, or of several that share what they share: the old document to where its row went
    elders    of a key change: the documents to which its row came while another one's values were known there
    newcomer  of the values of such an elder: the key change by which the other row came
    """

    half: Unsettled | None = None
    answered: bool = msgspec.field(default=False, name="told")  # its key in savepoints
    behind: tuple[Unsettled, ...] = ()
    values: dict[str, Any] = msgspec.field(default_factory=dict)
    others: tuple[Kept, ...] = ()
    origin: Origin | None = None
    ways: dict[str, Way] = msgspec.field(default_factory=dict)
    elders: tuple[str, ...] = ()
    newcomer: str = ""


Memory = MutableMapping[str, Kept]
"""One table's, by the names that the functions here make."""


def waiting_for(memory: Memory, pair: str) -> list[Kept]:
    """The halves that wait for their `pair`."""
    kept = memory.get(_half(pair))
    return [] if kept is None else [structs.replace(kept, others=()), *kept.others]


def wait(memory: Memory, pair: str, waiting: list[Kept]) -> None:
    """Have these halves wait, and no others."""
    if waiting:
        memory[_half(pair)] = structs.replace(waiting[0], others=tuple(waiting[1:]))
    else:
        memory.pop(_half(pair), None)


def _half(pair: str) -> str:
    return f"half {pair}"


def behind(document_id: str) -> str:
    """What waits for the values of the row that has come to a key."""
    return f"behind {document_id}"


def elder(document_id: str) -> str:
    """The values of a row that is at its key still when another one comes to it."""
    return f"elder {document_id}"


def values(document_id: str) -> str:
    """Where values are kept that the state of the document's own key doesn't have."""
    return f"values {document_id}"


def ways(pair: str) -> str:
    """Where the row of a key change went."""
    return f"ways {pair}"


decode_kept = msgspec.msgpack.Decoder(Kept).decode
encode_kept = msgspec.msgpack.Encoder().encode
