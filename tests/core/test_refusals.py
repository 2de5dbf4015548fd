"""Laws of refused changes: a document never shows a value that is no more, and what it lacks is in a dead letter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from core.change import Change, Operation, Position
from core.documents.moves import Kept, Settled, Unknown, decode_kept, encode_kept, give_up, learn, settle, tell_early
from core.documents.standing import MOST_HOLES
from core.documents.step import (
    Chunker,
    DocumentSpec,
    DocumentState,
    Refused,
    Unsettled,
    document_id,
    plan_of,
    state_from_bytes,
    state_to_bytes,
    step,
)
from core.plans import Plan

SPEC = DocumentSpec("public.t", "{body}|{num}|{note}")
WHOLE = Chunker("whole", lambda text: [(0, len(text))])
LONG = "7" * 130
Values = dict[str, str | None]
PLAIN, MOVING = ("put", "update", "update", "update", "delete"), ("put", "update", "update", "delete", "move", "move")
GOOD, BAD = "good", ("unread", "half read", "lacking")


@dataclass(frozen=True)
class Letter:
    """A change as its source meant it, which was refused or asks for values."""

    document: str
    change: Change


@dataclass
class Source:
    """A table, as PostgreSQL's connector writes it: unchanged long texts as markers, unchanged numerics as null."""

    rows: dict[int, Values] = field(default_factory=dict)
    versions: dict[str, list[tuple[str, Values | None]]] = field(default_factory=dict)
    at: int = 0

    def put(self, key: int, row: Values) -> list[Change]:
        self.rows[key] = row
        return [self._change(key, row)]

    def update(self, key: int, new: Values) -> list[Change]:
        before = self.rows[key]
        row = {**before, **new}
        if len(before["num"] or "") >= 128 and row["num"] is None:
            row["num"] = before["num"]  # nothing tells this from an unchanged one
        self.rows[key] = row
        left = {name for name in ("body", "note") if name not in new and row[name] != "short"}
        nulls = {"num"} if row["num"] is None or ("num" not in new and len(row["num"]) >= 128) else set()
        return [self._change(key, row, left, nulls)]

    def delete(self, key: int) -> list[Change]:
        del self.rows[key]
        return [self._change(key, None)]

    def move(self, old: int, new: int) -> list[Change]:
        row = self.rows[new] = self.rows.pop(old)
        left = {name for name in ("body", "note") if row[name] != "short"}
        nulls = {"num"} if row["num"] is None or len(row["num"]) >= 128 else set()
        gone = replace(self._change(old, None), moves=True)
        self.at -= 1
        return [gone, replace(self._change(new, row, left, nulls), moves=True)]

    def _change(self, key: int, row: Values | None, left: Iterable[str] = (), nulls: Iterable[str] = ()) -> Change:
        self.at += 1
        position = Position(f"{self.at:04}")
        self.versions.setdefault(f"public.t/{key}", []).append((position, row))
        values = {**(row or {}), **dict.fromkeys(left, "marker"), **dict.fromkeys(nulls)}
        operation = Operation.DELETE if row is None else Operation.UPSERT
        return Change(SPEC.table, {"id": key}, operation, position, values, frozenset(left), frozenset(nulls))

    def since(self, document: str, position: str) -> list[Values | None]:
        """The row as it stood at a position, then each later one."""
        versions = self.versions[document]
        at = max(number for number, (each, _) in enumerate(versions) if each <= position)
        return [row for _, row in versions[at:]]


@dataclass
class Job:
    """Plan and settle over a store that refuses what is older; `asks`: the source can be asked."""

    source: Source
    asks: bool
    states: dict[str, DocumentState | None] = field(default_factory=dict)
    memory: dict[str, Kept] = field(default_factory=dict)
    store: dict[str, tuple[str, str]] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)
    rejects: bool = False
    events: dict[tuple[str, str], Change] = field(default_factory=dict)
    again: list[Change] = field(default_factory=list)
    """Those that may come a second time."""

    def take(self, change: Change, how: str = GOOD, replayed: bool = False) -> None:
        document, sent = document_id(SPEC, change), spoiled(change, how)
        if sent.operation is Operation.REFUSED:
            self.letters.append(Letter(document, change))
        state, emitted = step(self.states.get(document), sent, SPEC, "m", WHOLE, replayed)
        self.states[document] = None if state is None else state_from_bytes(state_to_bytes(state))
        assert state == self.states[document]
        for each in emitted:
            if isinstance(each, Plan):
                self.apply(each, change)
                continue
            if isinstance(each, Refused):
                self.letters.append(Letter(document, change))
            self.hear(settle(self.memory, each), change)
        self.memory = {name: decode_kept(encode_kept(kept)) for name, kept in self.memory.items()}

    def hear(self, answers: list[Settled | Unknown], event: Change) -> None:
        for each in answers:
            what, moved_from = each.what, each.moved_from if isinstance(each, Settled) else ""
            row = self.source.rows.get(int(what.change.key["id"]))
            if isinstance(each, Unknown) and self.asks and row is not None:
                found = {name: row[name] for name in what.change.unavailable}
                whole = replace(what.change, row={**what.change.row, **found}, unavailable=frozenset())
                learn(self.memory, structs.replace(what, change=whole), what.change.unavailable)
                what = structs.replace(what, change=whole)
            elif isinstance(each, Unknown):
                self.letters += [Letter(what.document_id, self.event_of(what, event))] if row or not self.asks else []
                continue
            self.apply(plan_of(what, SPEC, "m", WHOLE, moved_from), self.event_of(what, event))

    def event_of(self, what: Unsettled, event: Change) -> Change:
        """What waited came by another event than the one that ended its waiting."""
        own = event.key == what.change.key and event.moves == what.change.moves
        return event if own else self.events[what.change.position, what.document_id]

    def apply(self, plan: Plan, event: Change) -> None:
        if self.rejects:
            self.letters.append(Letter(plan.document_id, event))
            return
        if plan.position < self.store.get(plan.document_id, ("", ""))[0]:
            return
        text = "".join(chunk.text for chunk in plan.write)
        self.store[plan.document_id] = (plan.position, text)
        rows = self.source.since(plan.document_id, plan.position)
        assert text in texts(rows if self.asks else rows[:1]), (plan.position, text, rows)

    def end(self) -> None:
        """The halves that wait are waited for no longer."""
        for way in (tell_early, give_up):
            for kept in list(self.memory.values()):
                if kept.half is not None:
                    at = kept.half.change.position
                    self.hear(way(self.memory, at), self.events[at, kept.half.document_id])

    def differences(self) -> set[str]:
        true = {
            f"public.t/{key}": f"{row['body']}|{row['num'] or ''}|{row['note']}"
            for key, row in self.source.rows.items()
        }
        there = {document: text for document, (_, text) in self.store.items() if text}
        return {document for document in true.keys() | there.keys() if true.get(document) != there.get(document)}


def texts(rows: list[Values | None]) -> set[str]:
    """All that a document may say: each value as it stood, or as it stood later, if the source was asked."""
    if rows[0] is None:
        return {""}
    live = [row for row in rows if row is not None]
    of = {name: {row[name] or "" for row in live} for name in ("body", "num", "note")}
    return {f"{body}|{num}|{note}" for body in of["body"] for num in of["num"] for note in of["note"]}


def spoiled(change: Change, how: str) -> Change:
    """A change as it arrives: its bytes can't be read, or can in part, or its row lacks a column."""
    if how == "lacking" and change.operation is Operation.UPSERT:
        return replace(change, row={name: value for name, value in change.row.items() if name != "note"})
    if how == GOOD or how == "lacking":
        return change
    unread = replace(change, operation=Operation.REFUSED, row={}, unavailable=frozenset(), doubtful=frozenset())
    if how == "unread" or change.operation is Operation.DELETE:
        return unread
    some = {name: change.row[name] for name in ("body", "num")}
    return replace(unread, row=some, unavailable=change.unavailable, doubtful=change.doubtful)


@st.composite
def values(draw: st.DrawFn, number: int) -> Values:
    return {
        "body": draw(st.sampled_from(["short", f"b{number}"])),
        "num": draw(st.sampled_from([None, str(number), f"{LONG}{number}"])),
        "note": draw(st.sampled_from(["short", f"n{number}"])),
    }


def lives(draw: st.DrawFn, job: Job, actions: tuple[str, ...], most: int, losing: bool) -> None:
    """Whatever may happen to a few rows, and to their events."""
    source = job.source
    for number in range(draw(st.integers(1, most))):
        key, other = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        action = draw(st.sampled_from([*actions, "replay", "again", *(["lose"] if losing else [])]))
        waits = any(kept.half is not None for kept in job.memory.values())
        changes: list[Change] = []
        if action == "replay" and job.letters:
            letter = job.letters.pop(draw(st.integers(0, len(job.letters) - 1)))
            job.take(letter.change, draw(st.sampled_from([GOOD, GOOD, *BAD])), replayed=True)
        elif action == "again" and job.again:
            job.take(draw(st.sampled_from(job.again)))
        elif action == "lose" and not waits:
            job.states.clear()
            job.memory.clear()
            job.again.clear()  # of what was before, no single event is read again
        elif action == "put" and key not in source.rows:
            changes = source.put(key, draw(values(number)))
        elif action == "update" and key in source.rows:
            new = draw(values(number))
            changes = source.update(key, {name: new[name] for name in draw(st.sets(st.sampled_from(sorted(new))))})
        elif action == "delete" and key in source.rows:
            changes = source.delete(key)
        elif action == "move" and key in source.rows and other not in source.rows:
            changes = source.move(key, other)
        for change in changes:
            job.events[change.position, document_id(SPEC, change)] = change
            job.again.append(change)
            job.rejects = draw(st.integers(0, 9)) == 0
            job.take(change, draw(st.sampled_from([GOOD, GOOD, GOOD, *BAD])))
            job.rejects = False


@settings(max_examples=600, deadline=None)
@given(st.data(), st.booleans(), st.booleans(), st.booleans())
def test_a_document_tells_the_truth_or_a_dead_letter_does(
    data: st.DataObject, moving: bool, asks: bool, losing: bool
) -> None:
    job = Job(Source(), asks)
    lives(data.draw, job, MOVING if moving else PLAIN, 24, losing)
    job.end()
    assert job.differences() <= {letter.document for letter in job.letters}


@settings(max_examples=300, deadline=None)
@given(st.data(), st.booleans())
def test_when_all_dead_letters_are_replayed_the_documents_are_equal(data: st.DataObject, in_order: bool) -> None:
    job = Job(Source(), asks=False)
    lives(data.draw, job, PLAIN, MOST_HOLES, losing=False)
    for _ in range(MOST_HOLES + 1):
        letters, job.letters = job.letters, []
        for letter in (
            sorted(letters, key=lambda each: each.change.position) if in_order else data.draw(st.permutations(letters))
        ):
            job.take(letter.change, replayed=True)
    assert job.differences() == set() == {letter.document for letter in job.letters}
