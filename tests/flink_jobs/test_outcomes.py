"""What a job says of what its stores applied, in a topic of its own: what changed, and what it was before."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
from confluent_kafka import Consumer, TopicPartition

from connectors.pgvector.store import PgvectorStore
from core.change import Position
from core.plans import Chunk, Plan
from core.stores.filters.language import parse
from core.stores.outcomes import Gone, There, heard
from flink_jobs.payloads import Embedded
from flink_jobs.steps.apply import write_plans
from flink_jobs.steps.fan_out import FanOut
from flink_jobs.steps.outcomes import messages_of, what_stood
from stack.local import Stack
from tests.connectors.servers import new_schema
from tests.flink_jobs.conftest import Workshop, eventually
from tests.flink_jobs.events import envelope, key, row
from udfs.embedding.embedder import HashEmbedder


def messages(workshop: Workshop, topic: str) -> list[dict[str, Any]]:
    """The messages of a topic of one partition, so far."""
    consumer = Consumer({"bootstrap.servers": workshop.bootstrap_servers, "group.id": "none"})
    try:
        partition = TopicPartition(topic, 0, 0)
        _, end = consumer.get_watermark_offsets(partition, timeout=10)
        consumer.assign([partition])
        found = []
        while len(found) < end:
            message = consumer.poll(10)
            assert message is not None and message.error() is None
            found.append({**json.loads(message.value()), "key": message.key().decode()})
        return found
    finally:
        consumer.close()


def brief(message: dict[str, Any]) -> tuple[Any, ...]:
    if message["kind"] == "cleared":
        return message["table"], int(message["before"][:16], 16)
    number = int(message["position"][:16], 16)
    assert message["key"] == message["document_id"] and message["stores"] == ["pgvector"] and not message["cut"]
    now = None if message["metadata"] is None else message["metadata"]["title"]
    return message["document_id"][-1], number, now, [each["title"] for each in message["earlier"]]


def test_what_is_applied_is_written_with_what_it_was(workshop: Workshop) -> None:
    topic = f"{workshop.prefix}.outcomes"
    document = {"public.documents": {"text": "{body}", "metadata": ["title"]}}
    given: dict[str, Any] = {"bounded": False, "documents": document}
    pipeline = workshop.pipeline(**given, outcomes={"kafka": {"topic": topic}})
    truncate = json.dumps({**json.loads(envelope(8, None, "t")), "after": None}).encode()
    with workshop.running(pipeline) as job:
        workshop.send(key(1), envelope(1, row(1, "one", "acme")))
        eventually(lambda: workshop.prepared() and len(workshop.rows()) == 1, "the first row")
        workshop.send(key(1), envelope(2, row(1, "one", "beta"), "u"))
        eventually(
            lambda: [brief(each) for each in messages(workshop, topic)][1:] == [("1", 2, "beta", ["acme"])], "it"
        )
        workshop.send(key(1), envelope(3, None, "d"))
        workshop.send(key(2), envelope(4, row(2, "two", "acme")))
        eventually(lambda: len(messages(workshop, topic)) >= 4, "the second row")  # else the sweep may come before it
        workshop.send(None, truncate)
        eventually(lambda: len(messages(workshop, topic)) >= 5, "the rest")
        assert workshop.letters() == []
        found = [brief(each) for each in messages(workshop, topic)]
        assert found[0] == ("1", 1, "acme", []) and sorted(found[2:], key=str) == [
            ("1", 3, None, ["beta"]),
            ("2", 4, "acme", []),
            ("public.documents", 8),
        ]
        job.send_signal(2)
        assert job.wait(60) == 0


def written(stores: FanOut, number: int, tenant: str, *earlier: str) -> dict[str, type | None]:
    """What who listens for each tenant hears of a plan at a position, once the stores were asked to apply it."""
    known = tuple(json.dumps({"tenant": each}) for each in earlier)
    plan = Plan("a/1", Position(f"{number}"), (f"{number}",), (Chunk(f"{number}", 0, "x"),), {"tenant": tenant})
    rows = [Embedded("a/1", replace(plan, earlier=known), (f"{number}",), np.full(384, 384**-0.5, "<f4").tobytes())]
    before = what_stood(rows, stores)
    found = messages_of(rows, write_plans(rows, HashEmbedder(), stores), before, stores, "articles")[0]
    hears: dict[str, type | None] = dict.fromkeys(("acme", "beta", "gamma", "other"))
    for _, message in found:
        for each in hears:
            if (said := heard(message, "articles", "pgvector", parse({"tenant": each}, {"tenant"}))) is not None:
                hears[each] = type(said)
    return hears


def test_a_job_that_goes_back_leaves_nobody_with_what_they_lost(stack: Stack) -> None:
    store = PgvectorStore(new_schema(stack.postgres.dsn), "a", 384, "hash")
    store.prepare()
    stores = FanOut({"pgvector": store})
    nothing = {"acme": None, "beta": None, "gamma": None, "other": None}
    assert written(stores, 1, "acme") == {**nothing, "acme": There}
    assert written(stores, 2, "beta", "acme") == {**nothing, "acme": Gone, "beta": There}
    assert written(stores, 3, "gamma", "beta") == {**nothing, "beta": Gone, "gamma": There}
    # what was said of the last two is lost, and they come again: the store is further already
    assert written(stores, 2, "beta", "acme") == {"acme": Gone, "beta": Gone, "gamma": There, "other": None}
    assert written(stores, 3, "gamma", "beta") == {**nothing, "beta": Gone, "gamma": There}
    # no state knows the document, but the store does
    assert written(stores, 4, "other") == {**nothing, "gamma": Gone, "other": There}
    stores.close()
