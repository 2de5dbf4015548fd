"""The demo's claims: each does something to the source or the topic, and looks in the store for what came of it."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg

from cli.demo import world as worlds
from cli.demo.world import ARTICLES, DELETED, EDITED, MANUALS, World
from connectors.kafka_producer import produce
from core.errors import FreshetError
from core.formats.debezium import position
from core.letters import PREFIX
from core.recordings import Record
from core.stores import Hit, Vectors, VectorStore
from flink_jobs.running import Job, Progress
from udfs.embedding import Embedder

_PATIENCE_S = 30.0
_LOOK_EVERY_S = 0.001
_SHOWN = 110

Seen = TypeVar("Seen")


class NotSeen(FreshetError):
    """What a claim says didn't come true in time."""


@dataclass(frozen=True, slots=True)
class Row:
    """A chunk as the store has it. `version` is another one whenever the row is written (PostgreSQL's xmin)."""

    text: str
    version: str


@dataclass(frozen=True, slots=True)
class Stage:
    """The running demo, as claims need it. `source` is a connection that commits when told to."""

    world: World
    job: Job
    source: psycopg.Connection[Any]
    store: VectorStore
    model: Embedder

    def ask(self, question: Vectors, k: int = 5) -> list[Hit]:
        """The answers to a question that is embedded already; `question` has shape (1, dimension)."""
        return self.store.search(question[0], k, {})

    def chunks(self, document: str) -> dict[str, Row]:
        """A document's chunks in the store, by chunk id."""
        query = "SELECT chunk_id, text, xmin::text FROM demo.chunks WHERE document_id = %s ORDER BY ordinal"
        rows = self.source.execute(query, (document,)).fetchall()
        self.source.commit()
        return {identity: Row(text, version) for identity, text, version in rows}

    def commit(self, statement: str, parameters: Mapping[str, object]) -> float:
        """Execute and commit one statement; when the commit was sent, on `time.perf_counter`'s clock."""
        if self.source.execute(statement.encode(), parameters).rowcount != 1:
            raise NotSeen(f"{statement} changed no row: was the table changed meanwhile?")
        sent = time.perf_counter()
        self.source.commit()
        return sent

    def progress(self) -> Progress:
        """The job's state and counters; waits where its REST API is too busy to answer."""
        return _until(lambda: self._answered(self.job.progress()), "the job's counters")

    @staticmethod
    def _answered(progress: Progress) -> Progress | None:
        return progress if "chunks_embedded" in progress.counts else None

    def count(self, name: str) -> int:
        """One of the job's counters; 0 where nothing was counted."""
        return self.progress().counts.get(name, 0)


@dataclass(frozen=True, slots=True)
class Evidence:
    """How a claim was checked. `steps` are what was done and seen, each with a label; `verdict` has the figures."""

    steps: tuple[tuple[str, str], ...]
    verdict: str
    holds: bool


Check = Callable[[Stage], Evidence]


def edit(stage: Stage) -> Evidence:
    """Five edits; each time from the commit until a search answers with the new sentence."""
    edits = [_edit(stage, *each) for each in EDITED]
    took = [milliseconds for milliseconds, _ in edits]
    median, worst = statistics.median(took), max(took)
    verdict = f"commit → searchable: {median:.0f} ms (median of {len(took)} edits), {worst:.0f} ms (worst)"
    return Evidence(edits[0][1], verdict, holds=True)


_PREPEND = "UPDATE demo.articles SET body = %(sentence)s || body WHERE id = %(id)s"
_REPLACE = "UPDATE demo.manuals SET body = replace(body, %(paragraph)s, %(paragraph)s || %(sentence)s) WHERE id = 1"
_DELETE = "DELETE FROM demo.articles WHERE id = %(id)s"


def _edit(stage: Stage, title: str, question: str, sentence: str) -> tuple[float, tuple[tuple[str, str], ...]]:
    vector = stage.model.embed([question])
    before = stage.ask(vector, 1)[0]
    change = {"sentence": f"{sentence}\n\n", "id": _article(stage, title)}
    sent = stage.commit(_PREPEND, change)
    after = _until(lambda: _first_with(stage.ask(vector, 1), sentence), f"an answer with {sentence!r}")
    took = (time.perf_counter() - sent) * 1000
    return took, (
        ("sql", _sql(_PREPEND, change)),
        ("ask", question),
        ("before", _hit(before)),
        ("after", _hit(after)),
    )


def edit_one_paragraph(stage: Stage) -> Evidence:
    """One paragraph of the long text; which of its chunks the store got anew, and how many the model saw."""
    document = f"{MANUALS}/1"
    paragraph = _middle_paragraph()
    sentence = "Since this edit, the debugger keeps its history in the project's folder."
    before, embedded = stage.chunks(document), stage.count("chunks_embedded")
    change = {"paragraph": paragraph, "sentence": f" {sentence}"}
    sent = stage.commit(_REPLACE, change)
    after = _until(lambda: _chunks_with(stage.chunks(document), sentence), f"a chunk with {sentence!r}")
    took = (time.perf_counter() - sent) * 1000
    fresh, kept = after.keys() - before.keys(), after.keys() & before.keys()
    untouched = sum(after[identity].version == before[identity].version for identity in kept)
    model_saw = _until(lambda: _at_least(stage.count("chunks_embedded") - embedded, len(fresh)), "the job's counters")
    return Evidence(
        (
            ("sql", _sql(_REPLACE, change)),
            ("store", f"new: {len(fresh)}, kept: {len(kept)}, of which not even written: {untouched}"),
            ("model", f"embedded by the job's own counter: {model_saw}"),
        ),
        f"{len(kept)} of {len(after)} chunks were not embedded again; searchable in {took:.0f} ms",
        holds=0 < len(fresh) == model_saw and len(fresh) * 4 <= len(after),
    )


def delete(stage: Stage) -> Evidence:
    """A delete, until a search for the article's own title no longer finds it and no chunk of it is left."""
    vector = stage.model.embed([DELETED])
    article = _article(stage, DELETED)
    document = f"{ARTICLES}/{article}"
    before = stage.ask(vector)
    sent = stage.commit(_DELETE, {"id": article})
    after = _until(lambda: _without(stage.ask(vector), document), f"answers without {document}")
    took = (time.perf_counter() - sent) * 1000
    left = len(stage.chunks(document))
    return Evidence(
        (
            ("sql", _sql(_DELETE, {"id": article})),
            ("ask", DELETED),
            ("before", _hit(before[0])),
            ("after", _hit(after[0])),
        ),
        f"commit → gone: {took:.0f} ms; chunks of {document} left in the store: {left}",
        holds=before[0].document_id == document and left == 0,
    )


def refuse_old_changes(stage: Stage) -> Evidence:
    """All real events of an article once more, newest first: none of them is later than what stands."""
    article = _article(stage, EDITED[0][0])
    document, sentence = f"{ARTICLES}/{article}", "This is the newest version."
    stage.commit(_PREPEND, {"sentence": f"{sentence} ", "id": article})
    _until(lambda: _chunks_with(stage.chunks(document), sentence), "the newest version")
    past = worlds.history(stage.world, article)
    before, stale = stage.chunks(document), stage.count("stale")
    again = [Record(stage.world.topic, event.key(), event.value()) for event in reversed(past)]
    produce(stage.world.bootstrap_servers, again)
    refused = _until(lambda: _at_least(stage.count("stale") - stale, len(again)), f"{len(again)} refusals")
    after = stage.chunks(document)
    logged = [json.loads(event.value())["source"] for event in reversed(past)]
    positions = [position(source, snapshot=source["snapshot"] != "false") for source in logged]
    return Evidence(
        (
            ("kafka", f"the {len(again)} events of {document} again, newest first: "
             + ", ".join(str(source["lsn"]) for source in logged)),
            ("job", f"refused: {refused} of {len(again)}, as no log position is later than the one that stands"),
            ("store", f"same rows as before, with {sentence!r}"),
        ),
        f"{refused} late or repeated changes refused; the store kept the newest text",
        holds=len(set(positions)) > 2
        and positions == sorted(positions, reverse=True)
        and refused == len(again)
        and after == before,
    )  # fmt: skip


def survive_poison(stage: Stage) -> Evidence:
    """Bytes that aren't JSON, and an envelope without `after`: dead letters as they came, and the job goes on."""
    article = _article(stage, EDITED[1][0])
    newest = worlds.history(stage.world, article)[-1]
    envelope = json.loads(newest.value())
    poison = [b"\x00\xff no JSON", json.dumps({**envelope, "op": "u", "after": None}).encode()]
    produce(stage.world.bootstrap_servers, [Record(stage.world.topic, newest.key(), value) for value in poison])
    letters = _until(lambda: _letters(stage, len(poison)), f"{len(poison)} dead letters")
    sentence = "This sentence was written after two poisoned events."
    sent = stage.commit(_PREPEND, {"sentence": f"{sentence} ", "id": article})
    _until(lambda: _chunks_with(stage.chunks(f"{ARTICLES}/{article}"), sentence), "the edit after the poison")
    took = (time.perf_counter() - sent) * 1000
    progress = stage.progress()
    intact = [value for _, value in letters] == poison
    return Evidence(
        (
            ("kafka", f"{poison[0]!r}, and an envelope with op 'u' and without 'after'"),
            *(("letter", _brief(reason)) for reason, _ in letters),
            ("job", f"{progress.state.lower()}; failures: {progress.failure or 'none'}"),
        ),
        f"{len(letters)} dead letters{' with their original bytes' if intact else ''}; "
        f"the next edit was in the store in {took:.0f} ms",
        holds=intact and all(reason for reason, _ in letters) and progress.failure is None,
    )


CLAIMS: tuple[tuple[str, Check], ...] = (
    ("An edit changes the answer", edit),
    ("An edit of one paragraph embeds what changed", edit_one_paragraph),
    ("A delete is gone from the answers", delete),
    ("Changes out of order are refused", refuse_old_changes),
    ("Poison becomes a dead letter", survive_poison),
)


def _until(look: Callable[[], Seen | None], what: str) -> Seen:
    deadline = time.monotonic() + _PATIENCE_S
    while (seen := look()) is None:
        if time.monotonic() > deadline:
            raise NotSeen(f"{what}: not seen within {_PATIENCE_S:.0f} s")
        time.sleep(_LOOK_EVERY_S)
    return seen


def _article(stage: Stage, title: str) -> int:
    row = stage.source.execute("SELECT id FROM demo.articles WHERE title = %s ORDER BY id", (title,)).fetchone()
    stage.source.commit()
    if row is None:
        raise NotSeen(f"this Python's language reference has no section {title!r}")
    return int(row[0])


def _middle_paragraph() -> str:
    paragraphs = worlds.manual().paragraphs
    middle = len(paragraphs) // 2
    return next(text for text in paragraphs[middle:] if len(text) > 150 and paragraphs.count(text) == 1)


def _first_with(hits: list[Hit], sentence: str) -> Hit | None:
    return hits[0] if hits and sentence in hits[0].text else None


def _chunks_with(chunks: dict[str, Row], sentence: str) -> dict[str, Row] | None:
    return chunks if any(sentence in chunk.text for chunk in chunks.values()) else None


def _without(hits: list[Hit], document: str) -> list[Hit] | None:
    return hits if hits and all(hit.document_id != document for hit in hits) else None


def _at_least(count: int, wanted: int) -> int | None:
    return count if count >= wanted else None


def _letters(stage: Stage, wanted: int) -> list[tuple[str, bytes]] | None:
    found = worlds.events(stage.world, stage.world.dead_letters)
    if len(found) < wanted:
        return None
    return [(dict(letter.headers())[f"{PREFIX}reason"].decode(), letter.value()) for letter in found]


def _sql(statement: str, parameters: Mapping[str, object]) -> str:
    return statement % {
        name: repr(_brief(value, 50)) if isinstance(value, str) else value for name, value in parameters.items()
    }


def _hit(hit: Hit) -> str:
    text = hit.text.removeprefix(str(hit.metadata["title"]))
    return f"{hit.score:.2f}  {hit.document_id}  {_brief(text)!r}"


def _brief(text: str, longest: int = _SHOWN) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
