"""Who reads which shard, and what is made of what comes."""

from __future__ import annotations

from collections import Counter

import pytest

from core.shards.log import Lost, Record, Shard
from core.shards.reading import Reading, heard, readable, readings_from_bytes, readings_to_bytes, take
from core.shards.slots import (
    Assignment,
    assign,
    assignments_from_bytes,
    assignments_to_bytes,
    of_slot,
    parents_first,
    slot_keys,
    slots_in,
    subtask,
)
from flink_jobs import payloads

SLOTS = ["a", "b"]
FOUR = [Shard(str(number)) for number in range(4)]


def records(*numbers: int, arrived_ms: int = 0) -> list[Record]:
    return [Record(str(number), b"k", b"v", arrived_ms) for number in numbers]


def slots_of(assignment: Assignment) -> dict[str, tuple[str, ...]]:
    return {name: each.slots for name, each in assignment.shards.items()}


def test_neighbours_are_dealt_to_one_slot_as_they_are_what_merges() -> None:
    dealt = assign(Assignment(), FOUR, SLOTS, "TRIM_HORIZON", 1).assignment
    assert slots_of(dealt) == {"0": ("a",), "1": ("a",), "2": ("b",), "3": ("b",)}


def test_children_stay_with_their_parents_and_a_new_lineage_goes_where_least_is() -> None:
    first = assign(Assignment(), [Shard("0"), Shard("1"), Shard("2")], SLOTS, "TRIM_HORIZON", 1).assignment
    assert slots_of(first) == {"0": ("a",), "1": ("a",), "2": ("b",)}
    listed = [Shard("0", (), True), Shard("1"), Shard("2"), Shard("0l", ("0",)), Shard("0r", ("0",)), Shard("new")]
    second = assign(first, listed, SLOTS, "TRIM_HORIZON", 1)
    assert slots_of(second.assignment)["0l"] == slots_of(second.assignment)["0r"] == ("a",)
    assert slots_of(second.assignment)["new"] == ("b",)
    assert second.unseen == ()


def test_a_merge_across_slots_is_read_with_all_its_ancestors_by_the_first_parents_slot() -> None:
    first = assign(Assignment(), [Shard("0"), Shard("1")], SLOTS, "LATEST", 7).assignment
    split = [Shard("0"), Shard("1", (), True), Shard("1l", ("1",)), Shard("1r", ("1",))]
    second = assign(first, split, SLOTS, "LATEST", 9).assignment
    merged = [*split[1:2], Shard("0", (), True), Shard("1l", ("1",), True), split[3], Shard("m", ("0", "1l"))]
    third = assign(second, merged, SLOTS, "LATEST", 9).assignment
    assert slots_of(third) == {"0": ("a",), "1": ("b", "a"), "1l": ("b", "a"), "1r": ("b",), "m": ("a",)}
    assert third.shards["1"].since_ms == 7 and third.shards["m"].since_ms == 0


def test_where_reading_begins_counts_for_the_first_listing_only() -> None:
    old = [Shard("0", (), True), Shard("1", ("0",))]
    assert [each.since_ms for each in assign(Assignment(), old, SLOTS, 5, 9).assignment.shards.values()] == [5, 5]
    assert [each.since_ms for each in assign(Assignment(), old, SLOTS, 50, 9).assignment.shards.values()] == [9, 9]
    latest = assign(Assignment(), old, SLOTS, "LATEST", 9).assignment
    assert [each.skipped for each in latest.shards.values()] == [True, False]
    later = assign(latest, [*old, Shard("2"), Shard("3", (), True)], SLOTS, "LATEST", 10).assignment
    assert [(later.shards[name].since_ms, later.shards[name].skipped) for name in "23"] == [(0, False), (0, False)]


def test_a_stream_that_was_empty_at_first_is_read_whole() -> None:
    begun = assign(Assignment(), [], SLOTS, "LATEST", 9).assignment
    assert assign(begun, FOUR, SLOTS, "LATEST", 10).assignment.shards["0"].since_ms == 0


def test_a_parent_is_remembered_while_a_child_is_listed_and_shards_that_nobody_saw_are_named() -> None:
    first = assign(Assignment(), FOUR, SLOTS, "TRIM_HORIZON", 1).assignment
    orphan = [*FOUR[:3], Shard("child", ("3",))]
    second = assign(first, orphan, SLOTS, "TRIM_HORIZON", 1)
    assert second.assignment.shards["child"].slots == ("b",) and second.unseen == ()
    assert not second.assignment.shards["3"].listed
    third = assign(second.assignment, FOUR[:3], SLOTS, "TRIM_HORIZON", 1)
    assert "3" not in third.assignment.shards
    fourth = assign(third.assignment, [*FOUR[:3], Shard("x", ("0", "never seen"))], SLOTS, "TRIM_HORIZON", 1)
    assert fourth.unseen == ("never seen",)
    assert assign(Assignment(), [Shard("x", ("long gone",))], SLOTS, "LATEST", 1).unseen == ()


def test_shards_of_an_earlier_parallelism_keep_their_slot() -> None:
    first = assign(Assignment(), FOUR, ["a", "b", "c", "d"], "TRIM_HORIZON", 1).assignment
    second = assign(first, [*FOUR, Shard("n"), Shard("c", ("3",))], ["a"], "TRIM_HORIZON", 1).assignment
    assert second.shards["n"].slots == ("a",) and second.shards["c"].slots == ("d",)
    assert slots_in([second]) == {"a", "b", "c", "d"}


def test_a_circle_of_shards_is_refused() -> None:
    with pytest.raises(ValueError, match="own ancestors: x, y"):
        parents_first([Shard("x", ("y",)), Shard("y", ("x",))])


def test_a_child_waits_for_both_its_parents_and_not_for_one_that_is_gone() -> None:
    readings = {"0": Reading(), "1": Reading(finished=True), "m": Reading(("0", "1")), "o": Reading(("gone",))}
    assert readable(readings) == ["0", "o"]
    assert readable({**readings, "0": Reading(finished=True)}) == ["m", "o"]


def test_what_is_unfinished_is_never_forgotten() -> None:
    first = assign(Assignment(), [Shard("0", (), True), Shard("1", (), True)], ["a"], "TRIM_HORIZON", 1).assignment
    before = heard({}, {"s": of_slot(first, "a")})
    before["s"]["1"] = Reading(finished=True)
    after = heard(before, {"s": []})
    assert after == {"s": {"0": Reading(whole_ms=1, listed=False)}}
    assert heard(before, {"s": of_slot(first, "a")}) == before


def test_a_finished_shard_is_remembered_while_a_child_is_listed_and_one_that_is_gone_is_not_begun() -> None:
    first = assign(Assignment(), [Shard("0")], ["a"], "TRIM_HORIZON", 1).assignment
    second = assign(first, [Shard("1", ("0",))], ["a"], "TRIM_HORIZON", 1).assignment
    assigned = {"s": of_slot(second, "a")}
    assert heard({}, assigned) == {"s": {"1": Reading(("0",), whole_ms=1)}}
    read = heard({"s": {"0": Reading(after="5", finished=True)}}, assigned)
    assert read["s"]["0"] == Reading(after="5", finished=True, listed=False)


def test_the_last_record_read_proves_that_nothing_is_lost_and_comes_once() -> None:
    assert take("5", 0, records(5, 6, 7), searching=True).records == records(6, 7)
    assert take("5", 0, records(4, 5), searching=True).records == []
    assert take("5", 0, records(6), searching=False).records == records(6)
    assert take("", 0, records(6), searching=True).records == records(6)
    # as a number, not as text
    assert take("9", 0, records(10, 11), searching=True).oldest == "10"
    assert take("5", 0, records(3, 4), searching=True).searching
    assert take("5", 0, records(3, 8), searching=True).oldest == "8"
    assert take("5", 0, records(3, 8), searching=True).records == records(8)


def test_records_of_before_the_beginning_are_passed_over_until_the_first_of_after() -> None:
    mixed = [*records(1, 2, arrived_ms=5), *records(3, arrived_ms=10), *records(4, arrived_ms=9)]
    assert [record.number for record in take("", 10, mixed, searching=True).records] == ["3", "4"]


def test_state_survives_its_bytes_and_another_version_is_refused() -> None:
    assignments = {"s": assign(Assignment(), FOUR, SLOTS, "LATEST", 9).assignment}
    assert assignments_from_bytes(assignments_to_bytes(assignments)) == assignments
    readings = {"s": {"0": Reading(("p", "q"), 3, "5", 4, True, False)}}
    assert readings_from_bytes(readings_to_bytes(readings)) == readings
    assigned = {"s": of_slot(assignments["s"], "a")}
    assert payloads.ASSIGNED.decode(payloads.ASSIGNED.encode(assigned)) == assigned
    for decode in (assignments_from_bytes, readings_from_bytes):
        with pytest.raises(ValueError, match=r"version 07.*reads 01"):
            decode(b"\x07")


@pytest.mark.parametrize("parallelism", [1, 2, 3, 7, 16, 128])
def test_every_subtask_has_a_slot(parallelism: int) -> None:
    keys = slot_keys(parallelism, 128)
    assert [subtask(key, parallelism, 128) for key in keys] == list(range(parallelism))
    assert Counter(keys).most_common(1)[0][1] == 1


def test_a_loss_says_what_and_what_to_do() -> None:
    said = Lost("orders", "shard-1", "5", "8").reason
    assert "orders: records of shard-1" in said and "after sequence number 5" in said and "before 8" in said
    assert "from its beginning, up to now" in Lost("orders", "shard-1", "", "").reason
