"""How far a job is, reckoned: of partitions together, over time, and what an index's answer may claim of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.shards.progress import (
    SLACK_MS,
    STALE_S,
    Progress,
    Reached,
    Reckoning,
    Standing,
    later,
    progress_from_text,
    progress_to_text,
    standing,
)

PLACES = st.integers(0, 6).map(lambda number: f"{number:016x}" if number else "")
STANDS = st.builds(Reached, st.integers(-1, 9), PLACES, st.none() | st.integers(0, 9))


def test_what_is_kept_is_read_again() -> None:
    progress = Progress(7, 8, {"a/0": Reached(1, "00", None), "ü/1": Reached(2, "", 3)}, ("b/0",))
    assert progress_from_text(progress_to_text(progress)) == progress
    assert progress_from_text('{"epoch": "of another release"}') is None


@given(STANDS, STANDS, STANDS)
def test_accounts_of_a_partition_join_in_any_order(one: Reached, two: Reached, three: Reached) -> None:
    assert later(one, two) == later(two, one)
    assert later(later(one, two), three) == later(one, later(two, three))
    assert later(one, one) == later(None, one) == one
    assert later(one, two).offset >= one.offset
    assert later(one, two).place >= one.place


def test_the_least_is_claimed_and_nothing_where_a_partition_is_unknown() -> None:
    reached = {"a/0": Reached(5, "0b", 1_000), "a/1": Reached(2, "0a", 2_000)}
    assert standing(Progress(1, 9_000, reached), 10_000) == Standing("0a", 1_000, 9_000, None)
    assert standing(Progress(1, 9_000, reached, ("a/2",)), 10_000) == Standing("", None, None, None)
    assert standing(Progress(1, 9_000, {**reached, "a/2": Reached(0)}), 10_000) == Standing("", None, None, None)
    assert standing(Progress(1, 9_000), 10_000) == Standing("", None, None, None)
    assert standing(None, 10_000) == Standing(stale_ms=0)
    late = 9_000 + int(STALE_S * 1000)
    assert standing(Progress(1, 9_000, reached), late).stale_ms is None
    assert standing(Progress(1, 9_000, reached), late + 1).stale_ms == 9_000


def test_a_partition_in_which_nothing_comes_goes_along_with_its_topics_others() -> None:
    known = Reckoning({})
    known.hear({"a/0": Reached(3, "0b", 100), "a/1": Reached(9, "01", 1)}, 0)
    known.hear({"b/0": Reached(0, "0f", 500)}, 0)
    at_end = {"a/0": 10, "a/1": 10, "a/2": 0, "b/0": 1, "b/1": 0}
    known.look(at_end, SLACK_MS - 1)
    assert known.reached["a/1"] == Reached(9, "01", 1), "what was sent before may still be on its way"
    assert "a/2" not in known.reached
    known.look(at_end, SLACK_MS)
    assert known.reached["a/0"] == Reached(3, "0b", 100)
    assert known.reached["a/1"] == Reached(9, "0b", 100)
    assert known.reached["a/2"] == Reached(-1, "0b", 100)
    assert known.reached["b/1"] == Reached(-1, "0f", 500)
    known.hear({"a/0": Reached(9, "0e", 200)}, SLACK_MS + 5_000)
    known.look({**at_end, "a/1": 11}, 3 * SLACK_MS)
    assert known.reached["a/1"].place == "0b", "it holds an event that isn't applied"
    assert known.reached["a/2"].place == "0e"


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40_000), st.booleans()), max_size=60))
def test_no_partition_is_said_to_be_further_than_it_is(history: list[tuple[int, int, bool]]) -> None:
    """One connector sends to three partitions; what it sent is in its topic within the slack, and applied when said."""
    known, now, log = Reckoning({}), 0, 0
    sent: dict[int, list[tuple[int, int]]] = {0: [], 1: [], 2: []}
    applied = dict.fromkeys(sent, 0)
    for partition, step, applies in history:
        now, log = now + step, log + 1
        sent[partition].append((log, now))
        if applies:
            applied[partition] = len(sent[partition])
            known.hear({f"a/{partition}": Reached(applied[partition] - 1, f"{log:016x}", now)}, now)
        # the latest events may not be seen yet by who asks where partitions end
        ends = {f"a/{each}": sum(at <= now - SLACK_MS + 1 for _, at in events) for each, events in sent.items()}
        known.look(ends, now)
        for each, events in sent.items():
            reached = known.reached.get(f"a/{each}")
            missing = [at for at, _ in events[applied[each] :]]
            assert reached is None or not missing or not reached.place or int(reached.place, 16) <= missing[0]
