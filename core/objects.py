"""From notifications about objects (files in S3 or a folder) to the changes of the rows that they hold.

A notification says no more than "look at this key now". What counts is what a look finds: an object is loaded as it
is when it is loaded, and gone is what isn't there then, whatever the notification said. So an old version's deletion,
or a deletion before a new write, never deletes a document. Each look shows the object as it was at the last
notification's event or later, and whatever changed it after that is notified too: hence dropping notifications older
than one that was acted on loses nothing, and what the last look found is what stands at the end.

Positions of the changes come from the looks, not from the notifications: when the store answered, by its own clock,
and a count. A job that lost its state and loads everything again has later positions, and what it finds goes before
what the stores hold, as it must; a notification's position would say that this is known already.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec

from core.change import BEGINNING, Change, Operation, Position
from core.errors import ObjectError

_STATE_VERSION = b"\x01"
_LONGEST_ROW_ID = 64
_DIGEST_BYTES = 8
_LATEST_MS = 2**48 - 1
_MOST_LOOKS = 2**32 - 1
_OF_A_LOOK = re.compile("[0-9a-f]{20}")


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
    replayed  a dead letter comes again: every row is told again
    """

    bucket: str
    key: str
    committed_ms: int | None = None
    event: bytes = b""
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A document in an object: `row_id` is "" where it is the only one."""

    row_id: str
    columns: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a look at an object found: nothing (`gone`), an error, or rows.

    read_ms  when the store answered, by its clock, in milliseconds since 1970
    columns  of the object; each row has these and its own
    rows     MessagePack of a list of Row; of no use where there is an error
    """

    bucket: str
    key: str
    read_ms: int
    columns: Mapping[str, Any] = field(default_factory=dict)
    rows: bytes = b"\x90"
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


@dataclass(frozen=True, slots=True)
class ObjectSpec:
    """How a bucket's objects become changes.

    table    what the changes' table is called
    columns  those that documents are made of: a row with the same values in them is not told again; None: all
    made_by  whatever else the documents depend on (model, chunker, template): told again where it changed
    """

    table: str
    columns: frozenset[str] | None = None
    made_by: str = ""


@dataclass(frozen=True, slots=True)
class ObjectState:
    """What was told of an object.

    read_ms, looks  the position of the last change
    row_ids         of the rows that it has; empty for an object that is gone, whose state may be forgotten once the
                    clocks of the store's machines are surely past `read_ms`: an hour is plenty
    digests         8 bytes a row: of the columns that matter
    run             the number of the run that told it; another run may have told more after this state was saved
    """

    read_ms: int = 0
    looks: int = 0
    row_ids: tuple[str, ...] = ()
    digests: bytes = b""
    run: int = 0


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


def unfold(
    state: ObjectState | None, loaded: Loaded, spec: ObjectSpec, run: int = 0
) -> tuple[ObjectState, list[Change]]:
    """The state behind a look, and the changes of the object's rows: those that are new or other, and those that left.

    The looks at an object must come in the order in which they were made. Keys are {"key": the object's key}, with
    "row" where the object has several documents.
    A state of another `run` was restored: what that run told after it had been saved, it doesn't know, and a look made
    anew may find something else than then. So the first look of a run tells everything again.
    Of an object that is gone and whose state is another run's or lost one document is deleted; what several rows it
    had then, can't be known.
    Raises ObjectError for a look that found an error; state and rows then stand as they were.
    """
    if loaded.error:
        raise ObjectError(loaded.error)
    before = state or ObjectState()
    rows = [] if loaded.gone else _decode_rows(loaded.rows)
    digests = [_digest(loaded, row, spec) for row in rows]
    told = dict(zip(before.row_ids, _split(before.digests), strict=True))
    again = loaded.replayed or state is None or state.run != run
    after = replace(
        _later(before, loaded.read_ms),
        run=run,
        row_ids=tuple(row.row_id for row in rows),
        digests=b"".join(digests),
    )
    at = position(after)
    changes = [
        _change(loaded, spec, row.row_id, Operation.UPSERT, at, {**loaded.columns, **row.columns})
        for row, digest in zip(rows, digests, strict=True)
        if again or told.get(row.row_id) != digest
    ]
    there = set(after.row_ids)
    left = [row_id for row_id in before.row_ids if row_id not in there]
    if loaded.gone and not left and again:
        left = [""]  # what was told of it and isn't in the state, nobody knows: its one document, most likely
    changes += [_change(loaded, spec, row_id, Operation.DELETE, at, {}) for row_id in left]
    return after, changes


def position(state: ObjectState) -> Position:
    """Of the changes of the last look: 20 hexadecimal digits, 12 of the time and 8 of the count of looks at it."""
    return Position(f"{min(state.read_ms, _LATEST_MS):012x}{min(state.looks, _MOST_LOOKS):08x}")


def looked_ms(at: Position) -> int:
    """The time of a position that `position` made, in milliseconds since 1970; 0 of any other."""
    return int(at[:12], 16) if _OF_A_LOOK.fullmatch(at) else 0


def row_id(text: str) -> str:
    """`text`, or where it is longer than 64 characters its beginning and a hash of it."""
    if len(text) <= _LONGEST_ROW_ID:
        return text
    return f"{text[:24]}~{blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"


def _later(before: ObjectState, read_ms: int) -> ObjectState:
    if read_ms > before.read_ms:
        return ObjectState(read_ms)
    return ObjectState(before.read_ms, before.looks + 1)


def _change(
    loaded: Loaded, spec: ObjectSpec, row: str, operation: Operation, at: Position, columns: Mapping[str, Any]
) -> Change:
    key = {"key": loaded.key, "row": row} if row else {"key": loaded.key}
    return Change(spec.table, key, operation, at, columns, committed_ms=loaded.committed_ms)


def _digest(loaded: Loaded, row: Row, spec: ObjectSpec) -> bytes:
    columns: dict[str, Any] = {**loaded.columns, **row.columns}
    if spec.columns is not None:
        columns = {name: value for name, value in columns.items() if name in spec.columns}
    return blake2b(_in_order((spec.made_by, columns)), digest_size=_DIGEST_BYTES).digest()


def _split(digests: bytes) -> Sequence[bytes]:
    return [digests[at : at + _DIGEST_BYTES] for at in range(0, len(digests), _DIGEST_BYTES)]


_encode = msgspec.msgpack.Encoder().encode
_in_order = msgspec.msgpack.Encoder(order="sorted").encode
_decode_rows = msgspec.msgpack.Decoder(list[Row]).decode

State = TypeVar("State", GateState, ObjectState)


def rows_to_bytes(rows: Sequence[Row]) -> bytes:
    """Rows as `Loaded` carries them. Raises what msgspec raises for values that are not JSON's."""
    return _encode(rows)


def to_bytes(message: ToLoad | Loaded) -> bytes:
    """One step's output for the next."""
    return _encode(message)


to_load_from_bytes = msgspec.msgpack.Decoder(ToLoad).decode
loaded_from_bytes = msgspec.msgpack.Decoder(Loaded).decode


def state_to_bytes(state: GateState | ObjectState) -> bytes:
    """A state as Flink keeps it: a version byte, then MessagePack."""
    return _STATE_VERSION + _encode(state)


def gate_state_from_bytes(raw: bytes) -> GateState:
    """The state that `state_to_bytes` wrote. Raises ValueError for a version this release doesn't know."""
    return _state(raw, GateState)


def object_state_from_bytes(raw: bytes) -> ObjectState:
    """The state that `state_to_bytes` wrote. Raises ValueError for a version this release doesn't know."""
    return _state(raw, ObjectState)


def _state(raw: bytes, kind: type[State]) -> State:
    if raw[:1] != _STATE_VERSION:
        raise ValueError(f"object state has version {raw[:1].hex() or 'none'}, this release reads 01")
    return msgspec.msgpack.decode(raw[1:], type=kind)
