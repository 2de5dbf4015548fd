"""The comparison with the truth can fail: it sees each way in which a store can be wrong."""

import pytest

from tests.replay import covers, differences, true_documents, true_rows

TRUTH = {"t/1": "one two one", "t/2": "  "}
RIGHT = [("t/1", 0, "one tw"), ("t/1", 1, "wo one")]


def test_a_store_that_equals_the_truth_has_no_differences() -> None:
    assert differences(RIGHT, TRUTH) == []


@pytest.mark.parametrize(
    ("stored", "problem"),
    [
        ([], "t/1: 0 chunks"),
        (RIGHT[:1], "t/1: its 1 chunks leave gaps"),
        (RIGHT[1:], "t/1: ordinals [1]"),
        ([*RIGHT, RIGHT[1]], "t/1: ordinal 1 is stored twice"),
        ([*RIGHT, ("t/1", 2, "three")], "t/1: chunks [2] are no part"),
        ([*RIGHT, ("t/2", 0, " ")], "t/2: 1 chunks for a text of 2 characters"),
        ([*RIGHT, ("t/3", 0, "ghost")], "t/3: 1 chunks of a document that is gone"),
        ([("t/1", 1, "one tw"), ("t/1", 0, "wo one")], "t/1: its 2 chunks leave gaps, or are out of order"),
    ],
)
def test_each_way_to_be_wrong_is_reported(stored: list[tuple[str, int, str]], problem: str) -> None:
    problems = differences(stored, TRUTH)
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_covering_finds_the_one_way_to_lay_pieces_that_come_often() -> None:
    assert covers("a b a b a", ["a b ", "b a", " b a"])
    assert covers("x\n\n y", ["x", "y"])
    assert not covers("a b a c a", ["a b ", "c a"])


def test_the_recorded_truth_is_whole() -> None:
    assert len(true_rows("customers")) == 487
    assert len(true_documents()) == 453
    assert (
        differences([(name, 0, text) for name, text in true_documents().items() if text.strip()], true_documents())
        == []
    )
