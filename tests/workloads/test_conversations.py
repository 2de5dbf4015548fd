"""Made-up conversations: always the same, with late and repeated ratings, a model that changes, and the truth."""

from __future__ import annotations

import csv
from io import StringIO
from itertools import islice

from core.formats.conversations import RATINGS, Feedback, Turn, event
from workloads.conversations import MODELS, TENANTS, Rated, Truth, conversations, truth_csv
from workloads.questions import QUESTIONS


def made(seed: int, events: int) -> tuple[list[Turn | Feedback], Truth]:
    truth: Truth = {}
    steps = list(islice(conversations("t", events // 2, seed, lambda: 10**18, truth), events))
    records = [record for step in steps for record in step]
    found = [event(record.value or b"") for record in records]
    assert [record.key for record in records] == [(each.conversation or "").encode() for each in found]
    return found, truth


def test_the_same_seed_makes_the_same_conversations() -> None:
    assert made(1, 300) == made(1, 300) != made(2, 300)


def test_ratings_come_late_and_again_and_the_last_counts() -> None:
    events, truth = made(7, 4_000)
    asked: dict[str, tuple[int, Turn]] = {}
    last: dict[str, tuple[int, int]] = {}
    waits = []
    for at, each in enumerate(events):
        if isinstance(each, Turn):
            asked[each.id] = (at, each)
            continue
        assert each.rating in RATINGS[each.scale] and each.scale == TENANTS[each.tenant]
        waits.append(at - asked[each.id][0])
        last[each.id] = (each.rating, last.get(each.id, (0, 0))[1] + 1)
    assert truth == {
        name: Rated(
            name, turn.conversation, turn.turn, turn.tenant, turn.model, turn.question, TENANTS[turn.tenant],
            *last.get(name, (None, 0)),
        )
        for name, (_, turn) in asked.items()
    }  # fmt: skip
    assert 0.2 < sum(wait > 40 for wait in waits) / len(waits) < 0.5 and max(waits) > 250
    assert sum(of.ratings > 1 for of in truth.values()) > 100
    assert {turn.question for _, turn in asked.values()} == set(QUESTIONS)


def test_a_conversations_turns_are_counted_and_the_model_changes_half_way() -> None:
    events, truth = made(7, 4_000)
    turns = [each for each in events if isinstance(each, Turn)]
    counted: dict[str, list[int]] = {}
    for turn in turns:
        counted.setdefault(turn.conversation, []).append(turn.turn)
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in counted.values())
    models = [turn.model for turn in turns]
    assert models == sorted(models) and set(models) == set(MODELS) and 0.4 < models.count("small-1") / len(models) < 0.6
    for model, liked in MODELS.items():
        rated = [of for of in truth.values() if of.model == model and of.rating is not None]
        good = sum((of.rating or 0) > (0 if of.scale == "thumbs" else 3) for of in rated)
        assert abs(good / len(rated) - liked) < 0.06


def test_the_truth_is_a_table() -> None:
    _, truth = made(3, 200)
    rows = list(csv.DictReader(StringIO(truth_csv(truth))))
    assert [row["id"] for row in rows] == sorted(truth) and {row["tenant"] for row in rows} == {"acme", "beta"}
    assert {row["rating"] for row in rows} >= {"", "1"}
