"""How long chaos waits: by what moves and by the speed seen, so that late is not taken for wrong."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from chaos.compare import Found
from chaos.patience import STILL_S, Patience, awake, patience
from chaos.rounds import Round, Verdict
from core.stores.verification import Difference, Kind


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_nothing_moves_is_over_and_not_late() -> None:
    clock = Clock()
    waiting = Patience(10.0, 50.0, clock)
    for second in range(10):
        clock.now = float(second)
        waiting.see("events", 458)
        assert not waiting.is_over()
    clock.now = 10.0
    assert (waiting.is_over(), waiting.is_late()) == (True, False)


def test_what_moves_is_waited_for_and_in_the_end_late() -> None:
    clock = Clock()
    waiting = Patience(10.0, 50.0, clock)
    for second in range(0, 50, 5):
        clock.now = float(second)
        waiting.see("events", 458 - second)
        assert not waiting.is_over()
    clock.now = 50.0
    assert (waiting.is_over(), waiting.is_late()) == (True, True)


def test_what_moved_and_stopped_is_not_late() -> None:
    clock = Clock()
    waiting = Patience(10.0, 50.0, clock)
    waiting.see("events", 458)
    clock.now = 5.0
    waiting.see("events", 1)
    clock.now = 15.0
    assert (waiting.is_over(), waiting.is_late()) == (True, False)


def test_to_and_fro_is_no_way_on() -> None:
    clock = Clock()
    waiting = Patience(10.0, 50.0, clock)
    for second in range(10):
        clock.now = float(second)
        waiting.see("differences", 5 + second % 2)
    clock.now = 10.0
    assert waiting.is_over()
    waiting.at_least(3.0)
    assert not waiting.is_over()


@given(st.lists(st.floats(0, 1e5), max_size=5))
def test_patience_goes_by_the_slowest_so_far(settled_s: list[float]) -> None:
    made = patience(settled_s)
    assert made.still_s >= max(STILL_S, 4 * max(settled_s, default=0.0))
    assert made.most_s == 5 * made.still_s


def test_a_time_out_is_no_difference() -> None:
    stale = (("pgvector", Difference("t/1", Kind.STALE, "old")),)
    ends = {
        Verdict.EQUAL: Found(1.0, 3),
        Verdict.LATE: Found(600.0, 3, stale, "the job has not committed 458 events", late=True),
        Verdict.DIFFERS: Found(120.0, 3, stale),
    }
    for verdict, found in ends.items():
        assert Round(1, 1.0, 9, (), found, (), ()).verdict is verdict
    assert Round(1, 1.0, 9, (), Found(120.0, 3, (), "markers"), (), ()).verdict is Verdict.DIFFERS


def test_what_a_machine_that_stands_still_lets_pass_is_no_time_of_the_jobs() -> None:
    clock = Clock()
    waiting = Patience(10.0, 50.0, awake(clock, 2.0))
    for second in (0.5, 1.0, 600.0, 600.5, 1200.0):
        clock.now = second
        assert not waiting.is_over(), second
    for _ in range(3):
        clock.now += 2.0
        over = waiting.is_over()
    assert over and not waiting.is_late()
