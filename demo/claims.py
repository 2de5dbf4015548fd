"""Claims about every feed: each does something to the texts, and looks in the store for what came of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from core.stores.contract import Hit
from demo import world as worlds
from demo.stage import Evidence, Row, Stage, brief, milliseconds_since, until
from demo.world import DELETED, EDITED


def edit(stage: Stage[Any]) -> Evidence:
    """Five edits; each time from the write until a search answers with the new sentence."""
    edits = [_edit(stage, *each) for each in EDITED]
    took = [milliseconds for milliseconds, _ in edits]
    median, worst = statistics.median(took), max(took)
    verdict = (
        f"{stage.world.written} → searchable: {median:.0f} ms (median of {len(took)} edits), {worst:.0f} ms (worst)"
    )
    return Evidence(edits[0][1], verdict, holds=True)


def _edit(stage: Stage[Any], title: str, question: str, sentence: str) -> tuple[float, tuple[tuple[str, str], ...]]:
    vector = stage.model.embed([question])
    before = stage.ask(vector, 1)[0]
    done = stage.texts.prepend(title, f"{sentence}\n\n")
    after = until(lambda: _first_with(stage.ask(vector, 1), sentence), f"an answer with {sentence!r}")
    return milliseconds_since(done.sent), (
        (done.what, done.text),
        ("ask", question),
        ("before", _hit(before)),
        ("after", _hit(after)),
    )


def edit_one_paragraph(stage: Stage[Any]) -> Evidence:
    """One paragraph of the long text; which of its chunks the store got anew, and how many the model saw."""
    document = stage.texts.manual
    sentence = "Since this edit, the debugger keeps its history in the project's folder."
    before, embedded = stage.chunks(document), stage.settled("chunks_embedded")
    done = stage.texts.extend(_middle_paragraph(), f" {sentence}")
    after = until(lambda: chunks_with(stage.chunks(document), sentence), f"a chunk with {sentence!r}")
    took = milliseconds_since(done.sent)
    fresh, kept = after.keys() - before.keys(), after.keys() & before.keys()
    untouched = sum(after[identity].version == before[identity].version for identity in kept)
    until(lambda: reached(stage.count("chunks_embedded") - embedded, len(fresh)), "the job's counters")
    model_saw = stage.settled("chunks_embedded") - embedded
    return Evidence(
        (
            (done.what, done.text),
            ("store", f"new: {len(fresh)}, kept: {len(kept)}, of which not even written: {untouched}"),
            ("model", f"embedded by the job's own counter: {model_saw}"),
        ),
        f"{len(kept)} of {len(after)} chunks were not embedded again; searchable in {took:.0f} ms",
        holds=0 < len(fresh) == model_saw and len(fresh) * 4 <= len(after),
    )


def delete(stage: Stage[Any]) -> Evidence:
    """A delete, until a search for the article's own title no longer finds it and no chunk of it is left."""
    vector = stage.model.embed([DELETED])
    document = stage.texts.document(DELETED)
    before = stage.ask(vector)
    done = stage.texts.delete(DELETED)
    after = until(lambda: _without(stage.ask(vector), document), f"answers without {document}")
    took = milliseconds_since(done.sent)
    left = len(stage.chunks(document))
    return Evidence(
        (
            (done.what, done.text),
            ("ask", DELETED),
            ("before", _hit(before[0])),
            ("after", _hit(after[0])),
        ),
        f"{stage.world.written} → gone: {took:.0f} ms; chunks of {document} left in the store: {left}",
        holds=before[0].document_id == document and left == 0,
    )


def survive(stage: Stage[Any], poison: tuple[str, str], letters: int, bytes_sent: Sequence[bytes] = ()) -> Evidence:
    """What became of poison that was sent: so many dead letters, and an edit that goes through behind it.

    poison      a word and what was done
    bytes_sent  what the letters must hold, in order; nothing: whatever they do
    """
    title, sentence = EDITED[1][0], "This sentence was written after what is poison."
    found = stage.letters(letters)
    document = stage.texts.document(title)
    done = stage.texts.prepend(title, f"{sentence} ")
    until(lambda: chunks_with(stage.chunks(document), sentence), "the edit after the poison")
    took = milliseconds_since(done.sent)
    progress = stage.progress()
    intact = [value for _, value in found] == list(bytes_sent)
    return Evidence(
        (
            poison,
            *(("letter", brief(reason)) for reason, _ in found),
            ("job", f"{progress.state.lower()}; failures: {progress.failure or 'none'}"),
        ),
        f"{len(found)} dead letter{'s' if len(found) > 1 else ''}{' with their original bytes' if intact else ''}; "
        f"the next edit was in the store in {took:.0f} ms",
        holds=len(found) == letters
        and (intact or not bytes_sent)
        and all(reason for reason, _ in found)
        and progress.failure is None,
    )


def chunks_with(chunks: dict[str, Row], sentence: str) -> dict[str, Row] | None:
    """The chunks, once one of them has the sentence."""
    return chunks if any(sentence in chunk.text for chunk in chunks.values()) else None


def reached(count: int, wanted: int) -> int | None:
    """The count, once it is so high."""
    return count if count >= wanted else None


def _middle_paragraph() -> str:
    paragraphs = worlds.manual().paragraphs
    middle = len(paragraphs) // 2
    return next(text for text in paragraphs[middle:] if len(text) > 150 and paragraphs.count(text) == 1)


def _first_with(hits: list[Hit], sentence: str) -> Hit | None:
    return hits[0] if hits and sentence in hits[0].text else None


def _without(hits: list[Hit], document: str) -> list[Hit] | None:
    return hits if hits and all(hit.document_id != document for hit in hits) else None


def _hit(hit: Hit) -> str:
    text = hit.text.removeprefix("# ").removeprefix(str(hit.metadata["title"]))
    return f"{hit.score:.2f}  {hit.document_id}  {brief(text)!r}"
