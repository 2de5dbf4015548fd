"""From a table's changes to the plans that keep its documents in a store equal to it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from string import Formatter
from typing import Any
from urllib.parse import quote

import msgspec

from core.change import BEGINNING, Change, Operation, Position
from core.errors import DocumentError
from core.plans import Chunk, Plan, chunk_id

_STATE_VERSION = b"\x01"
_IN_IDS = re.compile(r"[%/\x00-\x1f\x7f]")
_NUL = "\x00"


@dataclass(frozen=True, slots=True)
class Chunker:
    """Cuts a text into substrings that cover it. `name` changes whenever the same text might be cut otherwise."""

    name: str
    split: Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class DocumentSpec:
    """How one table's rows become documents.

    table     `schema.table`
    text      a template: column names in braces, as in `"{title}\\n\\n{body}"`
    metadata  columns kept beside each chunk
    key       columns that identify a row; empty: those of the event's key
    """

    table: str
    text: str
    metadata: tuple[str, ...] = ()
    key: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DocumentState:
    """The last change applied to one document. A deleted document keeps its position: late changes stay refused.

    made_by  model, chunker and template that the chunks come from
    row      the columns used: the values that stand when a later change leaves them out
    """

    position: Position = BEGINNING
    made_by: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)
    chunk_ids: tuple[str, ...] = ()


def columns(template: str) -> tuple[str, ...]:
    """The columns that a template names, in order.

    Raises ValueError where braces don't pair or hold anything but a name.
    """
    return tuple(name for _, name in _parts(template) if name is not None)


@lru_cache(maxsize=256)
def _parts(template: str) -> tuple[tuple[str, str | None], ...]:
    """Each literal with the column behind it, if there is one. Cached: every change is rendered."""
    parts = []
    for literal, name, format_spec, conversion in Formatter().parse(template):
        if name is not None and (not name or format_spec or conversion or re.search(r"[.\[\]{}]", name)):
            raise ValueError(f"{template!r} has a placeholder that is not a plain column name in braces")
        parts.append((literal, name))
    return tuple(parts)


def render(template: str, row: Mapping[str, Any]) -> str:
    """The template with each column's value in its place.

    A null renders as nothing, a list or object as JSON. NUL characters, which no text column of a database can hold,
    become U+FFFD.
    """
    pieces = [literal if name is None else literal + _as_text(row[name]) for literal, name in _parts(template)]
    return "".join(pieces).replace(_NUL, "\ufffd")


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def document_id(spec: DocumentSpec, change: Change) -> str:
    """`schema.table/key`, composite keys joined by `/`; `%`, `/` and control characters in it are percent-encoded.

    Raises DocumentError where the row has no key, or lacks a column that `key:` names.
    """
    key = {name: _key_column(spec, change, name) for name in spec.key} or change.key
    if not key:
        raise DocumentError(f"{spec.table} has no primary key: give the table one, or set documents.{spec.table}.key")
    return "/".join([_escape(spec.table), *(_escape(_as_text(value)) for value in key.values())])


def _key_column(spec: DocumentSpec, change: Change, name: str) -> Any:
    value = change.row.get(name, change.key.get(name))
    if value is None or name in change.unavailable:
        raise DocumentError(
            f"documents.{spec.table}.key names {name}, which this {change.operation} doesn't carry: "
            "use columns of the primary key, or set REPLICA IDENTITY FULL on the table"
        )
    return value


def _escape(part: str) -> str:
    return _IN_IDS.sub(lambda match: quote(match[0], safe=""), part)


def step(
    state: DocumentState | None, change: Change, spec: DocumentSpec, model: str, chunker: Chunker
) -> tuple[DocumentState | None, Plan | None]:
    """The document's next state, and the plan that takes a store there; no plan where the change is late or repeated.

    Raises DocumentError where the row can't become a document; the state then stands as it was.
    """
    if state is not None and change.position <= state.position:
        return state, None
    identity = document_id(spec, change)
    if change.operation is Operation.DELETE:
        return DocumentState(change.position), Plan(identity, change.position, committed_ms=change.committed_ms)
    before = state or DocumentState()
    row = _standing_row(before, change, spec)
    made_by = f"{model}|{chunker.name}|{spec.text}"
    text = render(spec.text, row)
    if made_by == before.made_by and text == render(spec.text, before.row):
        chunks: tuple[Chunk, ...] = ()
        chunk_ids = before.chunk_ids
    else:
        chunks = _chunks(identity, text, model, chunker)
        chunk_ids = tuple(chunk.chunk_id for chunk in chunks)
    known = frozenset(before.chunk_ids)
    metadata = {name: row[name] for name in spec.metadata}
    plan = Plan(
        document_id=identity,
        position=change.position,
        chunk_ids=chunk_ids,
        write=tuple(chunk for chunk in chunks if chunk.chunk_id not in known),
        move=_moved(before, chunk_ids, metadata),
        metadata=metadata,
        committed_ms=change.committed_ms,
    )
    return DocumentState(change.position, made_by, row, chunk_ids), plan


def _standing_row(before: DocumentState, change: Change, spec: DocumentSpec) -> dict[str, Any]:
    standing = {}
    for name in dict.fromkeys((*columns(spec.text), *spec.metadata)):
        if name in change.unavailable:
            if name not in before.row:
                raise DocumentError(
                    f"{spec.table}.{name} did not travel with this change (an unchanged TOAST column) and no earlier "
                    f"value is known: set REPLICA IDENTITY FULL on {spec.table}, or write the column again"
                )
            standing[name] = before.row[name]
        elif name in change.row:
            standing[name] = change.row[name]
        else:
            there = ", ".join(change.row)
            raise DocumentError(f"documents.{spec.table} uses column {name!r}, which the row lacks; it has: {there}")
    return standing


def _chunks(identity: str, text: str, model: str, chunker: Chunker) -> tuple[Chunk, ...]:
    if not text.strip():
        return ()
    seen: Counter[str] = Counter()
    chunks = []
    for ordinal, piece in enumerate(chunker.split(text)):
        chunks.append(Chunk(chunk_id(identity, model, chunker.name, piece, seen[piece]), ordinal, piece))
        seen[piece] += 1
    return tuple(chunks)


def _moved(before: DocumentState, chunk_ids: tuple[str, ...], metadata: Mapping[str, Any]) -> bool:
    ordinals = {identifier: ordinal for ordinal, identifier in enumerate(before.chunk_ids)}
    kept = [(ordinals[identifier], ordinal) for ordinal, identifier in enumerate(chunk_ids) if identifier in ordinals]
    return any(was != now for was, now in kept) or (
        bool(kept) and any(before.row.get(name) != value for name, value in metadata.items())
    )


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DocumentState).decode


def state_to_bytes(state: DocumentState) -> bytes:
    """The state as Flink keeps it: a version byte, then MessagePack."""
    return _STATE_VERSION + _encode(state)


def state_from_bytes(raw: bytes) -> DocumentState:
    """The state that `state_to_bytes` of this or an earlier release wrote.

    Raises ValueError for a version this release doesn't know.
    """
    if raw[:1] != _STATE_VERSION:
        seen = raw[:1].hex() or "none"
        raise ValueError(f"document state has version {seen}, this release reads {_STATE_VERSION.hex()}")
    return _decode(raw[1:])
