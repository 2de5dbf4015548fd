"""The SQL functions in a real Flink, with a real worker process."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import needed_package

needed_package("sentence_transformers")

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("embed-in-sql.md", "sentiment.md")

COMPARISON = """
import numpy as np
from core.config.sentiment import Sentiment
from udfs.embedding.embedder import embedder
from udfs.sentiment.judge import judge
from udfs.sql import embed_udf, sentiment_udf
head = Sentiment(model="embedder")
texts = [f"{word} {n}" for n in range(20) for word in ("good", "bad", "")] + ["great " * 9_000, "a\\0b \U0001f600"]
tables.execute_sql("CREATE TEMPORARY FUNCTION embed AS 'udfs.sql.embed' LANGUAGE PYTHON")
tables.create_temporary_function("embed_hash", embed_udf("hash"))
tables.create_temporary_function("by_head", sentiment_udf(head))
tables.create_temporary_view("many", tables.from_elements([(text,) for text in texts], ["body"]))
query = "SELECT body, embed(body), embed_hash(body), sentiment(body), by_head(body) FROM many"
rows = list(tables.execute_sql(query).collect())
order = [row[0] for row in rows]
assert sorted(order) == sorted(texts)
assert np.abs(np.float32([row[1] for row in rows]) - embedder("all-MiniLM-L6-v2", "cpu").embed(order)).max() < 1e-5
assert np.array_equal(np.float32([row[2] for row in rows]), embedder("hash").embed(order))
assert [row[3] for row in rows] == judge(Sentiment()).judge(order)
assert np.abs(np.float64([row[4] for row in rows]) - judge(head).judge(order)).max() < 1e-5
"""


def blocks(page: str) -> dict[str, str]:
    """What the page has to run, and what that prints: its first block of each language."""
    found = re.findall(r"```(\w+)\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    return dict(reversed(found))


@pytest.mark.timeout(1200)
def test_the_pages_print_what_they_say_and_the_results_are_the_models_own() -> None:
    embedding, judging = map(blocks, PAGES)
    # A process of its own: a JVM can't be started twice in one, and the worker's mode is read from the environment.
    done = subprocess.run(
        [sys.executable, "-c", "\n".join((embedding["python"], judging["python"], COMPARISON))],
        env={**os.environ, "_python_worker_execution_mode": "process"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(done.stdout.splitlines()) == sorted((embedding["text"] + judging["text"]).splitlines())
