"""What the server in front of a store adds to a search: HTTP, reading the request, the question's vector."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from statistics import fmean, median
from types import MappingProxyType
from typing import Any

import httpx
import msgspec
import numpy as np
import yaml
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from bench import answering
from bench.answering import MODEL, Answering, instant_model
from bench.client import IN_TURN, connected, seconds, sent
from bench.figures import Percentiles
from bench.rig import Rig
from bench.waiting_for import waited
from connectors.opening.stores import open_stores, stores_of
from core.change import Position
from core.config.pipeline import Pipeline
from core.config.store import OpenSearch
from core.plans import Plan, chunks
from core.stores.contract import VectorStore
from core.stores.filters.language import EVERYTHING
from udfs.embedding.contract import Embedder
from udfs.embedding.embedder import embedder

NO_ANSWER: Mapping[str, Any] = MappingProxyType({})
CHUNKS = 10_000
"""The most chunks that are searched."""

_K = 10
_WORDS = 4_000
_A_BATCH = 500
_SEARCHES = 400


@dataclass(frozen=True, slots=True)
class Asked:
    """What searches took: the store's own by its client and those over HTTP, by turns, one after the other.

    over_bare       median over HTTP, of a vector, ÷ median of the store's client
    bare_ms         the latter
    vector_ms       the former
    query_ms        median over HTTP of a question, which the hash embedder embeds
    empty_ms        median of a request that does nothing, `/health`
    server_own_ms   mean of a question over HTTP without what its embedding and the store took in the server
    first_answer_s  of the first search after the server said that it serves
    wait_for_ms     from the commit of a document's row until a search that waits for it is answered
    answering       what contexts and chats take beside that
    chunks          how many were searched
    """

    over_bare: float
    bare_ms: float
    vector_ms: float
    query_ms: float
    empty_ms: float
    server_own_ms: float
    first_answer_s: float
    wait_for_ms: Percentiles
    answering: Answering
    chunks: int


def measure(rig: Rig, most: int) -> dict[str, Asked]:
    """Fill a store with `most` documents of a chunk each, CHUNKS at the most, serve it, and search it by turns.

    And how long a search that waits for a document is answered after that document's row was committed.
    By the store's name: PostgreSQL, and OpenSearch where the stack has it.
    """
    pipeline, count = _with_opensearch(rig, rig.pipeline("asking", "hash", rig.topic("asking"))), min(most, CHUNKS)
    model, choices = embedder("hash"), random.Random(7)
    texts = {str(number): _text(choices) for number in range(count)}
    questions = [_text(choices) for _ in range(_SEARCHES)]
    vectors = model.embed(questions)
    stores = open_stores(stores_of(pipeline), model.dimension)
    try:
        for store in stores.values():
            fill(store, pipeline, model, texts)
        with (
            instant_model() as answers,
            tempfile.TemporaryDirectory() as folder,
            served(Path(folder), pipeline, {"openai": {"url": answers, "model": MODEL}}) as url,
        ):
            return {
                name: _asked(
                    store, name, url, questions, vectors, count, partial(_changed, store, pipeline, model, count),
                    partial(answering.measure, url, answers, name, questions),
                )
                for name, store in stores.items()
            }  # fmt: skip
    finally:
        for store in stores.values():
            store.close()
        _forget(rig, pipeline)


def _with_opensearch(rig: Rig, pipeline: Pipeline) -> Pipeline:
    if rig.stack.opensearch is None:
        return pipeline
    there = OpenSearch(hosts=(rig.stack.opensearch.url,), index=f"{rig.prefix}-asking")
    return pipeline.model_copy(update={"store": pipeline.store.model_copy(update={"opensearch": there})})


def _forget(rig: Rig, pipeline: Pipeline) -> None:
    """What the end of the rig's database doesn't take with it."""
    if rig.stack.opensearch is not None:
        index = pipeline.store.of(OpenSearch).index
        httpx.delete(f"{rig.stack.opensearch.url}/{index},{index}-ledger?ignore_unavailable=true").raise_for_status()


def _text(choices: random.Random) -> str:
    return " ".join(f"w{choices.randrange(_WORDS)}" for _ in range(60))


def fill(store: VectorStore, pipeline: Pipeline, model: Embedder, texts: Mapping[str, str]) -> None:
    """Make what is missing of a store, and write documents of a chunk each, by their keys."""
    store.prepare()
    plans = [_plan(pipeline, key, text) for key, text in texts.items()]
    for begin in range(0, len(plans), _A_BATCH):
        batch = plans[begin : begin + _A_BATCH]
        vectors = model.embed([chunk.text for each in batch for chunk in each.write])
        store.apply(batch, [vectors[at : at + 1] for at in range(len(batch))])


def _plan(pipeline: Pipeline, key: str, text: str) -> Plan:
    (table,) = pipeline.documents
    return plan_of(f"{table}/{key}", text, pipeline.embedding.model, {"updated_at": key})


def plan_of(document_id: str, text: str, model: str, metadata: Mapping[str, Any]) -> Plan:
    """The plan of a document that is one chunk."""
    made = chunks(document_id, text, [(0, len(text))], model, "bench")
    return Plan(document_id, Position("1"), tuple(each.chunk_id for each in made), made, metadata)


@contextmanager
def served(folder: Path, pipeline: Pipeline, answer: Mapping[str, Any] = NO_ANSWER) -> Iterator[str]:
    """The URL of a server of the pipeline, in a process of its own; `answer`: its part of the server's file."""
    indexes = {name: {"pipeline": "pipeline.yaml", "store": name} for name in pipeline.store.names}
    settings = {"name": "bench", "indexes": indexes, "answer": dict(answer)}
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


def _changed(store: VectorStore, pipeline: Pipeline, model: Embedder, count: int, number: int) -> Plan:
    """Write the document behind the others anew, as the change of this number."""
    position = Position(f"{number:016x}.{number:016x}")
    plan = replace(_plan(pipeline, str(count), f"change {number} of the last"), position=position)
    store.apply([plan], [model.embed([chunk.text for chunk in plan.write])])
    return plan


def _asked(
    store: VectorStore,
    name: str,
    url: str,
    questions: Sequence[str],
    vectors: NDArray[np.float32],
    count: int,
    change: Callable[[int], Plan],
    answer: Callable[[], Answering],
) -> Asked:
    with closing(connected(url)) as http:

        def ask(body: dict[str, Any]) -> float:
            return seconds(lambda: _whole(http, "POST", f"/v1/indexes/{name}/search", {**body, "k": _K}))

        given = vectors.tolist()
        first_s = ask({"query": questions[0]})
        taken: dict[str, list[float]] = {"bare": [], "vector": [], "query": [], "empty": []}
        for begin in range(0, len(questions), IN_TURN):
            turn = range(begin, min(begin + IN_TURN, len(questions)))
            taken["bare"] += [seconds(partial(store.search, vectors[at], _K, EVERYTHING)) for at in turn]
            taken["vector"] += [ask({"vector": given[at]}) for at in turn]
            taken["query"] += [ask({"query": questions[at]}) for at in turn]
            taken["empty"] += [seconds(partial(_whole, http, "GET", "/health")) for _ in turn]
        steps_s = sum(_mean(url, name, step) for step in ("embed", "store"))
        wait_for = waited(change, lambda fields: ask({"vector": given[0], **fields}))
    bare, vector, query, empty = (median(taken[way][IN_TURN:]) * 1000 for way in ("bare", "vector", "query", "empty"))
    own_s = fmean(taken["query"][IN_TURN:]) - steps_s
    return Asked(vector / bare, bare, vector, query, empty, own_s * 1000, first_s, wait_for, answer(), count)


def _whole(http: HTTPConnection, method: str, path: str, body: object = None) -> None:
    """Ask, and read the answer as JSON: the store's client gives hits too."""
    msgspec.json.decode(sent(http, method, path, body).read())


def _mean(url: str, index: str, step: str) -> float:
    """What the server says that a step of an index' searches took on average, in seconds."""
    text = httpx.get(f"{url}/metrics").raise_for_status().text
    found = {
        each.name.rpartition("_")[2]: each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
        if family.name == "freshet_serve_query_seconds" and (each.labels["index"], each.labels["step"]) == (index, step)
    }
    return found["sum"] / found["count"]
