"""Rows that a backfill reads while others change them: whatever the order in which all of it comes, the source wins."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from core.change import BEGINNING, Change, Event, Position
from core.decoding import decoder
from core.documents.moves import Kept, Settled, Unknown, give_up, settle
from core.documents.state import DocumentState
from core.documents.step import document_id, plan_of, step
from core.documents.unsettled import Unsettled
from core.formats.debezium.event import Pattern, Telling
from core.formats.debezium.source import BACKFILLS
from core.letters import BACKFILL, REPLAY
from core.plans import Plan
from tests.core.test_halves import CONTEXT, MARKER, NEW_KEY, OLD_KEY, POSTGRES, WHOLE, event, pipeline
from tests.core.test_halves import at as source_at
from tests.core.test_two_rows_of_a_key import COMES, OLD_ONE, OLD_TWO
from tests.laws import examples

OF = pipeline(key=[], text="{title}: {body}", types={"id": "integer", "title": "text", "body": "text"})
decode = decoder(OF.events)
KEYS = (1, 2, 3)
LONG = "long " * 40
PATTERN = Pattern("t", ("id",), frozenset({"id", "title", "body"}), None, None, POSTGRES)
EARLIEST = Position(f"{0:016x}.{0:016x}")


class Source:
    """A table, its log, and a connector that sends the log to a topic of two partitions, each in its own time.

    A transaction is seen by others a while after its commit is in the log, where the connector finds it at once.
    """

    def __init__(self, choices: Random) -> None:
        self.choices = choices
        self.rows: dict[int, dict[str, Any]] = {}
        self.seen: dict[int, dict[str, Any]] = {}
        self.unseen: list[tuple[frozenset[int], dict[int, dict[str, Any]]]] = []
        self.lsn = self.commit = 100
        self.on_the_way: list[list[Event]] = [[], []]
        self.topic: list[list[Event]] = [[], []]

    def transact(self) -> None:
        """Some changes at once. Whoever waits for a row's lock sees what the one before did."""
        started, touched = self.commit, set[int]()
        after = deepcopy(self.rows)
        for _ in range(self.choices.randint(1, 3)):
            touched |= self._change(after, started)
        while any(keys & touched for keys, _ in self.unseen):
            self.show()
        self.rows = after
        self.unseen.append((frozenset(touched), deepcopy(after)))
        self.lsn += 10
        self.commit = self.lsn

    def _change(self, rows: dict[int, dict[str, Any]], commit: int) -> set[int]:
        self.lsn += 10
        key, other = self.choices.sample(KEYS, 2)
        at = source_at(commit, self.lsn)
        if key not in rows:
            rows[key] = {"id": key, "title": f"t{self.lsn}", "body": f"{LONG}{self.lsn}"}
            self._log("c", key, at, after=rows[key])
        elif self.choices.random() < 0.3:
            self._log("d", key, at, before=self._before(rows.pop(key)))
        elif other not in rows and self.choices.random() < 0.5:
            old = rows.pop(key)
            rows[other] = {**old, "id": other, "title": f"m{self.lsn}"}
            self._log("d", key, at, before=self._before(old), header=NEW_KEY)
            self._log("c", other, at, after={**rows[other], "body": MARKER}, header=OLD_KEY)
            return {key, other}
        else:
            rows[key] = {**rows[key], "title": f"u{self.lsn}"}
            self._log("u", key, at, after={**rows[key], "body": MARKER})
        return {key}

    def _before(self, row: dict[str, Any]) -> dict[str, Any]:
        return row if self.choices.random() < 0.5 else {"id": row["id"], "title": None, "body": None}

    def _log(
        self, op: str, key: int, at: dict[str, Any], before: Any = None, after: Any = None, header: str = CONTEXT
    ) -> None:
        value = json.dumps({"op": op, "before": before, "after": after, "source": at}).encode()
        headers: dict[str, bytes | None] = {header: b"{}", CONTEXT: b"x"}
        self.on_the_way[key % 2].append(Event("t", key % 2, 0, json.dumps({"id": key}).encode(), value, headers))

    def show(self) -> None:
        """The first of the transactions that others don't see yet is seen."""
        if self.unseen:
            _, self.seen = self.unseen.pop(0)

    def arrive(self) -> None:
        """An event is in the topic."""
        partition = self.choices.randrange(2)
        if self.on_the_way[partition]:
            self.topic[partition].append(self.on_the_way[partition].pop(0))


class Backfill:
    """One that tells the rows in any order, each as it is when it is read, all at the position of its beginning."""

    def __init__(self, source: Source, expired: list[int]) -> None:
        self.source = source
        self.position = self._mark(expired)
        while source.unseen:
            source.show()
        self.left = list(KEYS)

    def _mark(self, expired: list[int]) -> Position:
        """The latest position of the last few events of each partition, as far as they are kept."""
        last = [self.source.choices.randint(0, 3) for _ in range(2)]
        found = [
            event
            for topic, first, count in zip(self.source.topic, expired, last, strict=True)
            for event in topic[first:][-count or len(topic) :]
        ]
        changes = (change for event in found for change in decode(event) if isinstance(change, Change))
        return max((each.position for each in changes), default=BEGINNING) or EARLIEST

    def tell(self) -> None:
        """One row more."""
        key = self.left.pop(self.source.choices.randrange(len(self.left)))
        if key not in self.source.seen:
            return
        telling = Telling(PATTERN, self.position, BACKFILLS, 0)
        of_key, value = telling.row(self.source.seen[key])
        # a key that is written in another way may go to another partition
        partition = self.source.choices.choice((key % 2, key % 2, self.source.choices.randrange(2)))
        self.source.topic[partition].append(Event("t", partition, 0, of_key, value, {BACKFILL: b"1"}))


class Job:
    """A job without any state, on a store without any document."""

    def __init__(self, source: Source, offsets: list[int]) -> None:
        self.source, self.offsets = source, offsets
        self.spec = OF.documents["public.a"].spec("public.a")
        self.states: dict[str, DocumentState | None] = {}
        self.memory: dict[str, Kept] = {}
        self.store: dict[str, tuple[str, str]] = {}
        self.kept: Any = None

    def read(self) -> bool:
        """One event of any partition; whether there was one."""
        ready = [number for number in range(2) if self.offsets[number] < len(self.source.topic[number])]
        if not ready:
            return False
        partition = self.source.choices.choice(ready)
        event = self.source.topic[partition][self.offsets[partition]]
        self.offsets[partition] += 1
        self.take(event)
        return True

    def take(self, event: Event) -> None:
        """Follow it."""
        for change in decode(event):
            if isinstance(change, Change):
                self._take(change, REPLAY in event.headers, BACKFILL in event.headers)

    def _take(self, change: Change, replayed: bool, backfilled: bool) -> None:
        identity = document_id(self.spec, change)
        state, emitted = step(self.states.get(identity), change, self.spec, "m", WHOLE, replayed, backfilled)
        self.states[identity] = state
        for each in emitted:
            if isinstance(each, Plan):
                self._write(each)
                continue
            assert isinstance(each, Unsettled)
            for answer in settle(self.memory, each):
                self._settled(answer)

    def _settled(self, answer: Settled | Unknown) -> None:
        what = answer.what
        if isinstance(answer, Unknown):
            row = self.source.rows.get(what.change.key["id"])  # type: ignore[call-overload]
            if row is None:
                return
            values = {**what.change.row, **{name: row[name] for name in what.change.unavailable}}
            what = structs.replace(what, change=replace(what.change, row=values, unavailable=frozenset()))
        self._write(plan_of(what, self.spec, "m", WHOLE))

    def _write(self, plan: Plan) -> None:
        if plan.position >= self.store.get(plan.document_id, ("", ""))[0]:
            self.store[plan.document_id] = (plan.position, "".join(chunk.text for chunk in plan.write))

    def give_up(self) -> None:
        """What waits for the half of a key change that has expired, or was late, waits no longer."""
        while pairs := sorted(name.removeprefix("half ") for name in self.memory if name.startswith("half ")):
            for answer in give_up(self.memory, pairs[0]):
                self._settled(answer)

    def checkpoint(self) -> None:
        """Remember how far it is, but for the store."""
        self.kept = deepcopy((self.offsets, self.states, self.memory))

    def crash(self) -> None:
        """Go on from the last checkpoint."""
        if self.kept is not None:
            self.offsets, self.states, self.memory = deepcopy(self.kept)


def history(choices: Random) -> tuple[Source, Job]:
    """Transactions, then the topic's beginning expires, then all at once: changes, a job, a backfill and another."""
    source = Source(choices)
    for _ in range(choices.randint(0, 6)):
        choices.choice((source.transact, source.arrive, source.arrive, source.show))()
    expired = [choices.randint(0, len(each)) for each in source.topic]
    if choices.random() < 0.3:
        expired = [len(each) for each in source.topic]
    job = Job(source, list(expired))
    # what has expired on its way would be a hole that no backfill can see: retention takes from a topic's beginning
    fills = 2
    backfill: Backfill | None = None
    while fills or (backfill is not None and backfill.left):
        if backfill is None or (fills and choices.random() < 0.05) or not backfill.left:
            backfill, fills = Backfill(source, expired), fills - 1
        acts = [source.transact, source.arrive, source.arrive, source.show, backfill.tell]
        acts += [job.read, job.read, job.checkpoint, job.crash]
        choices.choice(acts)()
    while any(source.on_the_way):
        source.arrive()
    while job.read():
        pass
    job.give_up()
    return source, job


@settings(max_examples=examples(1_000))
@given(st.integers(0, 2**40))
def test_the_store_ends_equal_to_the_source(seed: int) -> None:
    source, job = history(Random(seed))
    documents = {identity: text for identity, (_, text) in job.store.items() if text}
    assert documents == {f"public.a/{key}": f"{row['title']}: {row['body']}" for key, row in source.rows.items()}


def test_an_elder_leaves_though_the_newcomer_was_read_meanwhile() -> None:
    """A transaction moves a row to a key that another has until its end; the mark was taken in the midst of it."""
    job = Job(Source(Random(0)), [0, 0])
    first = [event("c", {"id": row["id"]}, source_at(40, 40 + row["id"]), after=row) for row in (OLD_ONE, OLD_TWO)]
    for each in (*first, *COMES):
        job.take(each)
    read = {"id": 2, "title": "new", "body": OLD_ONE["body"]}
    telling = Telling(PATTERN, Position(f"{90:016x}.{100:016x}"), BACKFILLS, 0)
    job.take(Event("t", 0, 0, *telling.row(read), {BACKFILL: b"1"}))
    job.take(event("d", {"id": 2}, source_at(90, 110), before=OLD_TWO))
    assert {identity: text for identity, (_, text) in job.store.items() if text} == {
        "public.a/2": f"new: {OLD_ONE['body']}"
    }
