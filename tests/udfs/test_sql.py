"""The SQL function in a real Flink, with a real worker process."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import needed_package

needed_package("sentence_transformers")

PAGE = Path(__file__).parents[2] / "docs" / "embed-in-sql.md"

COMPARISON = """
import numpy as np
from udfs.embedding.embedder import embedder
from udfs.sql import embed_udf
texts = [f"text {n}" for n in range(60)]
tables.create_temporary_function("embed_hash", embed_udf("hash"))
tables.create_temporary_view("many", tables.from_elements([(text,) for text in texts], ["body"]))
rows = list(tables.execute_sql("SELECT body, embed(body), embed_hash(body) FROM many").collect())
order = [row[0] for row in rows]
assert sorted(order) == sorted(texts)
assert np.abs(np.float32([row[1] for row in rows]) - embedder("all-MiniLM-L6-v2", "cpu").embed(order)).max() < 1e-5
assert np.array_equal(np.float32([row[2] for row in rows]), embedder("hash").embed(order))
"""


@pytest.fixture(scope="module")
def page() -> dict[str, str]:
    return dict(re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL))


@pytest.mark.timeout(1200)
def test_the_page_prints_what_it_says_and_the_vectors_are_the_embedders(page: dict[str, str]) -> None:
    # A process of its own: a JVM can't be started twice in one, and the worker's mode is read from the environment.
    done = subprocess.run(
        [sys.executable, "-c", page["python"] + COMPARISON],
        env={**os.environ, "_python_worker_execution_mode": "process"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(done.stdout.splitlines()) == page["text"].splitlines()
