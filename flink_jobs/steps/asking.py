"""Calls of a job's functions in SQL, and their answers, without those that are NULL."""

from __future__ import annotations

from pyflink.datastream import DataStream
from pyflink.table import StreamTableEnvironment

EMBED_AND_WRITE = "write_plans(embed_plans(`plan`))"
"""Both in one call, so that Flink fuses them, and vectors stay in the worker: `flink_jobs.steps.apply.functions`."""


def answers(tables: StreamTableEnvironment, view: str, call: str, name: str, *beside: str) -> DataStream:
    """What a call answers to the rows of a view, as the column `name`, with columns of the view beside it.

    Rows whose answer is NULL are left out. All are names of ours: nothing of a pipeline file may come into them.
    """
    columns = "".join(f", `{each}`" for each in beside)
    answered = f"SELECT {call} AS {name}{columns} FROM {view}"  # noqa: S608
    # two levels: a name that a SELECT gives can't stand in its own WHERE
    return tables.to_data_stream(tables.sql_query(f"SELECT {name}{columns} FROM ({answered}) WHERE {name} IS NOT NULL"))  # noqa: S608
