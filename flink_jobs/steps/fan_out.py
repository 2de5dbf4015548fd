"""One job, several stores: each plan goes to all of them, and none holds the others' data back for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

from core.errors import Unavailable
from core.metrics import tally
from core.plans import Chunk, Outcome, Plan, Status
from core.stores.contract import Stored, Vectors, VectorStore
from flink_jobs.engine.metrics import timed

HOLD_S = 120.0
"""How long the others wait for a store that is away; then its plans become dead letters, until it is back."""

PAUSE_S = 30.0
"""How long a store that was given up is left alone before it is tried again."""

Result = TypeVar("Result")

MadeNow = Callable[[str, Sequence[Chunk]], frozenset[str]]
"""The ids of those of a document's chunks that a run would make the same: `core.plans.made_by`."""


@dataclass(slots=True)
class _Target:
    """A store, and since when it is away (seconds of the clock; None while it answers)."""

    name: str
    store: VectorStore
    away_since: float | None = None
    tried: float = 0.0


class FanOut:
    """The stores of a job, by name. With one store alone, its being away is the job's: `Unavailable` passes through."""

    def __init__(self, stores: Mapping[str, VectorStore], clock: Callable[[], float] = time.monotonic) -> None:
        self._targets = [_Target(name, store) for name, store in stores.items()]
        self._clock = clock
        self._threads = ThreadPoolExecutor(len(self._targets)) if len(self._targets) > 1 else None

    def held(self, plans: Sequence[Plan]) -> frozenset[str]:
        """The ids of chunks in `write` that no store needs a vector for. A store that is away isn't heard."""
        with timed("store_us"):
            answers = [held for held in self._each(lambda target: target.store.held(plans)) if held is not None]
        return frozenset.intersection(*answers) if answers else frozenset()

    def standing(self, document_ids: Sequence[str]) -> dict[str, dict[str, Stored]]:
        """Those of the documents that have chunks, by store and id. A store that is away isn't heard."""
        with timed("store_us"):
            answers = self._each(lambda target: target.store.read(document_ids))
        pairs = zip(self._targets, answers, strict=True)
        return {target.name: answer for target, answer in pairs if answer is not None}

    def vectors(self, document_id: str, made: MadeNow) -> dict[str, Vectors]:
        """Text to vector, shape (dimension,), of each chunk `made` now that any store has of the document."""
        found: dict[str, Vectors] = {}
        for read in self._each(lambda target: target.store.read([document_id])):
            for stored in (read or {}).values():
                now = made(document_id, stored.chunks)
                pairs = zip(stored.chunks, stored.vectors, strict=True)
                found.update((chunk.text, vector) for chunk, vector in pairs if chunk.chunk_id in now)
        return found

    def apply(self, plans: Sequence[Plan], vectors: Sequence[Vectors]) -> list[dict[str, Outcome]]:
        """Each plan's outcome in each store, by the store's name.

        Where a store is away and others aren't, all wait for it up to HOLD_S. Then its plans are rejected, with
        the reason, and can be replayed when it is back. Raises Unavailable where none answers.
        """
        with timed("store_us"):
            answers = self._each(lambda target: target.store.apply(plans, vectors))
        while any(answer is None for answer in answers):
            waiting = [
                at for at, answer in enumerate(answers) if answer is None and not self._given_up(self._targets[at])
            ]
            if not waiting:
                break
            for at in waiting:
                tally.count("retries", of=self._targets[at].name)
                answers[at] = self._ask(self._targets[at], lambda target: target.store.apply(plans, vectors))
        whole = [
            self._refused(target, plans) if answer is None else answer
            for target, answer in zip(self._targets, answers, strict=True)
        ]
        names = [target.name for target in self._targets]
        return [dict(zip(names, outcomes, strict=True)) for outcomes in zip(*whole, strict=True)]

    def close(self) -> None:
        """Give connections back."""
        for target in self._targets:
            target.store.close()
        if self._threads is not None:
            self._threads.shutdown()

    def _each(self, ask: Callable[[_Target], Result]) -> list[Result | None]:
        if self._threads is None:
            return [ask(self._targets[0])]
        answers = list(self._threads.map(lambda target: self._ask(target, ask), self._targets))
        if all(answer is None for answer in answers):
            raise Unavailable(f"none of the stores answers: {', '.join(target.name for target in self._targets)}")
        return answers

    def _ask(self, target: _Target, ask: Callable[[_Target], Result]) -> Result | None:
        """None where the store is away."""
        now = self._clock()
        if self._given_up(target) and now < target.tried + PAUSE_S:
            return None
        target.tried = now
        try:
            answer = ask(target)
        except Unavailable:
            if target.away_since is None:
                target.away_since = now
            return None
        target.away_since = None
        return answer

    def _given_up(self, target: _Target) -> bool:
        return target.away_since is not None and self._clock() >= target.away_since + HOLD_S

    def _refused(self, target: _Target, plans: Sequence[Plan]) -> list[Outcome]:
        reason = f"{target.name} has not answered for {HOLD_S:.0f} s: replay this dead letter when it is back"
        return [Outcome(plan.document_id, Status.REJECTED, Unavailable.__name__, reason) for plan in plans]


def reason_of(name: str, outcome: Outcome, alone: bool) -> Outcome:
    """The outcome, its reason naming the store where there are several."""
    return outcome if alone or not outcome.reason else replace(outcome, reason=f"{name}: {outcome.reason}")
