"""From what looks at an object found to the changes of its rows, in parts of which each is emitted quickly.

Between two parts the engine may save its state. So what was emitted of a look, before its end, is known by two things:
the state that `begun` gives, and the row ids of the parts (`Part.row_ids`). `interrupted` makes one state of them, and
the first look of the next run emits everything again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import msgspec

from core.change import Change, Operation, Position, Rare
from core.documents.objects import Loaded, Row, rows_from_bytes
from core.errors import ObjectError

_STATE_VERSION = b"\x01"
_DIGEST_BYTES = 8
_NO_DIGEST = bytes(_DIGEST_BYTES)
_LATEST_MS = 2**48 - 1
_MOST_LOOKS = 2**32 - 1
_OF_A_LOOK = re.compile("[0-9a-f]{20}")
_ROWS_LEFT_A_PART = 100


@dataclass(frozen=True, slots=True)
class ObjectSpec:
    """How a bucket's objects become changes.

    table    what the changes' table is called
    columns  those that documents are made of: a row with the same values in them is not emitted again; None: all
    made_by  whatever else the documents depend on (model, chunker, template): a row is emitted again where it changed
    """

    table: str
    columns: frozenset[str] | None = None
    made_by: str = ""


@dataclass(frozen=True, slots=True)
class ObjectState:
    """What was emitted of an object.

    read_ms, looks  the position of the last change
    row_ids         of the rows that it has; empty for an object that is gone, whose state may be forgotten once the
                    clocks of the store's machines are surely past `read_ms`: an hour is plenty
    digests         8 bytes a row: of the columns that matter
    run             the number of the run that emitted it; another run may have emitted more after this state was saved
    """

    read_ms: int = 0
    looks: int = 0
    row_ids: tuple[str, ...] = ()
    digests: bytes = b""
    run: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the changes that a look makes.

    row_ids  those that the state before the look doesn't have
    after    the state behind the look; None but for the last part
    """

    changes: Sequence[Change]
    row_ids: tuple[str, ...] = ()
    after: ObjectState | None = None


def parts(state: ObjectState | None, loaded: Loaded, spec: ObjectSpec, run: int = 0) -> Iterator[Part]:
    """The changes of the object's rows: those that are new or other, then those that left; one part at least.

    A part has the changes of one of `loaded.rows`, or of a hundred rows that left. See `unfold`.
    """
    if loaded.error:
        raise ObjectError(loaded.error)
    before = state or ObjectState()
    after = _later(before, loaded.read_ms)
    known: list[tuple[str, bytes]] = []
    made = _made(before, loaded, spec, position(after), state is None or before.run != run, known)
    held = next(made, Part(()))
    for part in made:
        yield held
        held = part
    row_ids = tuple(row_id for row_id, _ in known)
    yield replace(held, after=replace(after, run=run, row_ids=row_ids, digests=b"".join(each for _, each in known)))


def _made(
    before: ObjectState, loaded: Loaded, spec: ObjectSpec, at: Position, first: bool, known: list[tuple[str, bytes]]
) -> Iterator[Part]:
    """The parts; to `known` each row's id and digest are added."""
    digest_before = dict(zip(before.row_ids, _split(before.digests), strict=True))
    again = first or loaded.replayed
    for piece in () if loaded.gone else loaded.rows:
        rows = rows_from_bytes(piece)
        digests = [_digest(loaded, row, spec) for row in rows]
        known += zip((row.row_id for row in rows), digests, strict=True)
        changes = [
            _change(loaded, spec, row.row_id, Operation.UPSERT, at, {**loaded.columns, **row.columns}, row.numbers)
            for row, digest in zip(rows, digests, strict=True)
            if again or digest_before.get(row.row_id) != digest
        ]
        yield Part(changes, tuple(row.row_id for row in rows if row.row_id not in digest_before))
    there = {row_id for row_id, _ in known}
    left = [row_id for row_id in before.row_ids if row_id not in there]
    if loaded.gone and not left and again:
        left = [""]  # what was emitted of it and isn't in the state, nobody knows: its one document, most likely
    for begin in range(0, len(left), _ROWS_LEFT_A_PART):
        some = left[begin : begin + _ROWS_LEFT_A_PART]
        yield Part([_change(loaded, spec, row_id, Operation.DELETE, at, {}) for row_id in some])


def unfold(
    state: ObjectState | None, loaded: Loaded, spec: ObjectSpec, run: int = 0
) -> tuple[ObjectState, list[Change]]:
    """The state behind a look, and all of its changes.

    The looks at an object must come in the order in which they were made. Keys are {"key": the object's key}, with
    "row" where the object has several documents.
    A state of another `run` was restored: what that run emitted after it had been saved, it doesn't know, and a look
    made anew may find something else than then. So the first look of a run emits everything again.
    Of an object that is gone and whose state is another run's or lost one document is deleted; what several rows it
    had then, can't be known.
    Raises ObjectError for a look that found an error; state and rows then stand as they were.
    """
    changes: list[Change] = []
    after = None
    for part in parts(state, loaded, spec, run):
        changes += part.changes
        after = part.after
    assert after is not None
    return after, changes


def begun(state: ObjectState | None, loaded: Loaded) -> ObjectState:
    """The state while a look is emitted that has several parts: as before, at the position of the look."""
    before = state or ObjectState()
    return replace(_later(before, loaded.read_ms), row_ids=before.row_ids, digests=before.digests, run=before.run)


def interrupted(state: ObjectState | None, row_ids: Sequence[str]) -> ObjectState | None:
    """The state behind a look that ended early; `row_ids` are of the parts that were emitted.

    Its rows are those of before and those: the next look emits each again, or deletes it.
    """
    before = state or ObjectState()
    more = tuple(dict.fromkeys(row_id for row_id in row_ids if row_id not in set(before.row_ids)))
    if not more:
        return state
    return replace(before, row_ids=before.row_ids + more, digests=before.digests + _NO_DIGEST * len(more))


def position(state: ObjectState) -> Position:
    """Of the changes of the last look: 20 hexadecimal digits, 12 of the time and 8 of the count of looks at it."""
    return Position(f"{min(state.read_ms, _LATEST_MS):012x}{min(state.looks, _MOST_LOOKS):08x}")


def looked_ms(at: Position) -> int:
    """The time of a position that `position` made, in milliseconds since 1970; 0 of any other."""
    return int(at[:12], 16) if _OF_A_LOOK.fullmatch(at) else 0


def _later(before: ObjectState, read_ms: int) -> ObjectState:
    if read_ms > before.read_ms:
        return ObjectState(read_ms)
    return ObjectState(before.read_ms, before.looks + 1)


def _change(
    loaded: Loaded,
    spec: ObjectSpec,
    row: str,
    operation: Operation,
    at: Position,
    columns: Mapping[str, Any],
    numbers: tuple[str, ...] = (),
) -> Change:
    key = {"key": loaded.key, "row": row} if row else {"key": loaded.key}
    rare = Rare(numbers=frozenset(numbers)) if numbers else None
    return Change(spec.table, key, operation, at, columns, committed_ms=loaded.committed_ms, rare=rare)


def _digest(loaded: Loaded, row: Row, spec: ObjectSpec) -> bytes:
    columns: dict[str, Any] = {**loaded.columns, **row.columns}
    if spec.columns is not None:
        columns = {name: value for name, value in columns.items() if name in spec.columns}
    return blake2b(_in_order((spec.made_by, columns)), digest_size=_DIGEST_BYTES).digest()


def _split(digests: bytes) -> Sequence[bytes]:
    return [digests[at : at + _DIGEST_BYTES] for at in range(0, len(digests), _DIGEST_BYTES)]


_encode = msgspec.msgpack.Encoder().encode
_in_order = msgspec.msgpack.Encoder(order="sorted").encode


def object_state_to_bytes(state: ObjectState) -> bytes:
    """A state as the engine keeps it: a version byte, then MessagePack."""
    return _STATE_VERSION + _encode(state)


def object_state_from_bytes(raw: bytes) -> ObjectState:
    """The state that `object_state_to_bytes` wrote. Raises ValueError for a version this release doesn't know."""
    if raw[:1] != _STATE_VERSION:
        raise ValueError(f"object state has version {raw[:1].hex() or 'none'}, this release reads 01")
    return msgspec.msgpack.decode(raw[1:], type=ObjectState)
