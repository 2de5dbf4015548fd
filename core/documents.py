"""From a table's changes to the plans that keep its documents in a store equal to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from core.change import BEGINNING, Change, Operation, Position
from core.errors import DocumentError
from core.keys import escaped, id_of, refuse_other_kinds, refuse_other_width
from core.plans import Chunk, Plan, chunk_id
from core.templates import as_text, chosen, column_of, parts, render, value_of
from core.templates import columns as columns

_STATE_VERSION = b"\x02"
_FIRST_STATE_VERSION = b"\x01"
SHORTEST_OUT_OF_LINE = 128
"""Bytes of the shortest value that PostgreSQL may store apart (its documentation, "TOAST": toast_tuple_target)."""


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
    """

    table: str
    text: str
    metadata: tuple[str, ...] = ()
    key: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DocumentState:
    """The last change applied to one document. A deleted document keeps its position: late changes stay refused.

    made_by    model, chunker and template that the chunks come from
    row        the columns used: the values that stand when a later change leaves them out
    ranges     where the text was cut
    forget_at  when a deleted document may be forgotten, in milliseconds since 1970; 0 for one that is alive
    kinds      of feeds whose keys have no types: of which kinds this one's values are (`Change.key_kinds`)
    elder      a row that was there when another one came to its key, and the transaction in which it did: one of the
               two leaves the key before that ends (PostgreSQL's deferrable keys)
    """

    position: Position = BEGINNING
    made_by: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)
    ranges: tuple[tuple[int, int], ...] = ()
    forget_at: int = 0
    kinds: str = ""
    elder: tuple[str, Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A change that its own key's state can't settle: half of a key change, or one with values that nobody told yet.

    change.row          the columns known, of a deletion those that stood before it
    change.unavailable  the columns that the document needs and nobody has told
    event               the message it came in, encoded, for a dead letter
    late                the new row of a key change, whose key has changed since: the old row goes all the same. Or the
                        old key of one, which another row has by now: no document goes
    """

    document_id: str
    change: Change
    event: bytes = b""
    late: bool = False


def document_id(spec: DocumentSpec, change: Change) -> str:
    """The id of a row's document: `core.keys.id_of`.

    Raises DocumentError where the row has no key, a null in it, or lacks a column that `key:` names.
    """
    key = {name: _key_column(spec, change, name) for name in spec.key} or change.key
    if not key:
        raise DocumentError(f"{spec.table} has no primary key: give the table one, or set documents.{spec.table}.key")
    return id_of(spec.table, key)


def table_id(table: str) -> str:
    """What the ids of a table's documents begin with, before the first slash."""
    return escaped(table)


def _key_column(spec: DocumentSpec, change: Change, name: str) -> Any:
    value = change.row.get(name, change.key.get(name))
    if value is None or name in change.unavailable:
        raise DocumentError(
            f"documents.{spec.table}.key names {name}, which this {change.operation} doesn't carry: "
            "use columns of the primary key, or have the feed send whole rows (PostgreSQL: REPLICA IDENTITY FULL)"
        )
    return value


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
    refuse_other_width(before.position, change.position, spec.table)
    if change.position < before.position:
        return state, _late(change, spec)
    if change.position == before.position and not replayed:
        return state, []
    identity = document_id(spec, change)
    refuse_other_kinds(before.kinds, change.key_kinds, identity)
    if change.operation is Operation.DELETE:
        if before.elder is not None and before.elder[0] == change.commit:
            return _one_of_two_left(before, before.elder[1], change, identity)
        return DocumentState(change.position), _removed(before, change, spec, identity)
    row, missing = _standing_row(before, change, spec)
    if missing or change.moves:
        known = replace(change, row=row, unavailable=missing, doubtful=frozenset())
        elder = (change.commit, before.row) if change.moves and change.commit and before.row else None
        return DocumentState(change.position, row=row, kinds=change.key_kinds, elder=elder), [
            Unsettled(identity, known)
        ]
    made_by = f"{model}|{chunker.name}|{spec.text}"
    text = render(spec.text, row)
    cut = made_by == before.made_by and text == render(spec.text, before.row)
    ranges = before.ranges if cut else _ranges(text, chunker)
    plan = _plan(identity, change, spec, row, _chunks(identity, text, ranges, model, chunker.name))
    return DocumentState(change.position, made_by, row, ranges, kinds=change.key_kinds or before.kinds), [plan]


def _one_of_two_left(
    before: DocumentState, elder: Mapping[str, Any], change: Change, identity: str
) -> tuple[DocumentState, list[Plan | Unsettled]]:
    """Two rows have had a key at once, as a deferrable one lets them, and the first that leaves it is the elder.

    That is so within one statement, which changes each row once. A transaction that by several statements puts a row
    where another is, and then moves the newcomer on, isn't told from it: the document then has the newcomer's text.
    """
    state = replace(before, position=change.position, elder=None)
    if not change.moves:
        return state, []
    return state, [Unsettled(identity, replace(change, row=elder, unavailable=frozenset()), late=True)]


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
        numbers=_numbers(spec, row, change.numbers) if change.numbers else (),
    )


def used_columns(spec: DocumentSpec, row: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns that a document is made of; of alternatives, the first that the row has, else the first."""
    in_text = (names for _, names in parts(spec.text) if names is not None)
    in_metadata = (tuple(names.split("|")) for names in spec.metadata)
    used = [names[0] if names[0] in row else column_of(chosen(names, row), row) for names in (*in_text, *in_metadata)]
    return tuple(name for name in dict.fromkeys(used) if name)


def _metadata(spec: DocumentSpec, row: Mapping[str, Any]) -> dict[str, Any]:
    """By the first name of each column, where it has several."""
    columns_of = (names.split("|") for names in spec.metadata)
    return {names[0]: value_of(chosen(names, row), row) for names in columns_of}


def _numbers(spec: DocumentSpec, row: Mapping[str, Any], numbers: frozenset[str]) -> tuple[str, ...]:
    columns_of = (names.split("|") for names in spec.metadata)
    return tuple(names[0] for names in columns_of if column_of(chosen(names, row), row) in numbers)


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
    return name not in earlier or len(as_text(earlier[name])) >= SHORTEST_OUT_OF_LINE


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
