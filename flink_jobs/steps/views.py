"""The views that KPIs are queries over, and what Flink's planner says of a query before anything starts.

A KPI's rows must be told apart by its key, and one of the key's columns be a time: else a row would change for ever,
and so would what Flink remembers of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from py4j.protocol import Py4JJavaError
from pyflink.datastream import DataStream
from pyflink.table import ChangelogMode, Schema, StreamTableEnvironment
from pyflink.util.exceptions import TableException

from core.answers.kpis.ready_made import ReadyMade
from core.config.feedback import Feedback
from core.errors import ConfigError, brief
from core.stores.kpis import ColumnType, KpiTable
from flink_jobs.steps.rating import TURN_COLUMNS

_WEEK_MS = 7 * 86_400_000
_TIMES = {"asked_ms": "asked_at", "rated_ms": "rated_at"}
_RATINGS = """CREATE TEMPORARY VIEW ratings AS
    SELECT id, conversation, asked_at, rated_at, tenant, customer, model, rating, scale, comment_text, comment_sentiment
    FROM turns WHERE rating IS NOT NULL"""
_TYPES: Mapping[str, ColumnType] = {
    "CHAR": ColumnType.TEXT,
    "VARCHAR": ColumnType.TEXT,
    "BOOLEAN": ColumnType.BOOLEAN,
    "TINYINT": ColumnType.INTEGER,
    "SMALLINT": ColumnType.INTEGER,
    "INTEGER": ColumnType.INTEGER,
    "BIGINT": ColumnType.BIGINT,
    "FLOAT": ColumnType.DOUBLE,
    "DOUBLE": ColumnType.DOUBLE,
    "DECIMAL": ColumnType.DECIMAL,
    "DATE": ColumnType.DATE,
    "TIME_WITHOUT_TIME_ZONE": ColumnType.TIME,
    "TIMESTAMP_WITHOUT_TIME_ZONE": ColumnType.TIMESTAMP,
    "TIMESTAMP_WITH_LOCAL_TIME_ZONE": ColumnType.TIMESTAMP,
}
_TIME_ATTRIBUTE = re.compile(r" \*ROWTIME\*")
_SAID = re.compile(r"(?:Exception|Error): ([^\n]+)")
_MATERIALIZED = "upsertMaterialize=[true]"


def configure(tables: StreamTableEnvironment, feedback: Feedback) -> None:
    """What KPIs' queries run with: times in UTC, and state that ends.

    State goes a week after what `late` allows: by the machine's clock, so that a job may be stopped so long.
    """
    config = tables.get_config()
    config.set("table.local-time-zone", "UTC")
    config.set("table.exec.state.ttl", f"{feedback.late_ms + feedback.watermark_ms + _WEEK_MS} ms")


@contextmanager
def by_the_batch(tables: StreamTableEnvironment) -> Iterator[None]:
    """Queries that are translated meanwhile change a row at most twice a second.

    Others must not: Flink marks the batches of a query whose time isn't asked for by watermarks of the clock.
    """
    config = tables.get_config()
    config.set("table.exec.mini-batch.allow-latency", "500 ms")
    config.set("table.exec.mini-batch.size", "5000")
    config.set("table.exec.mini-batch.enabled", "true")
    try:
        yield
    finally:
        config.set("table.exec.mini-batch.enabled", "false")


def declare(tables: StreamTableEnvironment, turns: DataStream) -> None:
    """The views `turns` and `ratings` of changes of rows of TURNS, whose watermarks are those of `asked_at`."""
    schema = Schema.new_builder()
    for name, kind in TURN_COLUMNS.items():
        schema.column(name, kind)
    schema.column_by_expression("asked_at", "TO_TIMESTAMP_LTZ(`asked_ms`, 3)")
    schema.column_by_expression("rated_at", "TO_TIMESTAMP_LTZ(`rated_ms`, 3)")
    schema.watermark("asked_at", "SOURCE_WATERMARK()")
    rows = tables.from_changelog_stream(turns, schema.build(), ChangelogMode.all())
    tables.create_temporary_view("rated_turns", rows)
    columns = ", ".join(f"`{_TIMES.get(name, name)}`" for name in TURN_COLUMNS)
    tables.execute_sql(f"CREATE TEMPORARY VIEW turns AS SELECT {columns} FROM rated_turns")  # noqa: S608  # our own names
    tables.execute_sql(_RATINGS)


def planned(tables: StreamTableEnvironment, feedback: Feedback) -> dict[str, KpiTable]:
    """Each KPI's rows, by its name; its query is the view `kpi_NAME` from now on. The views must be declared.

    Raises ConfigError, with the file, the line and the planner's words, where one can't be planned, or its rows aren't
    bounded, or not told apart.
    """
    found, problems = {}, []
    for name, kpi in feedback.kpis.items():
        try:
            found[name] = _planned(tables, name, feedback.query(name))
        except ConfigError as error:
            at = f"{kpi.line}: " if kpi.line else ""
            problems += [f"{at}feedback.kpis.{name}.{problem}" for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    return found


def _planned(tables: StreamTableEnvironment, name: str, query: ReadyMade) -> KpiTable:
    try:
        rows = tables.sql_query(query.sql.rstrip().rstrip(";"))
        view = f"kpi_{name}"
        tables.create_temporary_view(view, rows)
        columns = [_column(each) for each in rows._j_table.getResolvedSchema().getColumns()]
        table = _table(name, columns, query.key)
        declared = ", ".join(_declared(column, sql_type, query.key) for column, _, sql_type in columns)
        key = ", ".join(map(_quoted, query.key))
        tables.execute_sql(
            f"CREATE TEMPORARY TABLE plan_{name} ({declared}, PRIMARY KEY ({key}) NOT ENFORCED) "
            "WITH ('connector' = 'blackhole')"
        )
        plan = tables.explain_sql(f"INSERT INTO plan_{name} SELECT * FROM {view}")  # noqa: S608  # our own names
    except (Py4JJavaError, TableException) as error:
        raise ConfigError([f"sql: {_words(error)}"]) from None
    if _MATERIALIZED in plan:
        raise ConfigError(
            [
                f"key is {', '.join(query.key)}, and several rows of sql may have the same: group by these columns, "
                "as they are, and no others"
            ]
        )
    return table


def _table(name: str, columns: list[tuple[str, str, str]], key: tuple[str, ...]) -> KpiTable:
    kinds = {}
    for column, root, sql_type in columns:
        if root not in _TYPES:
            raise ConfigError([f"sql: the column {column} is {sql_type}: CAST it to STRING, or leave it out"])
        kinds[column] = _TYPES[root]
    if missing := [each for each in key if each not in kinds]:
        raise ConfigError([f"key names {', '.join(missing)}, and the columns of sql are {', '.join(kinds)}"])
    if not any(kinds[each] in (ColumnType.TIMESTAMP, ColumnType.DATE) for each in key):
        raise ConfigError(
            [
                f"key is {', '.join(key)}, none of them a time: a row would change for ever, and its state never end. "
                "Group by FLOOR(asked_at TO HOUR), or by a window, and name that column in key"
            ]
        )
    for column, _, sql_type in columns:
        is_time = kinds[column] is ColumnType.TIMESTAMP
        if column in key and not is_time and "NOT NULL" not in sql_type:
            raise ConfigError(
                [
                    f"key names {column}, which may be NULL: write COALESCE({column}, '') AS {column}, and group by "
                    f"COALESCE({column}, '')"
                ]
            )
    return KpiTable(name, kinds, key)


def _column(column: Any) -> tuple[str, str, str]:
    """Its name, the root of its type, and its type as SQL has it."""
    kind = column.getDataType().getLogicalType()
    return column.getName(), str(kind.getTypeRoot()), _TIME_ATTRIBUTE.sub("", kind.asSummaryString())


def _declared(column: str, sql_type: str, key: tuple[str, ...]) -> str:
    bare = sql_type.removesuffix(" NOT NULL")
    return f"{_quoted(column)} {bare}{' NOT NULL' if column in key else ''}"


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _words(error: Exception) -> str:
    """What the planner says, without its classes and its stack."""
    found = _SAID.search(str(error))
    return brief(found[1] if found else str(error), 500)
