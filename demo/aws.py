"""What the demos of AWS's feeds have in common: the server that plays it, and claims about a collection as a whole."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Protocol

from connectors.aws.client import Aws
from core.config.documents import Chunk
from core.documents.step import Chunker
from demo import world as worlds
from demo.stage import Evidence, NotSeen, Stage, Texts, milliseconds_since, sent_now, until
from stack.local import Stack
from udfs.embedding.tokenizing import document_chunker
from workloads.articles import Article, Step, history
from workloads.texts import texts

REGION = "eu-central-1"
_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo", "AWS_REGION": REGION}
CREDENTIALS = f"export {' '.join(f'{name}={value}' for name, value in _CREDENTIALS.items())}"
"""What commands that go on with a demo need in their environment."""

CHUNK = Chunk()
MANUAL = 1_000
"""The number of the manual among the articles'."""

_FIRST = 10_001
_CHANGES = 300
_AT_ONCE = 25
_EQUAL_SECONDS = 180.0


def account(stack: Stack) -> Aws:
    """Where AWS is played; from now on this process, and what it starts, has credentials, which are none."""
    assert stack.aws is not None
    os.environ.update(_CREDENTIALS)
    os.environ.pop("AWS_SESSION_TOKEN", None)
    os.environ.pop("AWS_PROFILE", None)
    return Aws(REGION, stack.aws.endpoint)


class Collection(Texts, Protocol):
    """Texts that can be written in any amount, and read whole."""

    @property
    def name(self) -> str:
        """What it is, as in "the bucket"."""

    def write(self, steps: Sequence[Step]) -> str:
        """Make changes of articles that are not the demo's own; what was done, in words."""

    def text(self, article: Article) -> str:
        """What an article's document says."""

    def truth(self) -> Mapping[str, str]:
        """The text of each document, as the collection is now."""


def keep_up(stage: Stage[Collection]) -> Evidence:
    """Inserts, edits and deletes as fast as they can be made; what all their versions would have cost the model."""
    articles = [(text.title, text.paragraphs) for text in texts()]
    made = islice(history(articles, "made.public.articles", 1, time.time_ns), _CHANGES)
    steps = [_moved(step) for step in made]
    chunker = document_chunker(worlds.MODEL, CHUNK)
    versions = sum(len(_cut(chunker, stage.texts.text(step.article))) for step in steps if step.article is not None)
    embedded = stage.settled("chunks_embedded")
    sent = sent_now()
    for at in range(0, len(steps), _AT_ONCE):
        how = stage.texts.write(steps[at : at + _AT_ONCE])
    wrote = milliseconds_since(sent) / 1000
    documents, chunks = _equal(stage)
    took = milliseconds_since(sent) / 1000
    model_saw = stage.settled("chunks_embedded") - embedded
    return Evidence(
        (
            ("writes", f"{len(steps)} inserts, edits and deletes in {wrote:.1f} s; {how}"),
            ("store", f"equal to {stage.texts.name} {took:.1f} s after the first write"),
            ("model", f"embedded {model_saw} of the {versions} chunks that all versions together have"),
        ),
        f"{documents} documents, {chunks} chunks as in {stage.texts.name}; {versions - model_saw} embeddings saved",
        holds=0 < model_saw < versions,
    )


def equal(stage: Stage[Collection]) -> Evidence:
    """Each text of the collection, cut anew, against the store's chunks."""
    documents, chunks = _equal(stage)
    counts = stage.progress().counts
    embedded = counts["chunks_embedded"]
    saved = counts.get("chunks_kept", 0) + counts.get("chunks_reused", 0)
    return Evidence(
        (
            ("truth", f"{stage.texts.name} was read whole, and each text cut anew"),
            ("job", f"chunks embedded: {embedded}; seen again and not embedded again: {saved}"),
        ),
        f"{documents} documents, {chunks} chunks: none missing, none too many, none other",
        holds=True,
    )


def unchanged(stage: Stage[Collection], counter: str, sent: float, written: int, before: Mapping[str, int]) -> Evidence:
    """What it cost the model that `written` texts were written again as they are.

    counter  of the job's, which counts them; `before` were the counters before that
    """
    until(lambda: True if stage.count(counter) - before.get(counter, 0) >= written else None, f"{written} {counter}")
    took = milliseconds_since(sent) / 1000
    model_saw = stage.settled("chunks_embedded") - before["chunks_embedded"]
    return Evidence(
        (("job", f"saw all {written} of them within {took:.1f} s"),),
        f"{model_saw} chunks embedded for {written} writes",
        holds=model_saw == 0,
    )


def _moved(step: Step) -> Step:
    number = step.id + _FIRST - 1
    return replace(step, id=number, article=None if step.article is None else replace(step.article, id=number))


def _equal(stage: Stage[Collection]) -> tuple[int, int]:
    """How many documents and chunks there are, once the store has what the collection has now.

    Raises NotSeen with what differs.
    """
    chunker = document_chunker(worlds.MODEL, CHUNK)
    truth = {document: _cut(chunker, text) for document, text in stage.texts.truth().items()}
    truth = {document: chunks for document, chunks in truth.items() if chunks}
    deadline = time.monotonic() + _EQUAL_SECONDS
    while (stored := stage.stored()) != truth:
        if time.monotonic() > deadline:
            other = sorted(each for each in stored.keys() | truth.keys() if stored.get(each) != truth.get(each))
            raise NotSeen(f"{len(other)} documents differ from {stage.texts.name}, among them {', '.join(other[:3])}")
        time.sleep(0.1)
    return len(stored), sum(map(len, stored.values()))


def _cut(chunker: Chunker, text: str) -> list[str]:
    return [text[begin:end] for begin, end in chunker.ranges(text)] if text.strip() else []
