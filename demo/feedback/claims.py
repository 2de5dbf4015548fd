"""What `freshet demo feedback` claims, checked in the KPIs' tables while the job runs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from core.formats.conversations import LONGEST_COMMENT, Turn, message
from core.letters import PREFIX
from demo import world as worlds
from demo.feedback import talk
from demo.feedback.talk import Counts, Group, Row, Talk
from demo.stage import Evidence, at_least, brief, milliseconds_since, until
from terminal.plain import shown

_TIMES = 5
_PATIENCE_S = 120.0
_APART_S = 0.2
_QUIET_S = 1.0
_BACK = timedelta(minutes=90)


@dataclass(frozen=True, slots=True)
class Scene:
    """The running demo, as its claims need it. `truth`: what the first conversations come to, counted apart."""

    console: Console
    talk: Talk
    truth: dict[Group, Counts]


def together(scene: Scene) -> Evidence:
    """Two hours of conversations, in which the model changes half-way."""
    found = talk.summed(until(lambda: _all(scene), "the rows of all conversations", _PATIENCE_S))
    _draw(scene.console, found)
    return Evidence(
        (("sent", f"{talk.EVENTS} turns and ratings of two hours, some rated late, some again"),),
        f"{sum(each.turns for each in found.values())} answers, {sum(each.rated for each in found.values())} rated: "
        "in each group the rows are what all events at once come to",
        holds=found == scene.truth,
    )


def rated(scene: Scene) -> Evidence:
    """An answer is rated; five times."""
    took: list[float] = []
    steps: tuple[tuple[str, str], ...] = ()
    holds = True
    for _ in range(_TIMES):
        answer, before = _asked(scene, talk.now())
        done = scene.talk.send(talk.rating(answer, True, talk.now(), "Great, thank you!"))
        after = _rewritten(scene, answer, before)
        took.append(milliseconds_since(done.sent))
        steps = ((done.what, brief(done.text)), ("row", f"{_said(before)} → {_said(after)}"))
        holds = holds and after.counts.good == before.counts.good + 1 and (after.comment_sentiment or 0) > 0
    return Evidence(
        steps, f"rating → row: {statistics.median(took):.0f} ms (median of {_TIMES}), {max(took):.0f} ms (worst)", holds
    )


def corrected(scene: Scene) -> Evidence:
    """Somebody thinks again of an answer of an hour and a half ago, twice."""
    answer, first = _asked(scene, talk.now() - _BACK)
    others = _others(scene, first)
    liked = scene.talk.send(talk.rating(answer, True, talk.now()))
    up = _rewritten(scene, answer, first)
    changed_mind = scene.talk.send(talk.rating(answer, False, talk.now()))
    down = _rewritten(scene, answer, up)
    return Evidence(
        (
            ("rated", brief(liked.text)),
            ("again", brief(changed_mind.text)),
            ("row", f"{_said(first)} → {_said(up)} → {_said(down)}"),
        ),
        "the last rating counts, in the hour of its answer; no other row was written",
        holds=(up.counts.rated, up.counts.good) == (first.counts.rated + 1, first.counts.good + 1)
        and (down.counts.rated, down.counts.good) == (up.counts.rated, first.counts.good)
        and _others(scene, down) == others,
    )


def final(scene: Scene) -> Evidence:
    """Five times a second somebody asks, until a window of five seconds is over and a second more."""
    begin = _next_window()
    time.sleep(max((begin - talk.now()).total_seconds(), 0))
    inside, seen_early, passed = 0, False, None
    while passed is None:
        at = talk.now()
        done = scene.talk.send(scene.talk.turn(at))
        inside += at < begin + talk.WINDOW
        passed = done if at >= begin + talk.WINDOW + talk.WATERMARK else None
        seen_early = seen_early or (passed is None and begin in scene.talk.windows())
        time.sleep(_APART_S if passed is None else 0)
    turns, version = until(lambda: scene.talk.windows().get(begin), "the window's row")
    took = milliseconds_since(passed.sent)
    time.sleep(_QUIET_S)
    return Evidence(
        (("asked", f"{inside} times from {begin:%H:%M:%S} to {begin + talk.WINDOW:%H:%M:%S}"),),
        f"one row, of {turns} turns, {took:.0f} ms after the watermark had passed its end; never written again",
        holds=turns == inside and not seen_early and scene.talk.windows()[begin] == (turns, version),
    )


def poison(scene: Scene) -> Evidence:
    """A clock that was never set, a comment too long, a rating beyond its scale, and no JSON."""
    answer, before = _asked(scene, talk.now())
    bad = _bad(answer)
    for value in bad.values():
        scene.talk.poison(value)
    world = scene.talk.world
    letters = until(lambda: at_least(worlds.events(world, world.dead_letters), len(bad)), "the dead letters")
    reasons = {letter.value(): dict(letter.headers())[f"{PREFIX}reason"].decode() for letter in letters}
    done = scene.talk.send(talk.rating(answer, True, talk.now()))
    _rewritten(scene, answer, before)
    return Evidence(
        tuple((what, brief(reasons.get(value, "no letter"))) for what, value in bad.items()),
        f"{len(letters)} dead letters; the next rating was in its row in {milliseconds_since(done.sent):.0f} ms",
        holds=reasons.keys() == set(bad.values()),
    )


CLAIMS: tuple[tuple[str, Callable[[Scene], Evidence]], ...] = (
    ("Conversations become KPIs", together),
    ("A rating changes its row", rated),
    ("A late rating corrects the hour of its answer", corrected),
    ("A window is written once, when it is over", final),
    ("Poison becomes a dead letter", poison),
)


def rate(scene: Scene, liked: bool, comment: str) -> tuple[Row, float]:
    """Ask something, and rate the answer: its row, and the ms that the rating took. Raises NotSeen."""
    answer, before = _asked(scene, talk.now())
    done = scene.talk.send(talk.rating(answer, liked, talk.now(), comment or None))
    row = _rewritten(scene, answer, before)
    return row, milliseconds_since(done.sent)


def _all(scene: Scene) -> list[Row] | None:
    rows = scene.talk.rows()
    return rows if talk.summed(rows) == scene.truth else None


def _asked(scene: Scene, at: datetime) -> tuple[Turn, Row]:
    """A new answer of that time, and the row that counts it."""
    answer = scene.talk.turn(at)
    before = scene.talk.row(answer)
    scene.talk.send(answer)
    turns = before.counts.turns + 1 if before else 1

    def look() -> Row | None:
        row = scene.talk.row(answer)
        return row if row and row.counts.turns == turns else None

    return answer, until(look, "the answer in its row")


def _rewritten(scene: Scene, answer: Turn, before: Row) -> Row:
    """The row of an answer, once it was written again."""

    def look() -> Row | None:
        row = scene.talk.row(answer)
        return row if row and row.version != before.version else None

    return until(look, "the rating in its row")


def _others(scene: Scene, row: Row) -> list[Row]:
    return [each for each in scene.talk.rows() if (each.at, each.group) != (row.at, row.group)]


def _next_window() -> datetime:
    """When the next window begins that hasn't yet."""
    seconds = talk.WINDOW.total_seconds()
    return datetime.fromtimestamp((talk.now().timestamp() // seconds + 1) * seconds, UTC)


def _bad(answer: Turn) -> dict[str, bytes]:
    def event(**changes: Any) -> bytes:
        return message(replace(talk.rating(answer, True, talk.now()), **changes))[1]

    return {
        "1970": event(at="1970-01-01T00:00:00Z"),
        "too long": event(comment="!" * (LONGEST_COMMENT + 1)),
        "7 thumbs": event(rating=7),
        "no JSON": b"{",
    }


def _said(row: Row) -> str:
    counts = row.counts
    return f"{row.at:%H}:00 {counts.turns} answers, {counts.good} of {counts.rated} liked"


def _draw(console: Console, found: dict[Group, Counts]) -> None:
    table = Table("tenant", "model", "answers", "rated", "liked", box=None, header_style="dim", pad_edge=False)
    for (tenant, model), counts in sorted(found.items()):
        share = f"{counts.good / counts.rated:.0%}" if counts.rated else ""
        table.add_row(shown(tenant), shown(model), str(counts.turns), str(counts.rated), share)
    console.print(table)
