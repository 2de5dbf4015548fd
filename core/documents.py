"""From a table's changes to the plans that keep its documents in a store equal to it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from string import Formatter
from typing import Any
from urllib.parse import quote

from core.change import Change, Operation
from core.document_state import DocumentState as DocumentState
from core.document_state import state_from_bytes as state_from_bytes
from core.document_state import state_to_bytes as state_to_bytes
from core.errors import ChangeError, DocumentError
from core.plans import Chunk, Plan, chunks
from core.sources import of_source
from core.standing import Row, Said, closed, filled, is_last, is_open, known, lacks, marked, passed, read
from core.unsettled import Refused as Refused
from core.unsettled import Unsettled as Unsettled
from core.unsettled import forgotten, unknown

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


Told = Plan | Unsettled | Refused
"""What follows from a change."""


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
) -> tuple[DocumentState | None, list[Told]]:
    """The document's next state, and what follows from the change: nothing where it is late or repeated.

    Refused is a change whose row can't become a document. The state knows of it: what it may have touched is unknown
    from then on, until a later change tells it or the refused one comes again, late as it may be by then.
    `replayed`: a dead letter comes again, and the last change is told to the store once more. A plan has the document
    whole, whatever the state knows: what the store holds of it is the store's to say. Of one that the state has not
    seen nobody knows what came between, so nothing that it leaves out stands, nor stands what it says for later ones.
    Raises DocumentError where the row has no key; the state then stands as it was.
    """
    before = state or DocumentState()
    late = again = False
    if change.position <= before.position:
        late = change.position < before.position
        again = not late
        if not is_open(before.holes, change.position) and (late or not replayed):
            return state, _late(change, spec) if late else []
    identity = document_id(spec, change)
    if change.operation is Operation.REFUSED:
        if late or again:
            return state, []
        spared = frozenset() if change.moves else change.unavailable
        return _unread(before, change, spec), [forgotten(identity, change, spared)]
    if late:
        return _caught_up(before, change, spec, model, chunker, identity)
    if replayed and not again:
        after, told = _next(DocumentState(), change, spec, model, chunker, identity)
        return DocumentState(change.position, holes=after.holes), [forgotten(identity, change), *told]
    if again and before.holes is not None:
        before = replace(before, holes=closed(before.holes, change.position))
    return _next(before, change, spec, model, chunker, identity)


def _next(
    before: DocumentState, change: Change, spec: DocumentSpec, model: str, chunker: Chunker, identity: str
) -> tuple[DocumentState, list[Told]]:
    earlier = known(before.row, before.holes)
    if change.operation is Operation.DELETE:
        return DocumentState(change.position), _removed(before, earlier, change, spec, identity)
    said = read({} if change.moves else earlier, change, used_columns(spec, change.row))
    if said.lacking:
        row, holes = marked(before.row, before.holes, change, said)
        return DocumentState(change.position, row=row, holes=holes), [_lacks(identity, change, spec, said)]
    if said.missing or change.moves:
        row, left = passed(before.row, before.holes, change, said)
        known_of = replace(change, row=said.standing, unavailable=said.missing, doubtful=frozenset())
        return DocumentState(change.position, row=row, holes=left), [Unsettled(identity, known_of)]
    try:
        made_by = f"{model}|{chunker.name}|{spec.text}"
        text = render(spec.text, said.standing)
        cut = made_by == before.made_by and text == render(spec.text, before.row)
        ranges = before.ranges if cut else _ranges(text, chunker)
    except ChangeError as error:
        return DocumentState(change.position, row=said.standing), [Refused(identity, unknown(change), error)]
    made = chunks(identity, text, ranges, model, chunker.name)
    told: list[Told] = [_plan(identity, change, spec, said.standing, made)]
    if not before.made_by and _was_short(before, earlier, spec):
        told.append(forgotten(identity, change))
    return DocumentState(change.position, made_by, said.standing, ranges), told


def _unread(before: DocumentState, change: Change, spec: DocumentSpec) -> DocumentState:
    """The state behind a change that couldn't be read: of its columns what is told, if anything, is known."""
    names = dict.fromkeys((*columns(spec.text), *(name for names in spec.metadata for name in names.split("|"))))
    told = change.row.keys() | change.unavailable
    said = read(known(before.row, before.holes), change, [name for name in names if name in told])
    row, holes = marked(before.row, before.holes, change, said)
    return DocumentState(change.position, row=row, holes=holes)


def _caught_up(
    before: DocumentState, change: Change, spec: DocumentSpec, model: str, chunker: Chunker, identity: str
) -> tuple[DocumentState, list[Told]]:
    """A refused change comes again, behind later ones. Where one of those was refused too, the document is told as it
    stood at this one; else as it stands now.
    """
    holes, at = closed(before.holes, change.position), change.position
    earlier = known(before.row, holes, at)
    gone = change.operation is Operation.DELETE
    said = Said({}) if gone else read({} if change.moves else earlier, change, used_columns(spec, change.row))
    if said.lacking:
        row, left = marked(before.row, before.holes, change, said)
        return DocumentState(before.position, row=row, holes=left), [_lacks(identity, change, spec, said)]
    row, left = filled(before.row, holes, change, said)
    told = _next(DocumentState(row=earlier), change, spec, model, chunker, identity)[1]
    if not is_last(left, at) or gone:
        return DocumentState(before.position, row=row, holes=left if left.open else None), told
    assert before.holes is not None
    stands, used = known(row, left), used_columns(spec, dict.fromkeys(before.holes.used))
    now = Change(
        change.table,
        change.key,
        Operation.UPSERT,
        before.position,
        {name: stands.get(name) for name in used},
        frozenset(name for name in used if name not in stands),
        committed_ms=before.holes.committed_ms,
    )
    after, last = _next(DocumentState(row=row, holes=left), now, spec, model, chunker, identity)
    return after, [*(told if change.moves else ()), *last, forgotten(identity, change)]


def _late(change: Change, spec: DocumentSpec) -> list[Told]:
    if not change.moves or change.operation is not Operation.UPSERT:
        return []
    return [Unsettled(document_id(spec, change), replace(change, row={}, unavailable=frozenset()), late=True)]


def _removed(before: DocumentState, earlier: Row, change: Change, spec: DocumentSpec, identity: str) -> list[Told]:
    gone = Plan(identity, change.position, committed_ms=change.committed_ms)
    if change.moves:
        return [Unsettled(identity, replace(change, row=earlier, unavailable=frozenset()))]
    return [gone, forgotten(identity, change)] if _was_short(before, earlier, spec) else [gone]


def _was_short(before: DocumentState, earlier: Row, spec: DocumentSpec) -> bool:
    """Whether values were missing before: they may have been asked for, and are remembered where they were."""
    if not before.row and before.holes is None:
        return False
    return any(name not in earlier for name in used_columns(spec, before.row))


def _lacks(identity: str, change: Change, spec: DocumentSpec, said: Said) -> Refused:
    spared = frozenset() if change.moves else said.missing & change.unavailable
    return Refused(identity, unknown(change, spared), DocumentError(lacks(f"documents.{spec.table}", change, said)))


def plan_of(settled: Unsettled, spec: DocumentSpec, model: str, chunker: Chunker, moved_from: str = "") -> Plan:
    """The plan of a change whose values are all known by now."""
    change = settled.change
    if change.operation is Operation.DELETE:
        return Plan(settled.document_id, change.position, committed_ms=change.committed_ms)
    text = render(spec.text, change.row)
    made = chunks(settled.document_id, text, _ranges(text, chunker), model, chunker.name)
    return replace(_plan(settled.document_id, change, spec, change.row, made), moved_from=moved_from)


def _plan(identity: str, change: Change, spec: DocumentSpec, row: Row, made: tuple[Chunk, ...]) -> Plan:
    return Plan(
        document_id=identity,
        position=change.position,
        chunk_ids=tuple(chunk.chunk_id for chunk in made),
        write=made,
        metadata=_metadata(spec, row),
        committed_ms=change.committed_ms,
    )


def used_columns(spec: DocumentSpec, row: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns that a document is made of; of alternatives, the first that the row has, else the first."""
    chosen = [_chosen(names, row) for names in _alternatives(spec.text, spec.metadata)]
    return tuple([name for name in dict.fromkeys(chosen) if name])


@lru_cache(maxsize=256)
def _alternatives(text: str, metadata: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    in_text = (names for _, names in _parts(text) if names is not None)
    return tuple(dict.fromkeys((*in_text, *(tuple(names.split("|")) for names in metadata))))


def _metadata(spec: DocumentSpec, row: Mapping[str, Any]) -> dict[str, Any]:
    """By the first name of each column, where it has several."""
    columns_of = (names.split("|") for names in spec.metadata)
    return {names[0]: row.get(_chosen(names, row)) for names in columns_of}


def _ranges(text: str, chunker: Chunker) -> tuple[tuple[int, int], ...]:
    return tuple(chunker.ranges(text)) if text.strip() else ()
