"""A run that begins at the beginning and makes nothing but dead letters."""

from __future__ import annotations

from core.change import Skip
from core.letters import Letter
from core.metrics.figures import Figure
from core.metrics.figures import counts as counted
from operations.first_changes import ENOUGH, FirstChanges, _most


def looking(begins: bool = True) -> FirstChanges:
    return FirstChanges(begins, lambda: "because")


def counts(changes: int, planned: int = 0, decoded: int = 0, applied: int = 0) -> dict[str, int]:
    letters = {"plan_dead_letters": planned, "decode_dead_letters": decoded}
    return {"changes": changes, **letters, "applied_pgvector": applied}


def test_a_run_whose_first_changes_become_dead_letters_stops_and_says_why() -> None:
    refusal = looking().refusal(counts(2010, 2007))
    assert refusal.startswith("stopped: 2,007 of its first 2,010 changes became dead letters, because\n")
    assert refusal.endswith("begin anew: freshet run pipeline.yaml --rebuild")
    assert looking().refusal(counts(0, decoded=ENOUGH))


def test_it_goes_on_where_half_are_right_where_it_resumes_and_once_its_first_thousand_were_right() -> None:
    assert looking().refusal(counts(2000, 1000)) == ""
    assert looking().refusal(counts(ENOUGH - 1, ENOUGH - 1)) == ""
    assert looking(begins=False).refusal(counts(2010, 2007)) == ""
    later = looking()
    assert [later.refusal(each) for each in (counts(ENOUGH, applied=ENOUGH // 2), counts(9000, 8000))] == ["", ""]


def test_it_does_not_go_on_by_what_was_read_before_the_ends_of_that_are_known() -> None:
    busy = looking()
    refusals = [busy.refusal(each) for each in (counts(1201), counts(1201, 600), counts(1201, 601))]
    assert refusals[:2] == ["", ""] and refusals[2].startswith("stopped: 601 of its first 1,201 changes became")


def test_of_few_changes_it_warns_once_when_no_more_come() -> None:
    few = looking()
    warnings = [few.warning(each) for each in (counts(2, 2), counts(3, 3), counts(3, 3), counts(3, 3))]
    assert warnings == ["", "", "3 of the first 3 changes became dead letters, because", ""]
    right = looking()
    assert [right.warning(counts(3, 1)) for _ in range(2)] == ["", ""]


def skipped(events: int) -> dict[str, int]:
    return counted([Figure("skipped", events, {"reason": Skip.OTHER_TABLE})])


def test_events_of_other_tables_alone_are_warned_of_once_no_more_come_or_there_are_enough() -> None:
    of_others = looking()
    warnings = [of_others.warning(skipped(7)) for _ in range(3)]
    assert warnings[0] == warnings[2] == "" and warnings[1].startswith("all 7 events so far are of tables")
    of_many = looking()
    warnings = [of_many.warning(skipped(events)) for events in (ENOUGH - 1, ENOUGH, ENOUGH + 1)]
    assert warnings[0] == warnings[2] == "" and warnings[1].startswith("all 1,000 events so far are of tables")
    assert [looking().warning({**skipped(ENOUGH), "changes": 1})] == [""]


def test_no_more_letters_than_changes_are_counted_where_counters_run_ahead_of_each_other() -> None:
    assert looking().refusal(counts(1352, 1965)).startswith("stopped: 1,965 of its first 1,965 changes became")


def test_the_most_frequent_reason_is_given_with_one_example() -> None:
    reasons = ["row 1 lacks 'titel'", "row 2 lacks 'titel'", "no JSON"]
    found = [Letter(f"0:{at}", 0, None, None, (), {"reason": reason}) for at, reason in enumerate(reasons)]
    assert _most(found) == "most often as here (in 2 letters): row 1 lacks 'titel'"
    assert _most([]) == "whose reasons aren't in their topic yet"
