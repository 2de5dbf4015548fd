"""Made-up conversations, of real questions, and what people think of the answers, as `freshet serve` writes them.

Two tenants ask, of which one gives thumbs and the other stars. Half of the answers are rated, some at once and some
hundreds of events later; some are rated again, and then the last rating counts. Half-way the model changes, and its
answers are liked better.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from io import StringIO

from core.formats.conversations import Cited, Event, Feedback, Latency, Scale, Turn, message
from core.formats.recordings import Record
from workloads.articles import iso
from workloads.questions import QUESTIONS
from workloads.texts import Text, texts

TENANTS: dict[str, Scale] = {"acme": "thumbs", "beta": "stars"}
MODELS = {"small-1": 0.55, "small-2": 0.85}
"""The model before the change and behind it, and how many of its rated answers are liked."""

RATED_SHARE, AGAIN_SHARE, LATE_SHARE = 0.5, 0.15, 0.3
"""Of answers those that are rated; of ratings those that are followed by another, and those that come late."""

_GOES_ON = 0.6
_OPEN = 20
_LATE = 300
_COMMENTS = ("That was it, thank you.", "It says nothing of what I asked.", "Too long.", "The passage is right.")


@dataclass(frozen=True, slots=True)
class Rated:
    """An answer, and what is thought of it in the end: the last of so many `ratings`."""

    id: str
    conversation: str
    turn: int
    tenant: str
    model: str
    question: str
    scale: Scale
    rating: int | None = None
    ratings: int = 0


Truth = dict[str, Rated]
"""By the answers' ids."""


@dataclass(slots=True)
class _Talk:
    name: str
    tenant: str
    customer: str | None
    turns: int = 0


@dataclass(slots=True)
class _World:
    chance: random.Random
    truth: Truth
    clock: Callable[[], int]
    about: tuple[Text, ...]
    talks: list[_Talk] = field(default_factory=list)
    due: list[tuple[int, int, str]] = field(default_factory=list)
    number: int = 0


def conversations(
    topic: str, half: int, seed: int, clock: Callable[[], int], truth: Truth
) -> Iterator[tuple[Record, ...]]:
    """Events without end, a message each. The same seed makes the same, but for their times; `truth` follows.

    half  behind so many events the model is another one
    """
    world = _World(random.Random(seed), truth, clock, texts())
    while True:
        event = _rating(world) if world.due and world.due[0][0] <= world.number else _turn(world, half)
        world.number += 1
        key, value = message(event)
        yield (Record(topic, key, value),)


def _turn(world: _World, half: int) -> Event:
    chance = world.chance
    if not world.talks or chance.random() > _GOES_ON:
        customer = f"customer_id/{chance.randrange(1, 500)}" if chance.random() < 0.8 else None
        world.talks.append(_Talk(f"c-{chance.getrandbits(48):012x}", chance.choice([*TENANTS]), customer))
        del world.talks[:-_OPEN]
    talk = chance.choice(world.talks)
    talk.turns += 1
    before, behind = MODELS
    model, question = before if world.number < half else behind, chance.choice(QUESTIONS)
    name = f"chatcmpl-{chance.getrandbits(128):032x}"
    world.truth[name] = Rated(name, talk.name, talk.turns, talk.tenant, model, question, TENANTS[talk.tenant])
    if chance.random() < RATED_SHARE:
        _rate_later(world, name)
    about = chance.sample(world.about, 3)
    answer = f"{about[0].paragraphs[0][:300]} [1]"
    first = round(chance.uniform(80, 400), 1)
    latency = Latency(round(chance.uniform(4, 30), 1), first, round(first + chance.uniform(200, 2_000), 1))
    cited = tuple(
        Cited(
            "articles", f"public.articles/{text.id}", 0, f"{world.number:016x}.{text.id:016x}", round(0.9 - at / 10, 2)
        )
        for at, text in enumerate(about)
    )
    at = _now(world)
    return Turn(
        name, talk.name, talk.turns, at, talk.tenant, talk.customer, question, answer, model,
        sum(len(text.body) for text in about) // 4, len(answer) // 4, "stop", latency, cited, {"articles": at},
    )  # fmt: skip


def _rating(world: _World) -> Event:
    chance = world.chance
    _, _, name = heappop(world.due)
    of = world.truth[name]
    liked = chance.random() < MODELS[of.model]
    good, bad = ((1,), (-1,)) if of.scale == "thumbs" else ((4, 5), (1, 2, 3))
    rating = chance.choice(good if liked else bad)
    world.truth[name] = replace(of, rating=rating, ratings=of.ratings + 1)
    if chance.random() < AGAIN_SHARE:
        _rate_later(world, name)
    said = chance.choice(_COMMENTS) if chance.random() < 0.2 else None
    return Feedback(name, of.conversation, _now(world), of.tenant, rating, of.scale, said)


def _rate_later(world: _World, name: str) -> None:
    chance = world.chance
    wait = chance.randrange(50, _LATE) if chance.random() < LATE_SHARE else chance.randrange(1, 5)
    heappush(world.due, (world.number + wait, chance.getrandbits(32), name))


def _now(world: _World) -> str:
    return iso(world.clock())


def truth_csv(truth: Truth) -> str:
    """The answers, sorted by id, with the rating that counts: `id,…,rating,ratings`; without one it is empty."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("id", "conversation", "turn", "tenant", "model", "scale", "rating", "ratings", "question"))
    for name in sorted(truth):
        of = truth[name]
        writer.writerow(
            (of.id, of.conversation, of.turn, of.tenant, of.model, of.scale, of.rating, of.ratings, of.question)
        )
    return text.getvalue()
