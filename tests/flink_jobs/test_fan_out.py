"""Several stores behind one job, where one of them is away. Their clock is the test's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from core.change import Position
from core.errors import Unavailable
from core.plans import Chunk, Outcome, Plan, Status
from core.stores.contract import Hit, Stored, Vectors
from core.stores.filters.language import EVERYTHING, Filter
from flink_jobs.steps.fan_out import HOLD_S, PAUSE_S, FanOut

PLANS = [Plan("t/1", Position("1"), ("a",), (Chunk("a", 0, "text"),))]
VECTORS = [np.ones((1, 2), np.float32)]


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Memory:
    """A store that answers, or takes ten seconds to say that it is away."""

    clock: Clock
    away: bool = False
    back_at: float = float("inf")
    has: set[str] = field(default_factory=set)
    asked: int = 0

    def _answer(self) -> None:
        self.asked += 1
        if self.away and self.clock.now < self.back_at:
            self.clock.now += 10
            raise Unavailable("away")

    def prepare(self) -> None:
        pass

    def look(self) -> bool:
        return True

    def held(self, plans: Sequence[Plan]) -> frozenset[str]:
        self._answer()
        return frozenset(self.has)

    def apply(self, plans: Sequence[Plan], vectors: Sequence[Vectors]) -> list[Outcome]:
        self._answer()
        self.has |= {chunk for plan in plans for chunk in plan.chunk_ids}
        return [Outcome(plan.document_id, Status.APPLIED) for plan in plans]

    def clear(self, table: str, before: Position) -> int:
        raise NotImplementedError

    def read(self, document_ids: Sequence[str]) -> dict[str, Stored]:
        raise NotImplementedError

    def document_ids(self) -> Iterator[str]:
        raise NotImplementedError

    def search(self, vector: NDArray[np.float32], k: int, where: Filter = EVERYTHING) -> list[Hit]:
        raise NotImplementedError

    def close(self) -> None:
        pass


def stores(**away: float | None) -> tuple[FanOut, Clock, dict[str, Memory]]:
    """Stores by name; with a number, away until then."""
    clock = Clock()
    made = {name: Memory(clock, until is not None, until or 0.0) for name, until in away.items()}
    return FanOut(made, clock), clock, made


def test_each_store_answers_for_itself() -> None:
    fan_out, _, made = stores(one=None, two=None)
    made["one"].has.add("a")
    assert fan_out.held(PLANS) == frozenset()
    assert [set(each) for each in fan_out.apply(PLANS, VECTORS)] == [{"one", "two"}]
    assert fan_out.held(PLANS) == {"a"}
    fan_out.close()


def test_a_store_that_comes_back_in_time_loses_nothing() -> None:
    fan_out, clock, made = stores(one=None, two=60)
    [outcomes] = fan_out.apply(PLANS, VECTORS)
    assert {outcome.status for outcome in outcomes.values()} == {Status.APPLIED}
    assert 60 <= clock.now < HOLD_S and made["one"].asked == 1


def test_a_store_that_stays_away_holds_the_others_only_so_long() -> None:
    fan_out, clock, made = stores(one=None, two=10_000)
    [outcomes] = fan_out.apply(PLANS, VECTORS)
    assert outcomes["one"].status is Status.APPLIED
    assert (outcomes["two"].status, outcomes["two"].error) == (Status.REJECTED, "Unavailable")
    assert "two has not answered for 120 s" in outcomes["two"].reason
    assert HOLD_S <= clock.now < HOLD_S + PAUSE_S
    given_up, asked = clock.now, made["two"].asked
    fan_out.apply(PLANS, VECTORS)
    assert (clock.now, made["two"].asked) == (given_up, asked), "it is left alone for a while"
    clock.now += PAUSE_S
    fan_out.apply(PLANS, VECTORS)
    assert made["two"].asked == asked + 1
    clock.now = 10_000
    assert fan_out.apply(PLANS, VECTORS)[0]["two"].status is Status.APPLIED


def test_one_store_alone_is_the_jobs_own() -> None:
    fan_out, _, _ = stores(one=10_000)
    with pytest.raises(Unavailable, match="away"):
        fan_out.apply(PLANS, VECTORS)


def test_none_that_answers_fails_the_job() -> None:
    fan_out, _, _ = stores(one=10_000, two=10_000)
    with pytest.raises(Unavailable, match="none of the stores answers: one, two"):
        fan_out.apply(PLANS, VECTORS)
