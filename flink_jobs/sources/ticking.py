"""Sources that PyFlink lacks, as keyed functions that poll, woken by a source that ticks."""

from __future__ import annotations

from pyflink.common import TypeInformation, Types
from pyflink.datastream import DataStream
from pyflink.table import ChangelogMode, DataTypes, Schema, StreamTableEnvironment

from connectors.kafka import source as kafka
from flink_jobs.engine.worker_deaths import WatchWorkers
from flink_jobs.steps.aside import ASIDE_MS
from flink_jobs.steps.operators import BYTES, EVENT_FIELDS, HEADERS

# `arrived` is the event's time, `whole` the time below which nothing is still to come, both in ms since 1970
READ = Types.ROW_NAMED(
    [*EVENT_FIELDS, "arrived", "whole"],
    [BYTES, BYTES, Types.STRING(), Types.INT(), Types.LONG(), HEADERS, Types.LONG(), Types.LONG()],
)


def ticks(tables: StreamTableEnvironment) -> DataStream:
    """A row a second, for ever: it wakes functions that poll, and keeps the job alive."""
    tables.execute_sql(
        "CREATE TEMPORARY TABLE ticks (`n` BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '1')"
    )
    return tables.to_data_stream(tables.from_path("ticks"))


def timed(tables: StreamTableEnvironment, read: DataStream, behind_ms: int = 0) -> DataStream:
    """Rows of READ as rows of EVENT_FIELDS, with their times and watermarks.

    behind_ms  by how much a watermark is behind the time below which nothing is still to come
    """
    # by way of a table: a timestamp assigner of Python's would take every row to Python and back once more
    given = Schema.new_builder()
    for column, kind in EVENT_FIELDS.items():
        given.column(column, kind)
    given.column("arrived", "BIGINT").column("whole", "BIGINT")
    given.column_by_expression("ts", "TO_TIMESTAMP_LTZ(`arrived`, 3)")
    given.column_by_expression("floor", "TO_TIMESTAMP_LTZ(`whole`, 3)")
    tables.create_temporary_view("received", read, given.watermark("ts", kafka.behind("floor", behind_ms)).build())
    names = ", ".join(f"`{name}`" for name in EVENT_FIELDS)
    rows = tables.sql_query(f"SELECT {names}, `ts` FROM received")  # noqa: S608  # our own names
    taken = Schema.new_builder()
    for column, kind in EVENT_FIELDS.items():
        taken.column(column, kind)
    taken.column_by_metadata("ts", DataTypes.TIMESTAMP_LTZ(3), "rowtime")
    return tables.to_changelog_stream(rows, taken.build(), ChangelogMode.insert_only())


def clock(tables: StreamTableEnvironment, kind: TypeInformation, name: str, behind_ms: int = 0) -> DataStream:
    """A stream without rows whose watermark is the clock: else time stands still where every partition is idle.

    behind_ms  by how much it is behind the clock

    Each tick looks whether a Python worker has died too, which is noticed otherwise when there is work for it.
    """
    tables.execute_sql(
        f"""CREATE TEMPORARY TABLE {name}_ticks (
            `n` BIGINT, `ts` AS CAST(CURRENT_TIMESTAMP AS TIMESTAMP_LTZ(3)),
            WATERMARK FOR `ts` AS {kafka.behind("ts", behind_ms)}
        ) WITH ('connector' = 'datagen', 'rows-per-second' = '1')"""
    )
    rows = tables.sql_query(f"SELECT `n`, `ts` FROM {name}_ticks")  # noqa: S608  # our own names
    schema = Schema.new_builder().column("n", "BIGINT")
    schema.column_by_metadata("ts", DataTypes.TIMESTAMP_LTZ(3), "rowtime")
    ticks = tables.to_changelog_stream(rows, schema.build(), ChangelogMode.insert_only())
    return ticks.flat_map(WatchWorkers(), kind).name(f"{name} ticks").uid(f"{name}-ticks").set_buffer_timeout(ASIDE_MS)
