"""The vector pipeline as a Flink job: source, decode, plan, apply; dead letters from each."""

from __future__ import annotations

from collections.abc import Mapping

from pyflink.common import Types
from pyflink.datastream import DataStream, StreamExecutionEnvironment
from pyflink.table import DataTypes, Schema, StreamTableEnvironment

from connectors.opening.dead_letters import place_of_letters
from connectors.opening.stores import stores_of
from core.config.pipeline import Pipeline
from core.stores.fingerprint import Owner
from flink_jobs.engine.workers import leave_bundles_to_workers
from flink_jobs.sources.events import feed
from flink_jobs.sources.ticking import clock
from flink_jobs.steps import letters as letters_topic
from flink_jobs.steps import outcomes_topic
from flink_jobs.steps.apply import functions
from flink_jobs.steps.aside import ASIDE_MS, aside
from flink_jobs.steps.asking import EMBED_AND_WRITE, answers
from flink_jobs.steps.keying import by_key
from flink_jobs.steps.operators import (
    CHANGE,
    CHANGES,
    DEAD_LETTERS,
    LETTERS,
    PLANS,
    SWEEP,
    SWEEPS,
    SWEPT,
    UNSETTLED,
    UNSETTLED_ROW,
    UNSETTLED_ROWS,
    RejectedToLetter,
)
from flink_jobs.steps.passing import DecodeAndMark, marking
from flink_jobs.steps.planning import PlanDocument
from flink_jobs.steps.progress import kept
from flink_jobs.steps.settling import Nothing, Settle, Sweep

_DUE = Types.ROW_NAMED(["table", "position"], [Types.STRING(), Types.STRING()])
_NOW = "CAST(CURRENT_TIMESTAMP AS TIMESTAMP_LTZ(3))"


def build(
    pipeline: Pipeline, environment: StreamExecutionEnvironment, sources: Mapping[str, str], owner: Owner | None
) -> None:
    """Put the whole job on the environment; `sources` and `owner` are as in `flink_jobs.job.build`.

    Every operator has the pipeline's parallelism and one shuffle, by document, stands before the plan: so a
    document's plans reach the store in the order in which they were made.
    """
    tables = StreamTableEnvironment.create(environment)
    place = place_of_letters(pipeline)
    letters_topic.declare(tables, place)
    tells = pipeline.outcomes is not None
    if tells:
        outcomes_topic.declare(tables, *pipeline.outcomes_topic)
    documents, embedding, stores = pipeline.documents, pipeline.embedding, stores_of(pipeline, owner)
    of_objects, bounded = pipeline.format.objects is not None, pipeline.source.chosen.is_bounded
    for name, function in functions(stores, embedding, pipeline.job.chunks, of_objects, tells).items():
        tables.create_temporary_function(name, function)

    source = feed(tables, pipeline)
    changes, readers = _changes(pipeline, source.events, sources)
    plans = (
        by_key(changes, CHANGE)
        .process(PlanDocument(documents, embedding, stores, bounded, tells), PLANS)
        .name("plan")
        .uid("plan")
        # In a task of its own the plan goes on while a batch is embedded and written, and the next batch is fuller.
        .start_new_chain()
    )
    unsettled = aside(plans, UNSETTLED)
    waiting = unsettled if bounded else unsettled.union(clock(tables, UNSETTLED_ROWS, "settle"))
    settled = (
        by_key(waiting, UNSETTLED_ROW)
        .process(Settle(documents, embedding, stores, pipeline.database, pipeline.events.debezium, tells), PLANS)
        .name("settle")
        .uid("settle")
        .set_buffer_timeout(ASIDE_MS)
    )
    applied = _apply(tables, plans.union(settled))
    rejected = applied.flat_map(RejectedToLetter(pipeline.name), LETTERS).name("rejected").uid("rejected")
    rejected.set_buffer_timeout(ASIDE_MS)
    kept(pipeline, applied, owner)
    sweeps = aside(changes, SWEPT)
    cleared = _sweep(tables, sweeps if bounded else sweeps.union(clock(tables, SWEEPS, "sweep")), applied)
    swept = cleared.flat_map(Nothing(), LETTERS).name("cleared").uid("cleared").set_buffer_timeout(ASIDE_MS)
    refused = (aside(stream, DEAD_LETTERS) for stream in (*readers, plans, settled))
    letters = rejected.union(swept, *source.letters, *refused)
    statements = tables.create_statement_set()
    statements.add_insert_sql(letters_topic.written(tables, place, letters))
    if tells:
        statements.add_insert_sql(outcomes_topic.written(tables, *pipeline.outcomes_topic, applied, cleared))
    statements.attach_as_datastream()
    leave_bundles_to_workers(tables, environment)


def _changes(
    pipeline: Pipeline, events: DataStream, sources: Mapping[str, str]
) -> tuple[DataStream, tuple[DataStream, ...]]:
    """The changes that events tell, and the operators on the way that may refuse one."""
    if pipeline.format.objects is not None:
        from flink_jobs.steps.objects import unfolded  # needs the extras `aws` and `objects`

        return unfolded(pipeline, events)
    decoding = DecodeAndMark(pipeline.name, pipeline.events, marking(pipeline), sources)
    changes = events.process(decoding, CHANGES).name("decode").uid("decode")
    return changes, (changes,)


def _apply(tables: StreamTableEnvironment, plans: DataStream) -> DataStream:
    """Embed and write each plan; what comes out are the rejected ones, and the watermarks of all that is applied."""
    tables.create_temporary_view("plans", tables.from_data_stream(plans, _watermarked("plan", "event")))
    return answers(tables, "plans", EMBED_AND_WRITE, "rejected", "event")


def _sweep(tables: StreamTableEnvironment, sweeps: DataStream, applied: DataStream) -> DataStream:
    """Clear tables of what was truncated, or not seen in a snapshot; what comes out is for outcomes alone."""
    passed = applied.flat_map(Nothing(), SWEEPS).name("watermark").uid("watermark").set_buffer_timeout(ASIDE_MS)
    due = (
        by_key(sweeps.union(passed), SWEEP)
        .process(Sweep(), _DUE)
        .name("sweep")
        .uid("sweep")
        .set_buffer_timeout(ASIDE_MS)
    )
    tables.create_temporary_view("sweeps", tables.from_data_stream(due))
    return answers(tables, "sweeps", "clear_table(`table`, `position`)", "cleared")


def _watermarked(*columns: str) -> Schema:
    """A stream's watermarks reach a table only through a time attribute, though nobody reads it."""
    builder = Schema.new_builder()
    for column in columns:
        builder.column(column, DataTypes.BYTES())
    # Any time: rows that came by a side output, or of a timer, have none of their own.
    return builder.column_by_expression("ts", _NOW).watermark("ts", "SOURCE_WATERMARK()").build()
