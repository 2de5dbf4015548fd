"""A demo that runs, as its claims see it: the texts that can be changed, the job, the store, and what was found."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import psycopg
from psycopg import sql

from core.errors import FreshetError
from core.letters import PREFIX
from core.stores.contract import Hit, Vectors, VectorStore
from demo import world as worlds
from demo.world import World
from flink_jobs.running.jobs import Job, Progress
from udfs.embedding.contract import Embedder

_PATIENCE_S = 30.0
_LOOK_EVERY_S = 0.001
_QUIET_S = 1.5
_SHOWN = 110

Seen = TypeVar("Seen")


class NotSeen(FreshetError):
    """What a claim says didn't come true in time."""


@dataclass(frozen=True, slots=True)
class Done:
    """A change that was made. `sent` is when its last part was sent off, on `time.perf_counter`'s clock.

    what  how it was made, in a word: sql, put
    text  the statement, shortened
    """

    sent: float
    what: str
    text: str


class Texts(Protocol):
    """The demo's articles and its manual, where a pipeline reads them. Articles are identified by their titles."""

    @property
    def world(self) -> World:
        """Where all of it is."""

    @property
    def manual(self) -> str:
        """The id of the document that is the manual."""

    @property
    def invitation(self) -> str:
        """What one can do to the texts from outside, while the prompt is open."""

    @property
    def before_commands(self) -> str:
        """What must run in a shell before other commands go on with the demo; "" where that is nothing."""

    def begin(self) -> None:
        """Let the pipeline have the texts. Called once, beside the job's start."""

    def document(self, title: str) -> str:
        """The id of the document that is an article. Raises NotSeen where there is none."""

    def prepend(self, title: str, text: str) -> Done:
        """Write a text before an article's body."""

    def extend(self, paragraph: str, text: str) -> Done:
        """Write a text behind a paragraph of the manual."""

    def delete(self, title: str) -> Done:
        """Delete an article."""

    def close(self) -> None:
        """Give connections back."""


Source = TypeVar("Source", bound=Texts)
Source_co = TypeVar("Source_co", bound=Texts, covariant=True)


@dataclass(frozen=True, slots=True)
class Row:
    """A chunk as the store has it. `version` is another one whenever the row is written (PostgreSQL's xmin)."""

    text: str
    version: str


@dataclass(frozen=True, slots=True)
class Stage(Generic[Source_co]):
    """The running demo, as claims need it. `chunks_at` is a connection to the store's database, in autocommit."""

    texts: Source_co
    job: Job
    chunks_at: psycopg.Connection[Any]
    store: VectorStore
    model: Embedder

    @property
    def world(self) -> World:
        """Where all of it is."""
        return self.texts.world

    def ask(self, question: Vectors, k: int = 5) -> list[Hit]:
        """The answers to a question that is embedded already; `question` has shape (1, dimension)."""
        return self.store.search(question[0], k)

    def chunks(self, document: str) -> dict[str, Row]:
        """A document's chunks in the store, by chunk id."""
        query = "SELECT chunk_id, text, xmin::text FROM {} WHERE document_id = %s ORDER BY ordinal"
        rows = self.chunks_at.execute(sql.SQL(query).format(self.world.table), (document,)).fetchall()
        return {identity: Row(text, version) for identity, text, version in rows}

    def stored(self) -> dict[str, list[str]]:
        """The texts of all documents' chunks in the store, in order."""
        found: dict[str, list[str]] = {}
        query = sql.SQL("SELECT document_id, text FROM {} ORDER BY document_id, ordinal").format(self.world.table)
        for document, text in self.chunks_at.execute(query):
            found.setdefault(document, []).append(text)
        return found

    def progress(self) -> Progress:
        """The job's state and counters; waits where its REST API is too busy to answer."""
        return until(lambda: self._answered(self.job.progress()), "the job's counters")

    @staticmethod
    def _answered(progress: Progress) -> Progress | None:
        return progress if "chunks_embedded" in progress.counts else None

    def count(self, name: str) -> int:
        """One of the job's counters; 0 where nothing was counted."""
        return self.progress().counts.get(name, 0)

    def settled(self, name: str) -> int:
        """A counter that goes on no more: what a worker counts arrives a little after what it did."""
        count = self.count(name)
        while True:
            time.sleep(_QUIET_S)
            before, count = count, self.count(name)
            if count == before:
                return count

    def letters(self, wanted: int) -> list[tuple[str, bytes]]:
        """Reason and value of each dead letter, once there are so many."""
        found = until(
            lambda: at_least(worlds.events(self.world, self.world.dead_letters), wanted), f"{wanted} dead letters"
        )
        return [(dict(letter.headers())[f"{PREFIX}reason"].decode(), letter.value()) for letter in found]


@dataclass(frozen=True, slots=True)
class Evidence:
    """How a claim was checked. `steps` are what was done and seen, each with a label; `verdict` has the figures."""

    steps: tuple[tuple[str, str], ...]
    verdict: str
    holds: bool


Check = Callable[[Stage[Source]], Evidence]
Claims = tuple[tuple[str, Check[Source]], ...]


def until(look: Callable[[], Seen | None], what: str, patience_s: float = _PATIENCE_S) -> Seen:
    """What `look` sees once it sees something. Raises NotSeen where that takes too long."""
    deadline = time.monotonic() + patience_s
    while (seen := look()) is None:
        if time.monotonic() > deadline:
            raise NotSeen(f"{what}: not seen within {patience_s:.0f} s")
        time.sleep(_LOOK_EVERY_S)
    return seen


def at_least(found: list[Seen], wanted: int) -> list[Seen] | None:
    """`found`, once it is so long."""
    return found if len(found) >= wanted else None


def brief(text: str, longest: int = _SHOWN) -> str:
    """A text in one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def milliseconds_since(sent: float) -> float:
    """On `time.perf_counter`'s clock."""
    return (time.perf_counter() - sent) * 1000


def sent_now() -> float:
    """The present, as `Done` has it."""
    return time.perf_counter()
