"""The pipeline against the bare model: the same texts, the same device, the same machine at the same time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib import import_module

import psycopg
from psycopg import sql

from bench.events import inserts
from bench.rig import Rig, pgvector, positions, running, until
from connectors.kafka.producer import ensure_topics, produce
from core.config.embedding import Embedding
from core.config.pipeline import Pipeline
from udfs.embedding.tokenizing import model_path
from workloads.texts import texts

_BATCH_SIZE = 32
"""The default of `SentenceTransformer.encode`."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Chunks a second of both, over all rounds. `device` is the bare model's: what sentence-transformers chooses."""

    ratio: float
    pipeline_chunks_per_second: float
    raw_chunks_per_second: float
    chunks: int
    rounds: int
    device: str


def measure(rig: Rig, model: str, documents: int, rounds: int, embedding: Embedding | None = None) -> Ratio:
    """Both speeds on the chunks of so many articles, in turns: raw, then pipeline, raw, … so that both share a drift.

    Pipeline: the job runs and has embedded one article; then all others are produced at once. The clock runs from
    before the first is given to the producer until the last one's rows are committed: reading, decoding, chunking,
    embedding and writing count, the job's start doesn't.
    Raw: `SentenceTransformer.encode` of the same chunks, read back from the store, in one call in this process, after
    a first call that isn't counted. The servers run, and no job. Both sides' OpenMP threads sleep while they wait.

    embedding  where the pipeline has its vectors from, if not from the model in its own worker
    """
    import_module("udfs.embedding.transformer")  # before torch: it settles how OpenMP waits, for both sides alike
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    raw_model = SentenceTransformer(str(model_path(model)), local_files_only=True)
    raw_seconds: list[float] = []
    pipeline_seconds: list[float] = []
    chunks: list[str] = []
    for number in range(rounds):
        seconds, chunks = _pipeline_seconds(rig, model, documents, f"raw{number}", embedding)
        pipeline_seconds.append(seconds)
        if not number:
            raw_model.encode(chunks[:_BATCH_SIZE], batch_size=_BATCH_SIZE, normalize_embeddings=True)
        raw_seconds.append(_raw_seconds(raw_model, chunks))
    fast, raw = (len(chunks) * rounds / sum(seconds) for seconds in (pipeline_seconds, raw_seconds))
    return Ratio(fast / raw, fast, raw, len(chunks), rounds, str(raw_model.device))


def _raw_seconds(model: object, chunks: list[str]) -> float:
    started = time.perf_counter()
    model.encode(chunks, batch_size=_BATCH_SIZE, normalize_embeddings=True, show_progress_bar=False)  # type: ignore[attr-defined]
    return time.perf_counter() - started


def _pipeline_seconds(
    rig: Rig, model: str, documents: int, what: str, embedding: Embedding | None
) -> tuple[float, list[str]]:
    topic = rig.topic(what)
    pipeline = rig.pipeline(what, model, topic)
    if embedding is not None:
        pipeline = pipeline.model_copy(update={"embedding": embedding})
    first, *others = inserts(topic, pipeline, texts()[: documents + 1])
    wanted = [each.document for each in others]
    records = [record for each in others for record in each.records]
    servers = rig.stack.kafka.bootstrap_servers
    ensure_topics(servers, {topic: 1})
    with running(pipeline) as job, psycopg.connect(rig.dsn, autocommit=True) as connection:
        produce(servers, first.records)
        until(lambda: bool(positions(connection, pipeline, [first.document])), job, "the first article")
        started = time.perf_counter()
        produce(servers, records)
        until(lambda: len(positions(connection, pipeline, wanted)) == len(wanted), job, "the last article")
        return time.perf_counter() - started, _chunks(connection, pipeline, wanted)


def _chunks(connection: psycopg.Connection[tuple[str]], pipeline: Pipeline, documents: list[str]) -> list[str]:
    table = sql.Identifier(pgvector(pipeline).table)
    query = sql.SQL("SELECT text FROM {} WHERE document_id = ANY(%s) ORDER BY document_id, ordinal").format(table)
    return [text for (text,) in connection.execute(query, (documents,))]
