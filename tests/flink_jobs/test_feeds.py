"""The same history through every feed that Kafka carries ends in the same store."""

from __future__ import annotations

from itertools import islice
from time import time_ns

import pytest

from connectors.kafka.producer import ensure_topics, produce
from tests import feeds
from tests.flink_jobs.conftest import Workshop
from tests.replay import differences
from workloads.articles import Article, Step, history
from workloads.feeds import FEEDS
from workloads.texts import texts

FORMATS = {
    "debezium": "debezium",
    "rows": {"rows": {"table": feeds.TABLE}},
    "dms": {"dms": {"IncludeNullAndEmpty": True}},
    "dynamodb": "dynamodb",
}
CHANGES = 400


def steps(topic: str) -> list[Step]:
    articles = [(text.title, text.paragraphs) for text in texts()]
    return list(islice(history(articles, topic, 7, time_ns), CHANGES))


def truth(changes: list[Step]) -> dict[str, str]:
    rows: dict[int, Article | None] = {step.id: step.article for step in changes}
    return {
        f"{feeds.TABLE}/{number}": f"{article.title}\n\n{article.body}" for number, article in rows.items() if article
    }


@pytest.mark.parametrize("name", FEEDS)
def test_a_history_ends_in_its_final_rows(workshop: Workshop, name: str) -> None:
    feed, written = FEEDS[name], FORMATS[name]
    changes = steps(workshop.topic)
    ensure_topics(workshop.bootstrap_servers, {workshop.topic: 3})
    produce(workshop.bootstrap_servers, feed(workshop.topic, changes))
    document = {"text": "{title}\n\n{body}", "metadata": ["updated_at"], "key": ["id"]}
    pipeline = workshop.pipeline(format=written, documents={feeds.TABLE: document}, parallelism=2)
    workshop.freshet("run", pipeline)
    assert differences(workshop.rows(), truth(changes)) == []
    assert not workshop.has_letters()

    # All of it comes again, as after a lost offset. DMS and rows have later positions then, and end the same.
    produce(workshop.bootstrap_servers, feed(workshop.topic, changes))
    workshop.freshet("run", pipeline)
    assert differences(workshop.rows(), truth(changes)) == []
