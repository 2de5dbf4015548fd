"""What is sent to the job of feedback when it is measured, and when a final row could have come at the earliest."""

from __future__ import annotations

from bench.feedback import WATERMARK_MS, WINDOW_S, messages, passed_at
from core.formats import conversations


def test_so_many_turns_are_made_up_each_with_a_question_of_its_own() -> None:
    begin_ns, apart_ns = 1_800_000_000_000_000_000, 50_000_000
    made = list(messages(200, begin_ns, apart_ns))
    said = [conversations.event(each.value) for each in made]
    questions = [each.question for each in said if isinstance(each, conversations.Turn)]
    assert len(questions) == len(set(questions)) == 200
    assert 80 < len(said) - len(questions) < 160
    assert [each.at_ms for each in made] == [(begin_ns + apart_ns * at) // 1_000_000 for at in range(1, len(made) + 1)]
    assert [each.at_ms for each in made] == [conversations.at_ms(each) for each in said]


def test_a_window_is_final_once_each_partition_is_past_its_end_and_the_watermark() -> None:
    due = int(WINDOW_S * 1000) + WATERMARK_MS
    sent = [(1.0, (due + 1, 0)), (2.0, (due + 1, due)), (3.0, (due + 1, due + 1)), (4.0, (due + 9, due + 9))]
    assert passed_at(sent, 0.0) == 3.0
