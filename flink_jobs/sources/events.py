"""Where a job's events come from: a Kafka topic as a table, streams of shards, a queue, or a watched folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pyflink.common import Row
from pyflink.datastream import DataStream, RuntimeContext
from pyflink.datastream.functions import FlatMapFunction
from pyflink.table import ChangelogMode, DataTypes, Schema, StreamTableEnvironment

from connectors.folder import files as local_files
from connectors.kafka import source as kafka
from core.change import Event
from core.config.pipeline import Pipeline
from core.config.source import DynamodbStreams, Folder, Kafka, Kinesis, Sqs
from core.errors import RecordsLost
from flink_jobs.engine.environment import MAX_PARALLELISM
from flink_jobs.engine.metrics import Meters
from flink_jobs.steps.operators import EVENT_FIELDS, LETTERS
from flink_jobs.steps.refusing import refuse

_EVENT = ", ".join(f"`{name}`" for name in EVENT_FIELDS)


@dataclass(frozen=True, slots=True)
class Feed:
    """`events` have EVENT_FIELDS, times and watermarks; `letters` are LETTERS that the source itself has to tell."""

    events: DataStream
    letters: tuple[DataStream, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a source is read with beside its own settings.

    pipeline     its name
    documents    what a pipeline file calls them
    parallelism  how many subtasks read
    jars         that the pipeline file adds to the job's, as URLs
    behind_ms    how much later than others of its time an event may be written
    """

    pipeline: str
    documents: tuple[str, ...]
    parallelism: int
    jars: tuple[str, ...]
    behind_ms: int = 0


def feed(tables: StreamTableEnvironment, pipeline: Pipeline) -> Feed:
    """The events of a pipeline's source."""
    jars = tuple(pipeline.flink_options.get("pipeline.jars", "").split(";"))
    behind_ms = 0 if pipeline.feedback is None else pipeline.feedback.watermark_ms
    reading = Reading(pipeline.name, tuple(pipeline.documents), pipeline.parallelism, jars, behind_ms)
    return READERS[pipeline.source.name](tables, reading, pipeline.source.chosen)


def _of_kafka(tables: StreamTableEnvironment, reading: Reading, settings: Kafka) -> Feed:
    """The source's rows; the event's time is the record's timestamp and no field, which would be converted for each."""
    tables.execute_sql(kafka.source_ddl("events", settings, f"freshet-{reading.pipeline}", reading.behind_ms))
    return Feed(_timed(tables, f"SELECT {_EVENT}, `ts` FROM events"))  # noqa: S608  # our own names


def _of_queue(tables: StreamTableEnvironment, reading: Reading, settings: Sqs) -> Feed:
    from flink_jobs.sources.queue import queue_source  # needs the extra `aws`

    return Feed(queue_source(tables, settings, reading.pipeline, reading.parallelism))


def _of_folder(tables: StreamTableEnvironment, reading: Reading, settings: Folder) -> Feed:
    from flink_jobs.sources.folder import folder_source  # needs watchfiles, which a bundle for the service lacks

    return Feed(folder_source(tables, local_files.opened(settings, reading.documents)))


def _of_kinesis(tables: StreamTableEnvironment, reading: Reading, settings: Kinesis) -> Feed:
    if settings.connector is not None:
        return Feed(_of_flinks_kinesis(tables, reading, settings))
    return _of_shards(tables, reading, settings)


def _of_shards(tables: StreamTableEnvironment, reading: Reading, settings: Kinesis | DynamodbStreams) -> Feed:
    from connectors.shards.streams import source_of  # both need the extra `aws`
    from flink_jobs.sources.shards import shard_source

    read = shard_source(tables, [source_of(settings)], reading.parallelism, MAX_PARALLELISM, reading.behind_ms)
    lost = read.lost.flat_map(_LostToLetter(reading.pipeline), LETTERS).name("lost").uid("lost")
    return Feed(read.events, (lost,))


READERS: Mapping[str, Callable[[StreamTableEnvironment, Reading, Any], Feed]] = {
    "kafka": _of_kafka,
    "kinesis": _of_kinesis,
    "dynamodb": _of_shards,
    "sqs": _of_queue,
    "file": _of_folder,
}
"""By the names of `core.config.source.Source`'s fields: what a job reads with, given the source's settings."""


def _of_flinks_kinesis(tables: StreamTableEnvironment, reading: Reading, kinesis: Kinesis) -> DataStream:
    """The records' bytes, and nothing of where they lay: the official connector has no metadata columns."""
    from connectors.kinesis.streams import check_flink_jar, flink_source_ddl  # needs the extra `aws`

    check_flink_jar(reading.jars)
    tables.execute_sql(flink_source_ddl("events", kinesis, f"freshet-{reading.pipeline}"))
    values = {
        "value": "`value`",
        "topic": f"'{kinesis.name}'",
        "partition": "0",
        "offset": "CAST(0 AS BIGINT)",
    }
    columns = ", ".join(
        f"{values.get(name, f'CAST(NULL AS {kind})')} AS `{name}`" for name, kind in EVENT_FIELDS.items()
    )
    return _timed(tables, f"SELECT {columns}, `ts` FROM events")  # noqa: S608  # names that the pipeline file's types bound


def _timed(tables: StreamTableEnvironment, query: str) -> DataStream:
    schema = Schema.new_builder()
    for column, kind in EVENT_FIELDS.items():
        schema.column(column, kind)
    schema.column_by_metadata("ts", DataTypes.TIMESTAMP_LTZ(3), "rowtime")
    return tables.to_changelog_stream(tables.sql_query(query), schema.build(), ChangelogMode.insert_only())


class _LostToLetter(FlatMapFunction):
    """Records that were trimmed before they were read, as a dead letter without bytes: nobody has them."""

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline
        self._meters = Meters()

    def open(self, runtime_context: RuntimeContext) -> None:
        """Make the counters."""
        self._meters.open(runtime_context.get_metrics_group())

    def flat_map(self, value: Row) -> Iterator[Row]:
        """`value` is one of LOST_ROWS."""
        stream, shard, after, oldest, why = value
        lost = RecordsLost(
            f"{stream}, {shard}: records {f'after {after}' if after else 'from the first on'}"
            f"{f' and before {oldest}' if oldest else ''} are gone unread ({why or 'the shard is no longer listed'}): "
            "run freshet verify --repair, or read the source anew, and read streams within their retention"
        )
        event = Event(stream, 0, 0, shard.encode(), None)
        yield refuse(self._pipeline, self._meters, "read", lost, event)
