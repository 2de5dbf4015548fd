"""What the server in front of a store adds to a search: HTTP, reading the request, the question's vector."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import httpx
import numpy as np
import yaml
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from bench.rig import Rig
from connectors.opening.stores import open_stores
from core.change import Position
from core.config.pipeline import Pipeline
from core.plans import Plan, chunks
from core.stores.contract import VectorStore
from core.stores.filters.language import EVERYTHING
from udfs.embedding.contract import Embedder
from udfs.embedding.embedder import embedder

CHUNKS = 10_000
"""The most chunks that are searched."""

_K = 10
_WORDS = 4_000
_A_BATCH = 500
_SEARCHES = 400
_IN_TURN = 20
"""The first turn doesn't count."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What searches took: the store's own by its client and those over HTTP, by turns, one after the other.

    over_bare       median over HTTP, of a vector, ÷ median of the store's client
    bare_ms         the latter
    vector_ms       the former
    query_ms        median over HTTP of a question, which the hash embedder embeds
    server_own_ms   mean of a question over HTTP without what its embedding and the store took in the server
    first_answer_s  of the first search after the server said that it serves
    chunks          how many were searched
    """

    over_bare: float
    bare_ms: float
    vector_ms: float
    query_ms: float
    server_own_ms: float
    first_answer_s: float
    chunks: int


def measure(rig: Rig, most: int) -> Asked:
    """Fill a table with `most` documents of a chunk each, CHUNKS at the most, serve it, and search it by turns."""
    pipeline, count = rig.pipeline("asking", "hash", rig.topic("asking")), min(most, CHUNKS)
    model, choices = embedder("hash"), random.Random(7)
    (store,) = open_stores(pipeline, model.dimension).values()
    try:
        _fill(store, pipeline, model, [_text(choices) for _ in range(count)])
        questions = [_text(choices) for _ in range(_SEARCHES)]
        with tempfile.TemporaryDirectory() as folder, _served(Path(folder), pipeline) as url:
            return _asked(store, url, questions, model.embed(questions), count)
    finally:
        store.close()


def _text(choices: random.Random) -> str:
    return " ".join(f"w{choices.randrange(_WORDS)}" for _ in range(60))


def _fill(store: VectorStore, pipeline: Pipeline, model: Embedder, texts: Sequence[str]) -> None:
    store.prepare()
    for begin in range(0, len(texts), _A_BATCH):
        plans = [_plan(pipeline, number, text) for number, text in enumerate(texts[begin : begin + _A_BATCH], begin)]
        store.apply(plans, [model.embed([chunk.text for chunk in each.write]) for each in plans])


def _plan(pipeline: Pipeline, number: int, text: str) -> Plan:
    (table,) = pipeline.documents
    document_id = f"{table}/{number}"
    made = chunks(document_id, text, [(0, len(text))], pipeline.embedding.model, "bench")
    return Plan(document_id, Position("1"), tuple(each.chunk_id for each in made), made, {"updated_at": str(number)})


@contextmanager
def _served(folder: Path, pipeline: Pipeline) -> Iterator[str]:
    """The URL of a server of the pipeline, in a process of its own."""
    settings = {"name": "bench", "indexes": {"asking": {"pipeline": "pipeline.yaml"}}}
    (folder / "serve.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    file = pipeline.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(file), encoding="utf-8")
    command = [sys.executable, "-m", "cli", "serve", str(folder / "serve.yaml"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            yield line.removeprefix("serving at ").partition(",")[0].strip()
        finally:
            process.terminate()


def _asked(store: VectorStore, url: str, questions: Sequence[str], vectors: NDArray[np.float32], count: int) -> Asked:
    with httpx.Client(base_url=url, timeout=30) as http:

        def ask(body: dict[str, Any]) -> float:
            return _seconds(partial(_answer, http, {**body, "k": _K}))

        first_s = ask({"query": questions[0]})
        taken: dict[str, list[float]] = {"bare": [], "vector": [], "query": []}
        for begin in range(0, len(questions), _IN_TURN):
            turn = range(begin, min(begin + _IN_TURN, len(questions)))
            taken["bare"] += [_seconds(partial(store.search, vectors[at], _K, EVERYTHING)) for at in turn]
            taken["vector"] += [ask({"vector": vectors[at].tolist()}) for at in turn]
            taken["query"] += [ask({"query": questions[at]}) for at in turn]
        steps_s = _mean(http, "embed") + _mean(http, "store")
    bare, vector, query = (median(taken[way][_IN_TURN:]) for way in ("bare", "vector", "query"))
    own_s = fmean(taken["query"][_IN_TURN:]) - steps_s
    return Asked(vector / bare, bare * 1000, vector * 1000, query * 1000, own_s * 1000, first_s, count)


def _answer(http: httpx.Client, body: dict[str, Any]) -> None:
    http.post("/v1/indexes/asking/search", json=body).raise_for_status()


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _mean(http: httpx.Client, step: str) -> float:
    """What the server says that a step took on average, in seconds."""
    text = http.get("/metrics").raise_for_status().text
    found = {
        each.name.rpartition("_")[2]: each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
        if family.name == "freshet_serve_query_seconds" and each.labels.get("step") == step
    }
    return found["sum"] / found["count"]
