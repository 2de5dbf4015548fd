"""From a table's changes to the plans that keep its documents in a store equal to it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from string import Formatter
from typing import Any
from urllib.parse import quote

import msgspec

from core.change import BEGINNING, Change, Operation, Position
from core.errors import DocumentError
from core.plans import Chunk, Plan, chunk_id
from core.sources import of_source

_STATE_VERSION = b"\x02"
_FIRST_STATE_VERSION = b"\x01"
SHORTEST_OUT_OF_LINE = 128
"""Bytes of the shortest value that PostgreSQL may store apart (its documentation, "TOAST": toast_tuple_target)."""
_IN_IDS = re.compile(r"[%/\x00-\x1f\x7f]")
_NUL = "\x00"
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Chunker:
    """Cuts a text into ranges that cover it. `name` changes whenever the same text might be cut otherwise."""

    name: str
    ranges: Callable[[str], Sequence[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class DocumentSpec:
    """How one table's rows become documents.

    table     `schema.table`
    text      a template: column names in braces, as in `"{title}\\n\\n{body}"`; `{old|new}` is the first that is there,
              `{extra|}` nothing where it isn't
    metadata  columns kept beside each chunk; `old|new` and `extra|` as in the text
    key       columns that identify a row; empty: those of the event's key
    id_from_source  whether its id says which database a row is of
    """

    table: str
    text: str
    metadata: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    id_from_source: bool = False


@dataclass(frozen=True, slots=True)
class DocumentState:
    """The last change applied to one document. A deleted document keeps its position: late changes stay refused.

    made_by    model, chunker and template that the chunks come from
    row        the columns used: the values that stand when a later change leaves them out
    ranges     where the text was cut
    forget_at  when a deleted document may be forgotten, in milliseconds since 1970; 0 for one that is alive
    """

    position: Position = BEGINNING
    made_by: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)
    ranges: tuple[tuple[int, int], ...] = ()
    forget_at: int = 0


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A change that its own key's state can't settle: half of a key change, or one with values that nobody told yet.

    change.row          the columns known, of a deletion those that stood before it
    change.unavailable  the columns that the document needs and nobody has told
    event               the message it came in, encoded, for a dead letter
    late                the new row of a key change, whose key has changed since: the old row goes all the same
    """

    document_id: str
    change: Change
    event: bytes = b""
    late: bool = False


def columns(template: str) -> tuple[str, ...]:
    """The columns that a template names, in order. Raises ValueError where braces don't pair or hold anything else."""
    return tuple(name for _, names in _parts(template) if names is not None for name in names if name)


@lru_cache(maxsize=256)
def _parts(template: str) -> tuple[tuple[str, tuple[str, ...] | None], ...]:
    """Each literal with the alternatives behind it, if there are any. Cached: every change is rendered."""
    parts: list[tuple[str, tuple[str, ...] | None]] = []
    for literal, name, format_spec, conversion in Formatter().parse(template):
        if name is None:
            parts.append((literal, None))
            continue
        names = tuple(name.split("|"))
        if not all(names[:-1]) or names == ("",) or format_spec or conversion or re.search(r"[.\[\]{}]", name):
            raise ValueError(f"{template!r} has a placeholder that is not a plain column name in braces")
        parts.append((literal, names))
    return tuple(parts)


def render(template: str, row: Mapping[str, Any]) -> str:
    """The template with each column's value in its place; of `{old|new}`, that of the first column that the row has.

    `{extra|}` is nothing where the row has no such column.
    A null renders as nothing, a list or object as JSON. NUL characters, which no text column of a database can hold,
    become U+FFFD.
    """
    pieces = [
        literal if names is None else literal + _as_text(row.get(_chosen(names, row)))
        for literal, names in _parts(template)
    ]
    return "".join(pieces).replace(_NUL, "\ufffd")


def _chosen(names: Sequence[str], row: Mapping[str, Any]) -> str:
    """The first that the row has; "" where it has none and may lack it, else the first."""
    if len(names) == 1:
        return names[0]
    return next((name for name in names if name in row or not name), names[0])


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    # most are whole numbers; a bool is none, and is `true`
    return str(value) if type(value) is int else _to_json(value)


def document_id(spec: DocumentSpec, change: Change) -> str:
    """`schema.table/key`, composite keys joined by `/`; `%`, `/` and control characters in it are percent-encoded.

    With `id_from_source` it is `schema.table@source/key`. Raises DocumentError where the row has no key, or lacks a
    column that `key:` names, SourceError where it doesn't say its source.
    """
    key = {name: _key_column(spec, change, name) for name in spec.key} or change.key
    if not key:
        raise DocumentError(f"{spec.table} has no primary key: give the table one, or set documents.{spec.table}.key")
    table = of_source(spec.table, change.source) if spec.id_from_source else spec.table
    return "/".join(map(_escape, (table, *map(_as_text, key.values()))))


def table_id(table: str) -> str:
    """What the ids of a table's documents begin with, before the first slash."""
    return _escape(table)


def _key_column(spec: DocumentSpec, change: Change, name: str) -> Any:
    value = change.row.get(name, change.key.get(name))
    if value is None or name in change.unavailable:
        raise DocumentError(
            f"documents.{spec.table}.key names {name}, which this {change.operation} doesn't carry: "
            "use columns of the primary key, or have the feed send whole rows (PostgreSQL: REPLICA IDENTITY FULL)"
        )
    return value


def _escape(part: str) -> str:
    return _IN_IDS.sub(lambda match: quote(match[0], safe=""), part)


def step(
    state: DocumentState | None,
    change: Change,
    spec: DocumentSpec,
    model: str,
    chunker: Chunker,
    replayed: bool = False,
) -> tuple[DocumentState | None, list[Plan | Unsettled]]:
    """The document's next state, and what follows from the change: nothing where it is late or repeated.

    `replayed`: a dead letter comes again, and the last change is told to the store once more. A plan has the document
    whole, whatever the state knows: what the store holds of it is the store's to say.
    Raises DocumentError where the row can't become a document; the state then stands as it was.
    """
    before = state or DocumentState()
    if change.position < before.position:
        return state, _late(change, spec)
    if change.position == before.position and not replayed:
        return state, []
    identity = document_id(spec, change)
    if change.operation is Operation.DELETE:
        return DocumentState(change.position), _removed(before, change, spec, identity)
    row, missing = _standing_row(before, change, spec)
    if missing or change.moves:
        known = replace(change, row=row, unavailable=missing, doubtful=frozenset())
        return DocumentState(change.position, row=row), [Unsettled(identity, known)]
    made_by = f"{model}|{chunker.name}|{spec.text}"
    text = render(spec.text, row)
    cut = made_by == before.made_by and text == render(spec.text, before.row)
    ranges = before.ranges if cut else _ranges(text, chunker)
    plan = _plan(identity, change, spec, row, _chunks(identity, text, ranges, model, chunker.name))
    return DocumentState(change.position, made_by, row, ranges), [plan]


def _late(change: Change, spec: DocumentSpec) -> list[Plan | Unsettled]:
    if not change.moves or change.operation is Operation.DELETE:
        return []
    return [Unsettled(document_id(spec, change), replace(change, row={}, unavailable=frozenset()), late=True)]


def _removed(before: DocumentState, change: Change, spec: DocumentSpec, identity: str) -> list[Plan | Unsettled]:
    gone = Plan(identity, change.position, committed_ms=change.committed_ms)
    if change.moves:
        return [Unsettled(identity, replace(change, row=before.row, unavailable=frozenset()))]
    if before.row and any(name not in before.row for name in used_columns(spec, before.row)):
        return [gone, Unsettled(identity, replace(change, row={}, unavailable=frozenset()))]
    return [gone]


def plan_of(settled: Unsettled, spec: DocumentSpec, model: str, chunker: Chunker, moved_from: str = "") -> Plan:
    """The plan of a change whose values are all known by now."""
    change = settled.change
    if change.operation is Operation.DELETE:
        return Plan(settled.document_id, change.position, committed_ms=change.committed_ms)
    text = render(spec.text, change.row)
    chunks = _chunks(settled.document_id, text, _ranges(text, chunker), model, chunker.name)
    return replace(_plan(settled.document_id, change, spec, change.row, chunks), moved_from=moved_from)


def _plan(identity: str, change: Change, spec: DocumentSpec, row: Mapping[str, Any], chunks: tuple[Chunk, ...]) -> Plan:
    return Plan(
        document_id=identity,
        position=change.position,
        chunk_ids=tuple(chunk.chunk_id for chunk in chunks),
        write=chunks,
        metadata=_metadata(spec, row),
        committed_ms=change.committed_ms,
    )


def used_columns(spec: DocumentSpec, row: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns that a document is made of; of alternatives, the first that the row has, else the first."""
    in_text = (names for _, names in _parts(spec.text) if names is not None)
    in_metadata = (tuple(names.split("|")) for names in spec.metadata)
    chosen = (_chosen(names, row) for names in (*in_text, *in_metadata))
    return tuple(name for name in dict.fromkeys(chosen) if name)


def _metadata(spec: DocumentSpec, row: Mapping[str, Any]) -> dict[str, Any]:
    """By the first name of each column, where it has several."""
    columns_of = (names.split("|") for names in spec.metadata)
    return {names[0]: row.get(_chosen(names, row)) for names in columns_of}


def _standing_row(before: DocumentState, change: Change, spec: DocumentSpec) -> tuple[dict[str, Any], frozenset[str]]:
    """The columns that the document uses and are known, and the names of those that are not."""
    standing: dict[str, Any] = {}
    missing = set()
    earlier = {} if change.moves else before.row
    for name in used_columns(spec, change.row):
        if name in change.unavailable or (name in change.doubtful and _may_stand(earlier, name)):
            if name in earlier:
                standing[name] = earlier[name]
            else:
                missing.add(name)
        elif name in change.row:
            standing[name] = change.row[name]
        elif change.partial:
            missing.add(name)
        else:
            there = ", ".join(change.row)
            raise DocumentError(
                f"documents.{spec.table} uses column {name!r}, which the row lacks; it has: {there}. "
                f"Where it was renamed, name both, {{old|new}}; where it may be missing, write {{{name}|}}"
            )
    return standing, frozenset(missing)


def _may_stand(earlier: Mapping[str, Any], name: str) -> bool:
    """Whether a null may stand for an unchanged value: PostgreSQL moves only long ones out of line."""
    return name not in earlier or len(_as_text(earlier[name])) >= SHORTEST_OUT_OF_LINE


def _ranges(text: str, chunker: Chunker) -> tuple[tuple[int, int], ...]:
    return tuple(chunker.ranges(text)) if text.strip() else ()


def _chunks(identity: str, text: str, ranges: Sequence[tuple[int, int]], model: str, chunker: str) -> tuple[Chunk, ...]:
    seen: Counter[str] = Counter()
    chunks = []
    for ordinal, (begin, end) in enumerate(ranges):
        piece = text[begin:end]
        chunks.append(Chunk(chunk_id(identity, model, chunker, piece, seen[piece]), ordinal, piece))
        seen[piece] += 1
    return tuple(chunks)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DocumentState).decode


def state_to_bytes(state: DocumentState) -> bytes:
    """The state as Flink keeps it: a version byte, then MessagePack."""
    return _STATE_VERSION + _encode(state)


def state_from_bytes(raw: bytes) -> DocumentState:
    """The state that `state_to_bytes` of this or an earlier release wrote.

    Raises ValueError for a version this release doesn't know.
    """
    if raw[:1] == _STATE_VERSION:
        return _decode(raw[1:])
    if raw[:1] == _FIRST_STATE_VERSION:
        # The first release kept chunk ids where this one keeps ranges: without `made_by` the text is cut anew.
        return replace(_decode(raw[1:]), made_by="", ranges=())
    seen = raw[:1].hex() or "none"
    raise ValueError(f"document state has version {seen}, this release reads 01 and {_STATE_VERSION.hex()}")
