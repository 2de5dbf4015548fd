"""`freshet dead-letters`: which letters are asked for, and how events are sent round again, once each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from connectors.opening.dead_letters import letters, place_of_letters
from connectors.opening.sources import ReplayTarget, replay_target
from core.config.pipeline import Pipeline
from core.letters import Letter, Letters
from core.stores.batches import sized
from operations.job_file import home

MOST_NAMES = 1000
"""How many pipelines or reasons are told apart: letters are what anyone may have written."""
_AT_ONCE = 500
_BYTES_AT_ONCE = 16 * 2**20
_GONE = "cut, and what they are cut from isn't in its topic any more: freshet verify --repair reads the rows themselves"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters a command is about; what is None is not asked for."""

    reason: str | None = None
    document: str | None = None
    stage: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __contains__(self, letter: Letter) -> bool:
        details = letter.details
        return (
            (self.reason is None or _has(letter, self.reason))
            and (self.document is None or details.get("document") == self.document)
            and (self.stage is None or details.get("stage") == self.stage)
            and (self.since is None or written(letter) >= self.since)
            and (self.until is None or written(letter) <= self.until)
        )


def _has(letter: Letter, reason: str) -> bool:
    return reason == letter.details.get("error.class") or reason.lower() in letter.details.get("reason", "").lower()


def written(letter: Letter) -> datetime:
    """When the event was given up: as the letter says, else when the broker took it."""
    try:
        said = datetime.fromisoformat(letter.details.get("time", ""))
        return said if said.tzinfo else said.replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(max(0, letter.time_ms) / 1000, UTC)


def own(there: Iterable[Letter], name: str, others: Counter[str]) -> Iterator[Letter]:
    """The letters of the pipeline of this name, and those that name none; of others it is counted whose they are."""
    for letter in there:
        if letter.pipeline in (name, ""):
            yield letter
        elif letter.pipeline in others or len(others) < MOST_NAMES:
            others[letter.pipeline] += 1


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay would do, and how it is done.

    counts  events by the topic or stream that they go to
    left    letters that were asked for and aren't sent, by why
    send    sends them; how many. What was acknowledged before an error stays noted
    """

    counts: Mapping[str, int]
    left: Mapping[str, int]
    send: Callable[[], int]


@contextmanager
def replay(pipeline: Pipeline, wanted: Callable[[Letter], bool], limit: int | None, again: bool) -> Iterator[Replay]:
    """The pipeline's letters that are `wanted`, the first `limit` of them, to be sent while the block lasts.

    `again`: also those that were sent from this folder before.
    Raises Unavailable where the source or the letters' server is away, ConfigError where the source takes no events
    again; `send` also where it refuses one.
    """
    done = Replayed(home(pipeline) / "replayed.jsonl", place_of_letters(pipeline).name)
    with replay_target(pipeline) as source, letters(pipeline) as there:
        before = frozenset() if again else done.read()
        choice = Choice(pipeline.name, wanted, source.names, before, _newer(there, pipeline.name), source.whole)
        counts = Counter(letter.source[0] for letter in islice(choice.of(there), limit) if letter.source)
        yield Replay(counts, dict(choice.left), lambda: _send(source, islice(choice.of(there), limit), done))


def _newer(there: Letters, name: str) -> dict[bytes, int]:
    """The most attempts of each event that this pipeline tried more than once; few, so they are kept in memory."""
    newest: dict[bytes, int] = {}
    for letter in there.read():
        if letter.attempts > 1 and letter.pipeline == name:
            event = letter.event()
            newest[event] = max(letter.attempts, newest.get(event, 0))
    return newest


@dataclass(slots=True)
class Choice:
    """Chooses the letters to replay; `left` counts, by reason, the wanted ones that aren't.

    name    the pipeline's: letters of other pipelines in the same place are left to those
    sources those that the pipeline reads: a forged letter can't lead anywhere else
    done    letters that were replayed before
    newer   the most attempts of an event: an older letter of it says nothing new
    whole   a cut letter with its whole event; None where nobody has it any more
    """

    name: str
    wanted: Callable[[Letter], bool]
    sources: frozenset[str]
    done: frozenset[str]
    newer: dict[bytes, int]
    whole: Callable[[Letter], Letter | None]
    left: Counter[str] = field(default_factory=Counter)

    def of(self, there: Letters) -> Iterator[Letter]:
        """The letters to replay, in the order in which their place has them."""
        self.left.clear()
        for letter in filter(self.wanted, there.read()):
            reason, whole = self._against(letter), letter
            if reason is None and letter.is_cut:
                found = self.whole(letter)
                reason, whole = (_GONE, letter) if found is None else (None, found)
            if reason is None:
                yield whole
            else:
                self.left[reason] += 1

    def _against(self, letter: Letter) -> str | None:
        if letter.source is None:
            return "without a source: none of Freshet's letters"
        if letter.pipeline != self.name:
            return "of other pipelines" if letter.pipeline else "that name no pipeline: none of Freshet's letters"
        if letter.source[0] not in self.sources:
            return "from topics that the pipeline doesn't read"
        if name_of(letter) in self.done:
            return "replayed before from this folder (--again sends them anyway)"
        if letter.attempts < self.newer.get(letter.event(), 0):
            return "with a newer letter of the same event"
        return None


def name_of(letter: Letter) -> str:
    """Tells the letter from all others, also from those of a topic that was deleted and made again."""
    return f"{letter.place}@{letter.time_ms}"


@dataclass(frozen=True, slots=True)
class Replayed:
    """The letters of a topic that were replayed from this folder: a line of JSON each."""

    file: Path
    topic: str

    def read(self) -> frozenset[str]:
        """Their names. A last line that a crash has torn counts for nothing: its letters are sent again."""
        if not self.file.is_file():
            return frozenset()
        with self.file.open(encoding="utf-8") as lines:
            return frozenset(letter for line in lines for letter in self._names(line))

    def _names(self, line: str) -> list[str]:
        try:
            noted = json.loads(line)
        except ValueError:
            return []
        return list(noted["letters"]) if noted["topic"] == self.topic else []

    def note(self, names: list[str]) -> None:
        """Add what the source has acknowledged."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as lines:
            # the line end first: what a crash has torn off before stays a line of its own
            lines.write("\n" + json.dumps({"topic": self.topic, "letters": names}))


def _send(source: ReplayTarget, chosen: Iterator[Letter], done: Replayed) -> int:
    sent = 0
    for batch in sized(chosen, _size_of, _BYTES_AT_ONCE, _AT_ONCE):
        source.send(batch)
        done.note([name_of(letter) for letter in batch])
        sent += len(batch)
    return sent


def _size_of(letter: Letter) -> int:
    return len(letter.value or b"") + len(letter.key or b"")
