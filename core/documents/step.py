"""From a table's changes to the plans that keep its documents in a store equal to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core.change import Change, Operation, Rare
from core.documents.departures import caught_up, departed, left_behind, with_caught_up
from core.documents.halves import elder, elder_leaves, is_other_half
from core.documents.keys import refuse_other_kinds, refuse_other_width
from core.documents.spec import Chunker as Chunker
from core.documents.spec import DocumentSpec as DocumentSpec
from core.documents.spec import document_id as document_id
from core.documents.spec import table_id as table_id
from core.documents.spec import used_columns as used_columns
from core.documents.standing import (
    Holes,
    Row,
    Said,
    closed,
    filled,
    is_last,
    is_open,
    known,
    lacks,
    last_brought,
    marked,
    may_tell,
    passed,
    read,
)
from core.documents.state import DocumentState as DocumentState
from core.documents.state import state_from_bytes as state_from_bytes
from core.documents.state import state_to_bytes as state_to_bytes
from core.documents.templates import chosen, column_of, columns, render, value_of
from core.documents.tenants import take
from core.documents.unsettled import Refused as Refused
from core.documents.unsettled import Unsettled as Unsettled
from core.documents.unsettled import forgotten, shared, unknown
from core.errors import ChangeError, DocumentError
from core.plans import Chunk, Plan, chunks

Emitted = Plan | Unsettled | Refused
"""What follows from a change."""


def step(
    state: DocumentState | None,
    change: Change,
    spec: DocumentSpec,
    model: str,
    chunker: Chunker,
    replayed: bool = False,
    backfilled: bool = False,
) -> tuple[DocumentState | None, list[Emitted]]:
    """The document's next state, and what follows from the change: nothing where it is late or repeated.

    What is late tells all the same where later changes left out what it says, or where its row has left the key since:
    a key's changes may come by two partitions, as when a topic was given more of them.

    Refused is a change whose row can't become a document. The state knows of it: what it may have touched is unknown
    from then on, until a later change tells it or the refused one comes again, late as it may be by then.
    `replayed`: a dead letter comes again, and the last change goes to the store once more. A plan has the document
    whole, whatever the state knows: what the store holds of it is the store's to say. Of one that the state has not
    seen nobody knows what came between, so nothing that it leaves out stands, nor stands what it says for later ones.
    `backfilled`: a row as the source had it when its position was the latest, or later. It is emitted once more as
    a replayed one is, and stands for later changes, for what came between comes yet.
    Raises DocumentError where the row has no key; the state then stands as it was.
    """
    before = state or DocumentState()
    taken = take(before.tenants, known(before.row, before.holes), before.position, change, spec.key)
    after, emitted = _stepped(state, taken.change, spec, model, chunker, replayed, backfilled)
    if after is not None and before.departures and not after.departures:
        after = replace(after, departures=before.departures)
    if after is not None and taken.tenants is not None:
        after = replace(after, tenants=taken.tenants)
    if taken.leaves is not None:
        emitted = [Unsettled(document_id(spec, change), taken.leaves, late=True), *emitted]
    return after, emitted


def _stepped(
    state: DocumentState | None,
    change: Change,
    spec: DocumentSpec,
    model: str,
    chunker: Chunker,
    replayed: bool,
    backfilled: bool,
) -> tuple[DocumentState | None, list[Emitted]]:
    before = state or DocumentState()
    try:
        _refuse_other_rows(before, change, spec)
    except DocumentError as error:
        if change.operation is Operation.REFUSED:
            return state, []
        return state, [Refused(document_id(spec, change), unknown(change), error)]
    late = again = False
    if change.position <= before.position:
        if change.moves and is_other_half(before, change):
            return _next(before, change, spec, model, chunker, document_id(spec, change))
        late, again = change.position < before.position, change.position == before.position
        refused = is_open(before.holes, change.position)
        if late and backfilled and not refused:
            return state, []  # it may be another row than the one whose changes come there
        left = left_behind(before.departures, change.position)
        if left is not None and change.operation is Operation.UPSERT and not replayed:
            left, of_left = caught_up(left, change, used_columns(spec, change.row), document_id(spec, change))
            return replace(before, departures=with_caught_up(before.departures, left)), [*of_left]
        # of a replayed one that the state hasn't refused itself, nobody knows what came between
        newer = late and not replayed and may_tell(before.holes, change)
        if not refused and not newer and (late or not (replayed or backfilled)):
            return state, _late(change, spec) if late else []
    identity = document_id(spec, change)
    if change.operation is Operation.REFUSED:
        if late or again:
            return state, []
        spared = frozenset() if change.moves else change.unavailable
        return _unread(before, change, spec), [forgotten(identity, change, spared)]
    if late:
        return _caught_up(before, change, spec, model, chunker, identity)
    if replayed and not again and not elder_leaves(before, change):
        now, emitted = _next(DocumentState(), change, spec, model, chunker, identity)
        gone = (*before.departures, *now.departures)
        now = DocumentState(change.position, holes=now.holes, kinds=change.key_kinds, left=now.left, departures=gone)
        return now, [forgotten(identity, change), *emitted]
    if again and before.holes is not None:
        before = replace(before, holes=closed(before.holes, change.position))
    now, emitted = _next(before, change, spec, model, chunker, identity)
    # the transaction that brought the newcomer may have been read in part: its elder has yet to leave
    return (replace(now, elder=before.elder, ahead=True) if backfilled else now), emitted


def _refuse_other_rows(before: DocumentState, change: Change, spec: DocumentSpec) -> None:
    """Raises DocumentError for a change of another row of this id, or one whose position nothing compares."""
    refuse_other_width(before.position, change.position, spec.table)
    if before.kinds and change.key_kinds:
        refuse_other_kinds(before.kinds, change.key_kinds, document_id(spec, change))


def _next(
    before: DocumentState, change: Change, spec: DocumentSpec, model: str, chunker: Chunker, identity: str
) -> tuple[DocumentState, list[Emitted]]:
    earlier = known(before.row, before.holes)
    leaving = {} if before.ahead else earlier
    ahead = before.ahead and not change.moves and bool(change.unavailable or change.doubtful)
    if change.operation is Operation.DELETE:
        if before.elder is not None and elder_leaves(before, change):
            return _one_of_two_left(before, before.elder[1], change, identity)
        if change.moves:
            return _left(before, leaving, change, spec, identity)
        gone = Plan(identity, change.position, committed_ms=change.committed_ms)
        was_short = _was_short(before, earlier, spec)
        return DocumentState(change.position), [gone, forgotten(identity, change)] if was_short else [gone]
    kinds, older = change.key_kinds or before.kinds, elder(before, leaving, change)
    said = read({} if change.moves else earlier, change, used_columns(spec, change.row))
    if said.lacking:
        row, holes = marked(before.row, before.holes, change, said)
        refused = DocumentState(change.position, row=row, holes=holes, kinds=kinds, elder=older, ahead=ahead)
        return refused, [_lacks(identity, change, spec, said)]
    if said.missing or change.moves:
        row, open_ = passed(before.row, before.holes, change, said, before.position)
        known_of = replace(change, row=said.standing, unavailable=said.missing, doubtful=frozenset())
        after = DocumentState(change.position, row=row, holes=open_, kinds=kinds, elder=older, ahead=ahead)
        return after, [Unsettled(identity, known_of)]
    try:
        made_by = f"{model}|{chunker.name}|{spec.text}"
        text = render(spec.text, said.standing)
        cut = made_by == before.made_by and text == render(spec.text, before.row)
        ranges = before.ranges if cut else _ranges(text, chunker)
        made = chunks(identity, text, ranges, model, chunker.name)
        emitted: list[Emitted] = [_plan(identity, change, spec, said.standing, made)]
    except ChangeError as error:
        unusable = DocumentState(change.position, row=said.standing, kinds=kinds, ahead=ahead)
        return unusable, [Refused(identity, unknown(change), error)]
    if not before.made_by and _was_short(before, earlier, spec):
        emitted.append(forgotten(identity, change))
    when = passed(before.row, before.holes, change, said, before.position)[1] if said.carried else None
    return DocumentState(change.position, made_by, said.standing, ranges, holes=when, kinds=kinds, ahead=ahead), emitted


def _one_of_two_left(
    before: DocumentState, older: Row, change: Change, identity: str
) -> tuple[DocumentState, list[Emitted]]:
    """Two rows have had a key at once, as a deferrable one lets them, and the first that leaves it is the elder.

    Where both are alike, a transaction that puts one where the other is, and moves it on by another statement,
    can't be distinguished from that.
    """
    state = replace(before, position=change.position, elder=None)
    if not change.moves:
        return state, []
    return state, [Unsettled(identity, replace(change, row=older, unavailable=frozenset()), late=True)]


def _unread(before: DocumentState, change: Change, spec: DocumentSpec) -> DocumentState:
    """The state behind a change that couldn't be read: what it carries of its columns, if anything, is known."""
    carried = dict.fromkeys((*change.row, *change.unavailable))
    used = (*columns(spec.text), *(name for names in spec.metadata for name in names.split("|")))
    names = dict.fromkeys(column_of(name, carried) for name in used)
    earlier = known(before.row, before.holes)
    said = read(earlier, change, [name for name in names if name in carried])
    row, holes = marked(before.row, before.holes, change, said)
    kinds, older = change.key_kinds or before.kinds, elder(before, earlier, change)
    ahead = before.ahead and not change.moves
    return DocumentState(change.position, row=row, holes=holes, kinds=kinds, elder=older, ahead=ahead)


def _caught_up(
    before: DocumentState, change: Change, spec: DocumentSpec, model: str, chunker: Chunker, identity: str
) -> tuple[DocumentState, list[Emitted]]:
    """A refused change comes again, behind later ones, or one that tells what they left out comes late. Where one of
    those was refused too, the document is emitted as it stood at this one; else as it stands now.
    """
    holes, at = closed(before.holes, change.position), change.position
    earlier = known(before.row, holes, at)
    gone = change.operation is Operation.DELETE
    still = DocumentState(before.position, kinds=before.kinds, elder=before.elder, ahead=before.ahead)
    was_refused = is_open(before.holes, at)
    own = change.moves or not was_refused  # it is asked for what it says itself
    said = Said({}) if gone else read({} if own else earlier, change, used_columns(spec, change.row))
    if said.lacking:
        row, left = marked(before.row, before.holes, change, said)
        return replace(still, row=row, holes=left), [_lacks(identity, change, spec, said)]
    row, left = filled(before.row, holes, change, said)
    if not is_last(left, at) or gone:
        emitted = _next(DocumentState(row=earlier), change, spec, model, chunker, identity)[1]
        return replace(still, row=row, holes=left if left.open else None), emitted
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
        rare=Rare(key_kinds=change.key_kinds, numbers=change.numbers),
    )
    emitted = []
    if change.moves and was_refused:
        emitted = _next(DocumentState(row=earlier), change, spec, model, chunker, identity)[1]
    elif change.moves:
        emitted = _arrived_late(change, now, left, identity)
    if now.unavailable and not was_refused:  # which was asked for, but for what another row had brought
        return replace(still, row=row, holes=left), [*emitted, Unsettled(identity, now, late=not change.moves)]
    if not now.unavailable and not before.made_by:
        # it was emitted as one that lacked values, and may wait for them still: of one position a store takes the last
        return replace(still, row=row, holes=left), [*emitted, Unsettled(identity, now), forgotten(identity, change)]
    after, last = _next(DocumentState(row=row, holes=left), now, spec, model, chunker, identity)
    older = any(since < before.position for since in left.brought_at.values())
    after = replace(after, holes=left if older else None)
    return after, [*emitted, *last, forgotten(identity, change)]


def _arrived_late(change: Change, now: Change, left: Holes, identity: str) -> list[Emitted]:
    """The row came to its key before what is known of it: what it has from its old key is to be found yet."""
    lacks_it = frozenset(name for name in now.unavailable if left.brought_at.get(name) == change.position)
    return [Unsettled(identity, replace(change, row={}, unavailable=lacks_it, doubtful=frozenset()), late=True)]


def _late(change: Change, spec: DocumentSpec) -> list[Emitted]:
    if not change.moves or change.operation is not Operation.UPSERT:
        return []
    return [Unsettled(document_id(spec, change), replace(change, row={}, unavailable=frozenset()), late=True)]


def _left(
    before: DocumentState, leaving: Row, change: Change, spec: DocumentSpec, identity: str
) -> tuple[DocumentState, list[Emitted]]:
    """The row goes to another key, and takes along what is known of it."""
    brought_at = {name: last_brought(before.holes, name, before.position) for name in used_columns(spec, before.row)}
    departures = departed(before.departures, before.position, change, brought_at)
    taken = Unsettled(identity, replace(change, row=leaving, unavailable=frozenset()), brought_at=brought_at)
    return DocumentState(change.position, left=shared(change), departures=departures), [taken]


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
        metadata=metadata_of(spec, row),
        committed_ms=None if change.snapshot else change.committed_ms,
        numbers=numbers_of(spec, row, change.numbers) if change.numbers else (),
    )


def metadata_of(spec: DocumentSpec, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's metadata, by the first name of each column, where it has several."""
    columns_of = (names.split("|") for names in spec.metadata)
    return {names[0]: value_of(chosen(names, row), row) for names in columns_of}


def numbers_of(spec: DocumentSpec, row: Mapping[str, Any], numbers: frozenset[str]) -> tuple[str, ...]:
    """The names of metadata whose columns are among those of `numbers`."""
    columns_of = (names.split("|") for names in spec.metadata)
    return tuple(names[0] for names in columns_of if column_of(chosen(names, row), row) in numbers)


def _ranges(text: str, chunker: Chunker) -> tuple[tuple[int, int], ...]:
    return tuple(chunker.ranges(text)) if text.strip() else ()
