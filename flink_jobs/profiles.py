"""The profile pipeline as a Flink job: source, decode, parse, link, write; then its profiles' vectors."""

from __future__ import annotations

from collections.abc import Mapping

from pyflink.datastream import DataStream, StreamExecutionEnvironment
from pyflink.table import StreamTableEnvironment

from connectors.opening.dead_letters import place_of_letters
from connectors.opening.stores import stores_of
from core.config.pipeline import Pipeline
from core.stores.fingerprint import Owner
from flink_jobs.engine import one_core
from flink_jobs.engine.workers import leave_bundles_to_workers
from flink_jobs.sources.events import feed
from flink_jobs.sources.ticking import clock
from flink_jobs.steps import letters as letters_topic
from flink_jobs.steps.apply import functions
from flink_jobs.steps.aside import ASIDE_MS, aside
from flink_jobs.steps.asking import EMBED_AND_WRITE, answers
from flink_jobs.steps.delivering import profile_functions
from flink_jobs.steps.keying import by_key
from flink_jobs.steps.linking import (
    DELIVERIES,
    RECORD,
    RECORDS,
    SWEPT_TABLES,
    LinkPersons,
    ParseRecord,
    PlansOfWritten,
    SweepToRecord,
)
from flink_jobs.steps.operators import CHANGE, CHANGES, DEAD_LETTERS, LETTERS, PLANS, SWEPT, Decode, RejectedToLetter
from flink_jobs.steps.progress import kept


def build(
    pipeline: Pipeline, environment: StreamExecutionEnvironment, sources: Mapping[str, str], owner: Owner | None
) -> None:
    """Put the whole job on the environment; `sources` and `owner` are as in `flink_jobs.job.build`.

    Rows are read, decoded and parsed with the pipeline's parallelism, by record. Linking and all behind it is one task
    each, in one order: a delivery may concern several profiles, and a store must see each as a whole.
    """
    tables = StreamTableEnvironment.create(environment)
    place = place_of_letters(pipeline)
    letters_topic.declare(tables, place)
    job, embedding, stores = pipeline.profiles_job, pipeline.embedding, stores_of(pipeline, owner)
    named, bounded = bool(pipeline.store.names), pipeline.source.chosen.is_bounded
    for name, function in {
        **profile_functions(stores, embedding),
        **(functions(stores, embedding, job.chunks, of_objects=False, tells=False) if named else {}),
    }.items():
        tables.create_temporary_function(name, function)

    source = feed(tables, pipeline)
    decode = Decode(pipeline.name, pipeline.events, sources, begin=one_core.stay)
    changes = source.events.process(decode, CHANGES).name("decode").uid("decode")
    swept = aside(changes, SWEPT)
    parse = ParseRecord(pipeline.name, job.profiles, pipeline.delete_retention_ms, bounded)
    keyed = by_key(changes, CHANGE).connect(swept.broadcast(SWEPT_TABLES))
    records = keyed.process(parse, RECORDS).name("parse").uid("parse")
    sweeps = swept.flat_map(SweepToRecord(), RECORDS).name("sweeps").uid("sweeps")
    if not bounded:
        sweeps = sweeps.union(clock(tables, RECORDS, "link"))
    linked = (
        by_key(records.union(sweeps), RECORD)
        .process(LinkPersons(job, stores), DELIVERIES)
        .name("link")
        .uid("link")
        .set_parallelism(1)
        # In a task of its own it goes on while a batch is written, and the next batch is fuller.
        .disable_chaining()
    )
    plans = _write(tables, pipeline.name, linked)
    letters = aside(changes, DEAD_LETTERS).union(
        *(aside(stream, DEAD_LETTERS) for stream in (records, linked, plans)), *source.letters
    )
    if named:
        applied = _embed(tables, plans)
        kept(pipeline, applied, owner)
        rejected = applied.flat_map(RejectedToLetter(pipeline.name), LETTERS).name("rejected").uid("rejected")
        letters = letters.union(rejected.set_parallelism(1).set_buffer_timeout(ASIDE_MS))
    statements = tables.create_statement_set()
    statements.add_insert_sql(letters_topic.written(tables, place, letters))
    statements.attach_as_datastream()
    leave_bundles_to_workers(tables, environment)


def _write(tables: StreamTableEnvironment, pipeline: str, linked: DataStream) -> DataStream:
    """Write each delivery; what comes out are the plans of its profiles' vectors."""
    tables.create_temporary_view("deliveries", tables.from_data_stream(linked))
    written = answers(tables, "deliveries", "write_profiles(`delivery`)", "written", "event")
    plans = written.process(PlansOfWritten(pipeline), PLANS).name("vectors").uid("vectors").set_parallelism(1)
    # Chained, each of the two batches would wait for the other, and be small.
    return plans.disable_chaining()


def _embed(tables: StreamTableEnvironment, plans: DataStream) -> DataStream:
    """Embed and write each plan; what comes out are the rejected ones."""
    tables.create_temporary_view("plans", tables.from_data_stream(plans))
    return answers(tables, "plans", EMBED_AND_WRITE, "rejected", "event")
