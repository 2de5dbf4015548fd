"""Rows of KPIs on their way to their store: changes of a query's result, and a pandas UDF that writes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from pyflink.common import Row, RowKind, Types
from pyflink.datastream import DataStream, RuntimeContext
from pyflink.datastream.functions import FlatMapFunction
from pyflink.table import ChangelogMode, DataTypes, FunctionContext, StreamTableEnvironment
from pyflink.table.udf import ScalarFunction, udf

from connectors.opening.kpis import KpiPlace, open_kpis
from core.change import Event
from core.metrics import tally
from core.plans import Status
from core.stores.kpis import ColumnType, KpiChange, KpiTable
from flink_jobs import payloads
from flink_jobs.engine import workers
from flink_jobs.engine.metrics import Meters
from flink_jobs.steps.operators import BYTES
from flink_jobs.steps.refusing import refuse

CHANGED = Types.ROW_NAMED(["change"], [BYTES])
_GONE = (RowKind.DELETE, RowKind.UPDATE_BEFORE)
_AS_THEY_ARE = (ColumnType.TEXT, ColumnType.BOOLEAN, ColumnType.INTEGER, ColumnType.BIGINT, ColumnType.DOUBLE)
_PATIENCE_S = 120.0


def changes(tables: StreamTableEnvironment, table: KpiTable) -> DataStream:
    """How the rows of a KPI change, in one order: rows of CHANGED. Its view must have been planned.

    What Python doesn't take from Flink, times and decimal numbers, comes as text.
    """
    columns = ", ".join(
        f"`{name}`" if kind in _AS_THEY_ARE else f"CAST(`{name}` AS STRING) AS `{name}`"
        for name, kind in table.columns.items()
    )
    rows = tables.sql_query(f"SELECT {columns} FROM kpi_{table.name}")  # noqa: S608  # names that were planned
    changelog = tables.to_changelog_stream(rows, None, ChangelogMode.all())
    named = f"changes of {table.name}"
    changed = changelog.flat_map(_ToChange(table.name), CHANGED).name(named).uid(f"kpi-{table.name}")
    return changed.set_parallelism(1)


class _ToChange(FlatMapFunction):
    """A row with its kind to a KpiChange, encoded.

    What a row was before is gone until what it is comes, right behind it: a batch has both, and writes the last.
    """

    def __init__(self, kpi: str) -> None:
        self._kpi = kpi

    def flat_map(self, value: Row) -> Iterator[Any]:
        """One row in, one of CHANGED out."""
        change = KpiChange(self._kpi, tuple(value), value.get_row_kind() in _GONE)
        yield Row(payloads.KPI_CHANGE.encode(change))


class _WriteKpis(ScalarFunction):
    def __init__(self, place: KpiPlace, tables: Mapping[str, KpiTable]) -> None:
        self._place = place
        self._tables = dict(tables)
        self._meters = Meters()

    def open(self, function_context: FunctionContext) -> None:
        workers.begin()
        self._store = open_kpis(self._place, self._tables, _PATIENCE_S)
        self._meters.open(function_context.get_metric_group())

    def close(self) -> None:
        self._store.close()

    def is_deterministic(self) -> bool:
        return False

    def eval(self, changed: pd.Series[Any]) -> pd.Series[Any]:
        outcomes = self._store.apply([payloads.KPI_CHANGE.decode(raw) for raw in changed])
        for status, count in Counter(each.status for each in outcomes).items():
            if status is Status.APPLIED:
                self._meters.count("applied", count, store=self._place.name)
        self._meters.tell(tally.drain())
        refused = tuple(each for each in outcomes if each.status is Status.REJECTED)
        answers: list[bytes | None] = [None] * len(changed)
        if refused:
            answers[0] = payloads.REJECTED.encode(refused)
        return pd.Series(answers, dtype=object)


def write_kpis(place: KpiPlace, tables: Mapping[str, KpiTable]) -> Any:
    """The UDF: `write_kpis(change)` is the batch's rejected rows, encoded, or NULL."""
    return udf(_WriteKpis(place, tables), result_type=DataTypes.BYTES(), func_type="pandas")


class RejectedRows(FlatMapFunction):
    """Rows that a store refuses for good, to dead letters, which have the row's key for what can be read."""

    def __init__(self, pipeline: str) -> None:
        self._name = pipeline
        self._meters = Meters()

    def open(self, runtime_context: RuntimeContext) -> None:
        """Make the counters."""
        self._meters.open(runtime_context.get_metrics_group())

    def flat_map(self, value: Row) -> Iterator[Row]:
        """What the UDF answers in, rows of LETTERS out."""
        for outcome in payloads.REJECTED.decode(value[0]):
            event = Event("", 0, 0, outcome.document_id.encode("utf-8", "replace"), None)
            yield refuse(self._name, self._meters, "write", outcome, event, outcome.document_id)
