"""A model of the job: the real pure functions of `core` between a random history and a store that does as it must.

Partitions are read, unsettled changes arrive, halves are answered early, ways are forgotten, and rows that left a key,
what the store has cleared is too, checkpoints are made and gone back to, all at random, and within what the job itself
holds to: the order within a partition, and of one document's unsettled changes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any

from msgspec import structs

from core.change import BEGINNING, Change, Position, Truncate
from core.documents.departures import awaited, noted
from core.documents.forgetting import is_cleared, word_of
from core.documents.memory import Kept
from core.documents.moves import Settled, Unknown, decode_kept, encode_kept, give_up, learn, settle, tell_early
from core.documents.step import (
    Chunker,
    DocumentSpec,
    Refused,
    Unsettled,
    document_id,
    plan_of,
    state_from_bytes,
    state_to_bytes,
    step,
)
from core.documents.unsettled import Answer, shared
from core.plans import Plan
from tests.core.histories import TABLE, Course, Rows, Sent, Source, all_of, history, topic

SPEC = DocumentSpec(TABLE, "{body}|{note}")
WHOLE = Chunker("whole", lambda text: [(0, len(text))])
TIMES = 1
"""The first event's time: 0 would say that it has none."""
SUBTASKS = 2
"""Among which documents are shared out. Each keeps the order of its plans, and that of what goes by way of settle."""


class Encoded(MutableMapping[str, Kept]):
    """A memory as Flink keeps it."""

    def __init__(self, raw: dict[str, bytes]) -> None:
        self.raw = raw

    def __getitem__(self, name: str) -> Kept:
        return decode_kept(self.raw[name])

    def __setitem__(self, name: str, kept: Kept) -> None:
        self.raw[name] = encode_kept(kept)

    def __delitem__(self, name: str) -> None:
        del self.raw[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.raw)

    def __len__(self) -> int:
        return len(self.raw)


@dataclass
class Store:
    """A store by its contract: what is older than it has, or than a table's mark, changes nothing."""

    documents: dict[str, tuple[str, str]] = field(default_factory=dict)
    mark: Position = BEGINNING

    def apply(self, plan: Plan) -> None:
        if plan.position >= max(self.mark, self.documents.get(plan.document_id, ("", ""))[0]):
            text = "".join(chunk.text for chunk in plan.write)
            self.documents[plan.document_id] = (plan.position, text)

    def clear(self, before: Position) -> None:
        self.documents = {name: each for name, each in self.documents.items() if each[0] >= before}
        self.mark = max(self.mark, before)

    def texts(self) -> dict[str, str]:
        return {name: text for name, (_, text) in self.documents.items() if text}


@dataclass
class Checkpoint:
    """All that a job remembers."""

    offsets: list[int]
    states: dict[str, bytes] = field(default_factory=dict)
    memory: dict[str, bytes] = field(default_factory=dict)
    sweeps: tuple[Position, ...] = ()

    def copied(self) -> Checkpoint:
        return Checkpoint(list(self.offsets), dict(self.states), dict(self.memory), self.sweeps)


@dataclass
class Job:
    """The job over a topic. `letters`: documents of which there is a dead letter; `asked`: how often one was unknown;
    `forgotten`: how often the state of one was, which the store had cleared; `left`: how often rows that had left one.
    """

    chance: random.Random
    source: Source
    partitions: list[list[Sent]]
    now: Checkpoint
    saved: Checkpoint
    store: Store = field(default_factory=Store)
    queues: list[list[Unsettled | Refused]] = field(default_factory=lambda: [[] for _ in range(SUBTASKS)])
    plans: list[list[Plan]] = field(default_factory=lambda: [[] for _ in range(SUBTASKS)])
    letters: set[str] = field(default_factory=set)
    asked: int = 0
    crashes: int = 0
    read: int = 0
    forgotten: int = 0
    left: int = 0

    @property
    def memory(self) -> Encoded:
        return Encoded(self.now.memory)

    def run(self) -> None:
        """To the end of all partitions, and of all waiting."""
        while self._unread() or any(self.queues) or any(self.plans):
            self._go_on()
        for position in self.now.sweeps:
            self.store.clear(position)
        for pair in _pairs(self.now.memory, waiting=True):
            self._hear(tell_early(self.memory, pair))
        while pairs := _pairs(self.now.memory):  # what waited behind a half may wait for another one
            self._hear(give_up(self.memory, min(pairs), self.store.mark))
        for name in self._cleared():
            self._forget(name)
        while any(self.queues):
            self._settle_one()

    def _go_on(self) -> None:
        lot = self.chance.random()
        if self.source.course.crashes and lot < 0.04:
            self._crash_or_save(lot < 0.015)
        elif lot < 0.08 and self.now.sweeps:
            self.store.clear(self.now.sweeps[0])
            self.now.sweeps = self.now.sweeps[1:]
        elif lot < 0.12:
            self._wait_no_longer()
        elif lot < 0.2 and (cleared := self._cleared()):
            self._forget(self.chance.choice(cleared))
        elif lot < 0.3 and (left := self._that_rows_left()):
            self._forget_departures(self.chance.choice(left))
        elif any(self.plans) and self.chance.random() < 0.4:
            self._apply_one()
        elif any(self.queues) and (not self._unread() or self.chance.random() < 0.5):
            self._settle_one()
        elif self._unread():
            self._read_one()

    def _unread(self) -> list[int]:
        return [at for at, partition in enumerate(self.partitions) if self.now.offsets[at] < len(partition)]

    def _crash_or_save(self, crashes: bool) -> None:
        if not crashes:
            while any(self.queues):  # a barrier passes when what was sent before it has arrived
                self._settle_one()
            while any(self.plans):
                self._apply_one()
            self.saved = self.now.copied()
        elif self.crashes < 4:
            self.crashes += 1
            self.now = self.saved.copied()
            self.queues, self.plans = [[] for _ in range(SUBTASKS)], [[] for _ in range(SUBTASKS)]

    def _wait_no_longer(self) -> None:
        pairs = _pairs(self.now.memory, waiting=True)
        if pairs and self.chance.random() < 0.5:
            self._hear(tell_early(self.memory, self.chance.choice(pairs)))
            return
        passed = [pair for pair in _pairs(self.now.memory) if self._have_passed(pair)]
        if passed:
            self._hear(give_up(self.memory, min(passed), self.store.mark))  # timers are in the order of events

    def _cleared(self) -> list[str]:
        states = self.now.states.items()
        return [name for name, raw in states if is_cleared(state_from_bytes(raw), self.store.mark)]

    def _forget(self, name: str) -> None:
        self.forgotten += 1
        word = word_of(name, state_from_bytes(self.now.states.pop(name)))
        if word is not None:
            self._of(name, self.queues).append(word)

    def _that_rows_left(self) -> list[str]:
        return [name for name, raw in self.now.states.items() if state_from_bytes(raw).departures]

    def _forget_departures(self, name: str) -> None:
        """Those that every partition has passed. What a connector sends again comes later than that."""
        state, least = state_from_bytes(self.now.states[name]), len(self.source.produced)
        for at in self._unread():
            unread = (each.number for each in self.partitions[at][self.now.offsets[at] :] if not each.again)
            least = min(least, *unread, least)
        known = awaited(state.departures, least - 1 + TIMES, now_ms=TIMES, patience_ms=0)
        self.left += len(state.departures) - len(known)
        self.now.states[name] = state_to_bytes(replace(state, departures=known))

    def _of(self, name: str, of_subtasks: list[Any]) -> Any:
        return of_subtasks[int(name.rpartition("/")[2]) % SUBTASKS]

    def _have_passed(self, pair: str) -> bool:
        """Whether every partition is behind both halves of a key change."""
        if any(self.queues) or any(self.plans):
            return False
        last = max(each.number for each in all_of(self.partitions) if _pair_of(each.change) == pair)
        return all(self.partitions[at][self.now.offsets[at]].number > last for at in self._unread())

    def _settle_one(self) -> None:
        queue = self.chance.choice([queue for queue in self.queues if queue])
        self._hear(settle(self.memory, queue.pop(0)))

    def _apply_one(self) -> None:
        self.store.apply(self.chance.choice([plans for plans in self.plans if plans]).pop(0))

    def _read_one(self) -> None:
        at = self.chance.choice(self._unread())
        sent = self.partitions[at][self.now.offsets[at]]
        self.now.offsets[at] += 1
        self.read = max(self.read, sent.number)
        change = sent.change
        if isinstance(change, Truncate):
            self.store.clear(change.position)
            return
        if change.ends_snapshot:
            self.now.sweeps = (*self.now.sweeps, change.position)
        name = document_id(SPEC, change)
        raw = self.now.states.get(name)
        state, emitted = step(None if raw is None else state_from_bytes(raw), change, SPEC, "m", WHOLE)
        if state is not None:
            departures = noted(state.departures, sent.number + TIMES)
            self.now.states[name] = state_to_bytes(replace(state, departures=departures))
        for each in emitted:
            self._of(name, self.plans if isinstance(each, Plan) else self.queues).append(each)

    def _hear(self, answers: list[Answer]) -> None:
        for answer in answers:
            settled = self._asked(answer.what) if isinstance(answer, Unknown) else answer
            if settled is not None:
                self.store.apply(plan_of(settled.what, SPEC, "m", WHOLE, settled.moved_from))

    def _asked(self, what: Unsettled) -> Settled | None:
        """With the values that the source has, which is ahead of what is read; None where there are none."""
        if what.change.position < self.store.mark:
            return None  # the store refuses it in any case
        self.asked += 1
        if not self.source.course.reselects:
            self.letters.add(what.document_id)
            return None
        rows = self.source.history[self.chance.randrange(self.read, len(self.source.history))]
        row = rows.get(what.change.key["id"])
        if row is None:
            return None
        missing = what.change.unavailable
        found = {**what.change.row, **{name: row[name] for name in missing}}
        whole = structs.replace(what, change=replace(what.change, row=found, unavailable=frozenset()))
        learn(self.memory, whole, missing)
        return Settled(whole)


def _pair_of(change: Change | Truncate) -> str:
    return shared(change) if isinstance(change, Change) and change.moves else ""


def _pairs(memory: dict[str, bytes], waiting: bool = False) -> list[str]:
    """What halves wait for, and of which key changes ways are known."""
    kinds = ("half ",) if waiting else ("half ", "ways ")
    return [name.partition(" ")[2] for name in memory if name.startswith(kinds)]


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    wrong         documents that differ from their rows without a word: what is stored, and what is true
    with_letters  how many differ of which there is a dead letter
    left          names of what waits still
    learned       documents without a row whose values are kept
    ghosts        documents without a row whose texts are in a state
    """

    wrong: dict[str, tuple[str | None, str | None]]
    with_letters: int
    asked: int
    left: list[str]
    learned: list[str]
    ghosts: list[str]


def run(seed: int, course: Course) -> tuple[Job, Outcome]:
    """A history, and what became of it."""
    chance = random.Random(seed)
    source = history(chance, course)
    partitions = topic(source)
    beginning = Checkpoint([0] * len(partitions))
    job = Job(chance, source, partitions, beginning, beginning.copied())
    job.run()
    return job, _outcome(job)


def _outcome(job: Job) -> Outcome:
    stored, true = job.store.texts(), _texts(job.source.rows)
    differ = {name for name in stored.keys() | true.keys() if stored.get(name) != true.get(name)}
    states = ((name, state_from_bytes(raw)) for name, raw in job.now.states.items())
    learned = [name.partition(" ")[2] for name in job.now.memory if name.startswith(("values", "elder"))]
    return Outcome(
        {name: (stored.get(name), true.get(name)) for name in differ - job.letters},
        len(differ & job.letters),
        job.asked,
        [name for name in job.now.memory if name.startswith(("half", "behind", "ways"))],
        [name for name in learned if name not in true],
        [name for name, state in states if state.row and name not in true],
    )


def _texts(rows: Rows) -> dict[str, str]:
    return {f"{TABLE}/{key}": f"{row['body']}|{row['note']}" for key, row in rows.items()}
