"""From notifications about objects (files in S3 or a folder) to looks at them, and what looks find.

A notification says no more than "look at this key now". What counts is what a look finds: an object is loaded as it
is when it is loaded, and gone is what isn't there then, whatever the notification said. So an old version's deletion,
or a deletion before a new write, never deletes a document. Each look shows the object as it was at the last
notification's event or later, and whatever changed it after that is notified too: hence dropping notifications older
than one that was acted on loses nothing, and what the last look found is what stands at the end.

Positions of the changes come from the looks, not from the notifications: when the store answered, by its own clock,
and a count. A job that lost its state and loads everything again has later positions, and what it finds goes before
what the stores hold, as it must; a notification's position would say that this is known already.

How the changes are made of what was found is `core.documents.unfolding`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec

from core.change import BEGINNING, Position

_STATE_VERSION = b"\x01"
_LONGEST_ROW_ID = 64
ROWS_A_PIECE = 100
_BYTES_A_PIECE = 256 * 2**10


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """A notification that something happened to an object.

    position      orders the notifications of ONE object; BEGINNING where the feed gives no order: look in any case
    gone          it says that the object, or a version of it, was removed: a look decides
    version_id    of the version that the notification is about; None where the bucket keeps none
    committed_ms  as in Change
    """

    bucket: str
    key: str
    position: Position = BEGINNING
    gone: bool = False
    version_id: str | None = None
    etag: str | None = None
    size: int | None = None
    committed_ms: int | None = None


@dataclass(frozen=True, slots=True)
class GateState:
    """The latest notification of an object that was acted on. Forgetting it costs a load more, and nothing else."""

    position: Position = BEGINNING
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class ToLoad:
    """An object to look at.

    event     the message that said so, encoded, for a dead letter
    replayed  a dead letter comes again: every row is emitted again
    """

    bucket: str
    key: str
    committed_ms: int | None = None
    event: bytes = b""
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """The look at an object that is being made or emitted, and the one after that, for whatever was notified since."""

    now: ToLoad
    later: ToLoad | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A document in an object: `row_id` is "" where it is the only one.

    numbers  columns whose text is a number's digits
    """

    row_id: str
    columns: Mapping[str, Any]
    numbers: tuple[str, ...] = ()


Piece = bytes | memoryview
"""MessagePack of a list of Row, as `pieces` makes it."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a look at an object found: nothing (`gone`), an error, or rows.

    read_ms  when the store answered, by its clock, in milliseconds since 1970
    columns  of the object; each row has these and its own
    rows     in pieces; of no use where there is an error
    """

    bucket: str
    key: str
    read_ms: int
    columns: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[Piece] = ()
    gone: bool = False
    error: str = ""
    committed_ms: int | None = None
    event: bytes = b""
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object's bytes. `version_id` and `etag` as the store writes them; times in milliseconds since 1970."""

    content: bytes
    read_ms: int
    etag: str | None = None
    version_id: str | None = None
    content_type: str | None = None
    last_modified_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """There is no such object, or its latest version is a delete marker."""

    read_ms: int


@dataclass(frozen=True, slots=True)
class ObjectListed:
    """An object as a listing shows it: bytes, the ETag without quotes, milliseconds since 1970."""

    key: str
    size: int
    etag: str | None = None
    last_modified_ms: int | None = None


Fetcher = Callable[[str, str, Callable[[int], None]], Fetched | Gone]
"""`fetch(bucket, key, admit)`: calls `admit` with the size in bytes before it reads the content.

Raises what `admit` raises, ObjectError where this object can't be read, Unavailable where the store is away.
"""


def gate(state: GateState | None, change: ObjectChange, replayed: bool = False) -> tuple[GateState, ToLoad | None]:
    """The state behind a notification, and what to load: nothing where a later or the same one was acted on.

    One without a position is always acted on, and changes nothing for those with one. Neither is a version loaded again
    that an earlier notification (of a backfill, say) had loaded: a version's content never changes.
    """
    before = state or GateState()
    to_load = ToLoad(change.bucket, change.key, change.committed_ms, replayed=replayed)
    if change.position == BEGINNING:
        version = change.version_id if change.version_id and before.position == BEGINNING else before.version_id
        return GateState(before.position, version), to_load
    if change.position < before.position or (change.position == before.position and not replayed):
        return before, None
    after = GateState(change.position, None if change.gone else change.version_id)
    known = not change.gone and change.version_id not in (None, "null") and change.version_id == before.version_id
    return after, None if known and not replayed else to_load


def asked(before: Asked | None, look: ToLoad) -> Asked:
    """What is asked of an object once another look at it is wanted: one look serves all that want it meanwhile.

    It carries the last of their events. A look that is being made doesn't serve: it may have been made before.
    """
    if before is None:
        return Asked(look)
    replayed = look.replayed or (before.later is not None and before.later.replayed)
    return replace(before, later=replace(look, replayed=replayed))


def row_id(text: str) -> str:
    """`text`, or where it is longer than 64 characters its beginning and a hash of it."""
    if len(text) <= _LONGEST_ROW_ID:
        return text
    return f"{text[:24]}~{blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"


_encode = msgspec.msgpack.Encoder().encode
rows_from_bytes = msgspec.msgpack.Decoder(list[Row]).decode
"""The rows of a piece."""

State = TypeVar("State", GateState, Asked)


def pieces(rows: Iterable[Row]) -> Iterator[bytes]:
    """Rows as `Loaded` carries them: at most a hundred a piece, and but for larger rows 256 KiB.

    Raises what msgspec raises for values that are not JSON's.
    """
    some: list[msgspec.Raw] = []
    size = 0
    for row in rows:
        encoded = _encode(row)
        if some and (len(some) == ROWS_A_PIECE or size + len(encoded) > _BYTES_A_PIECE):
            yield _encode(some)
            some, size = [], 0
        some.append(msgspec.Raw(encoded))
        size += len(encoded)
    if some:
        yield _encode(some)


def state_to_bytes(state: GateState | Asked) -> bytes:
    """A state as the engine keeps it: a version byte, then MessagePack."""
    return _STATE_VERSION + _encode(state)


def gate_state_from_bytes(raw: bytes) -> GateState:
    """The state that `state_to_bytes` wrote. Raises ValueError for a version this release doesn't know."""
    return _state(raw, GateState)


def asked_from_bytes(raw: bytes) -> Asked:
    """The state that `state_to_bytes` wrote. Raises ValueError for a version this release doesn't know."""
    return _state(raw, Asked)


def _state(raw: bytes, kind: type[State]) -> State:
    if raw[:1] != _STATE_VERSION:
        raise ValueError(f"object state has version {raw[:1].hex() or 'none'}, this release reads 01")
    return msgspec.msgpack.decode(raw[1:], type=kind)
