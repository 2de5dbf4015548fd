"""From a commit in the source database to the moment a search finds it: Debezium, Kafka, the job and the model."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from uuid import uuid4

import psycopg

from bench.figures import Percentiles, percentiles
from bench.rig import TABLE, Rig, positions, running, until
from bench.watching import watching
from stack.connect import register_postgres, remove_postgres
from workloads.texts import Text, texts

RATE = 5.0
"""Commits a second."""

_ARTICLES = 100
_WARM_UP_SECONDS = 5.0
_TABLE = """
CREATE TABLE articles (
    id bigint PRIMARY KEY, title text NOT NULL, body text NOT NULL, updated_at timestamptz NOT NULL DEFAULT now()
)"""


def measure(rig: Rig, model: str, seconds: float) -> Percentiles:
    """Latencies from just before COMMIT is sent until the store notifies that it has committed the new chunks.

    Each transaction puts another paragraph in the place of one, in one of 100 articles in turn, 5 a second for
    `seconds`, after 5 s (or `seconds`, if less) that are not counted.
    """
    connector = f"bench-{uuid4().hex[:8]}"
    topic = rig.topic("searchable")
    pipeline = rig.pipeline("searchable", model, topic)
    articles = texts()[:_ARTICLES]
    with psycopg.connect(rig.dsn, autocommit=True) as source:
        source.execute(_TABLE)
        with source.cursor() as cursor:
            rows = [(text.id, text.title, text.body) for text in articles]
            cursor.executemany("INSERT INTO articles (id, title, body) VALUES (%s, %s, %s)", rows)
        prefix = topic.partition(".")[0]
        register_postgres(rig.stack.connect.url, connector, rig.dsn, prefix, [TABLE])
        try:
            with running(pipeline) as job, watching(pipeline) as waiting:
                documents = [f"{TABLE}/{text.id}" for text in articles]
                until(lambda: len(positions(source, pipeline, documents)) == len(documents), job, "the snapshot")
                warm = int(min(_WARM_UP_SECONDS, seconds) * RATE)
                start = time.perf_counter()
                for number, (identity, body) in enumerate(_edits(articles, warm + int(seconds * RATE))):
                    time.sleep(max(0.0, start + number / RATE - time.perf_counter()))
                    with source.transaction():
                        source.execute("UPDATE articles SET body = %s WHERE id = %s", (body, identity))
                        waiting.sent(f"{TABLE}/{identity}", "", time.perf_counter())
                until(lambda: not waiting.outstanding(), job, "the last edit")
                return percentiles(waiting.taken[warm:])
        finally:
            remove_postgres(rig.stack.connect.url, connector, rig.dsn)


def _edits(articles: Sequence[Text], count: int) -> list[tuple[int, str]]:
    """`count` times the id of an article and its new body."""
    chance = random.Random(0)
    bodies = {text.id: list(text.paragraphs) for text in articles}
    pool = [paragraph for text in texts() for paragraph in text.paragraphs]
    edits = []
    for number in range(count):
        identity = articles[number % len(articles)].id
        paragraphs = bodies[identity]
        at = chance.randrange(len(paragraphs))
        other = chance.randrange(len(pool))
        paragraphs[at] = pool[other] if pool[other] != paragraphs[at] else pool[other - 1]
        edits.append((identity, "\n\n".join(paragraphs)))
    return edits
