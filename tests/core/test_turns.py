"""Taking in, emitting and looking again, each in its turn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.documents.turns import Turns, again_ms, hold_s


def test_a_notification_is_held_up_a_little_more_the_more_objects_wait() -> None:
    held = [hold_s(waiting) for waiting in range(0, 20_000, 50)]
    assert held == sorted(held)
    assert hold_s(256) == 0 and 0.001 < hold_s(512) < 0.01 and hold_s(100_000) == 0.25


def test_new_looks_are_looked_at_soon_and_old_ones_seldom() -> None:
    assert [again_ms(age) for age in (0, 100, 1_000, 60_000)] == [10, 25, 250, 1_000]


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0.0, 2)), max_size=50))
def test_emitting_leaves_half_of_the_time(spells: list[tuple[float, float]]) -> None:
    turns, now, spent = Turns(), 0.0, 0.0
    for wait, takes in spells:
        begin = max(now + wait, turns.rests_until_s)
        now = begin + takes
        spent += takes
        turns.spent(begin, now)
    assert spent <= 0.5 * max(now, turns.rests_until_s) + 0.05 + 1e-6
