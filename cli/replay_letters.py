"""`freshet dead-letters replay`: events sent round again, once each unless asked otherwise."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import typer
from rich.console import Console

from connectors.dead_letters import letters, place_of_letters
from connectors.kafka import source as kafka
from connectors.kafka.letters.reading import Letter, Letters, Originals
from connectors.kafka.producer import produce
from connectors.kafka.topics import reading
from core.config.pipeline import Pipeline
from core.stores.batches import sized
from operations.job_file import home
from terminal.plain import plain, shown

_AT_ONCE = 500
_BYTES_AT_ONCE = 16 * 2**20
_GONE = "cut, and what they are cut from isn't in its topic any more: freshet verify --repair reads the rows themselves"


def resend(
    pipeline: Pipeline, wanted: Callable[[Letter], bool], limit: int | None, again: bool, yes: bool, console: Console
) -> int:
    """Replay the pipeline's letters that are `wanted`, the first `limit` of them; the command's exit code.

    Raises Unavailable where Kafka is away, ConfigError where it refuses an event: those sent before it stay noted.
    """
    done = Replayed(home(pipeline) / "replayed.jsonl", place_of_letters(pipeline).name)
    topics = frozenset(kafka.check(pipeline.kafka))
    with letters(pipeline) as there, reading(pipeline.kafka) as consumer:
        originals = Originals(consumer, pipeline.kafka)
        before = frozenset() if again else done.read()
        choice = Choice(pipeline.name, wanted, topics, before, _newer(there, pipeline.name), originals.whole)
        counts = Counter(letter.source[0] for letter in islice(choice.of(there), limit) if letter.source)
        for reason, count in choice.left.items():
            console.print(f"left out: {count:,} {reason}")
        if not counts:
            console.print("nothing to replay")
            return 0
        for topic, count in sorted(counts.items()):
            console.print(f"{count:,} {'event' if count == 1 else 'events'} to {shown(plain(topic))}")
        if not yes and not typer.confirm("Send?"):
            return 1
        sent = _send(pipeline, islice(choice.of(there), limit), done)
    console.print(f"sent {sent:,}; the job takes them up while it runs, and writes a new letter where one fails again")
    return 0


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
    """Which letters are replayed, and in `left` how many of the wanted ones are not, by reason.

    name    the pipeline's: its topic may have letters of others, which they had better replay
    topics  those that the pipeline reads: what anyone else may have put into a letter leads nowhere
    done    letters that were replayed before
    newer   the most attempts of an event: an older letter of it says nothing new
    whole   a cut letter with its whole event; None where nobody has it any more
    """

    name: str
    wanted: Callable[[Letter], bool]
    topics: frozenset[str]
    done: frozenset[str]
    newer: dict[bytes, int]
    whole: Callable[[Letter], Letter | None]
    left: Counter[str] = field(default_factory=Counter)

    def of(self, there: Letters) -> Iterator[Letter]:
        """The letters to replay, in the order of their topic."""
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
        if letter.source[0] not in self.topics:
            return "from topics that the pipeline doesn't read"
        if name_of(letter) in self.done:
            return "replayed before from this folder (--again sends them anyway)"
        if letter.attempts < self.newer.get(letter.event(), 0):
            return "with a newer letter of the same event"
        return None


def name_of(letter: Letter) -> str:
    """Tells the letter from all others, also from those of a topic that was deleted and made again."""
    partition, offset = letter.place
    return f"{partition}:{offset}@{letter.time_ms}"


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
        """Add what Kafka has acknowledged."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as lines:
            # the line end first: what a crash has torn off before stays a line of its own
            lines.write("\n" + json.dumps({"topic": self.topic, "letters": names}))


def _send(pipeline: Pipeline, chosen: Iterator[Letter], done: Replayed) -> int:
    source = pipeline.kafka
    sent = 0
    for batch in sized(chosen, _size_of, _BYTES_AT_ONCE, _AT_ONCE):
        produce(source.bootstrap_servers, [letter.again() for letter in batch], login=kafka.login(source), packed=True)
        done.note([name_of(letter) for letter in batch])
        sent += len(batch)
    return sent


def _size_of(letter: Letter) -> int:
    return len(letter.value or b"") + len(letter.key or b"")
