"""What a run with an end says at it, by the dead letters that are in their topic."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from connectors.kafka.producer import ensure_topics, produce
from connectors.opening.dead_letters import place_of_letters
from core.config.pipeline import Pipeline
from core.formats.recordings import Record
from operations.finishing import letters_so_far, outcome
from stack.local import Stack
from tests.operations.test_displaced import SETTINGS


def bounded(servers: str, **changes: Any) -> Pipeline:
    kafka = {"topic": "t", "properties.bootstrap.servers": servers, "scan.bounded.mode": "latest-offset"}
    letters = {"kafka": {"topic": f"l-{uuid4().hex[:8]}"}}
    return Pipeline.model_validate({**SETTINGS, "source": {"kafka": kafka}, "dead_letters": letters, **changes})


def test_letters_of_this_run_and_this_pipeline_are_counted(stack: Stack) -> None:
    pipeline = bounded(stack.kafka.bootstrap_servers)
    topic = place_of_letters(pipeline).name

    def write(*names: str) -> None:
        letters = [Record(topic, None, b"{", (("freshet.pipeline", name.encode()),)) for name in names]
        produce(stack.kafka.bootstrap_servers, letters)

    never = letters_so_far(pipeline)
    assert outcome(pipeline, never) == "everything it read is in the store"
    ensure_topics(stack.kafka.bootstrap_servers, {topic: 2})
    write("articles", "articles")
    assert outcome(pipeline, never).startswith(f"2 dead letters are in topic {topic}, and not in the store: `freshet ")
    before = letters_so_far(pipeline)
    assert outcome(pipeline, before) == "everything it read is in the store"
    write("pages", "articles")
    assert outcome(pipeline, before).startswith("1 dead letter is in topic")


def test_where_nobody_tells_nothing_is_claimed() -> None:
    java = {"properties.security.protocol": "SASL_SSL", "properties.sasl.mechanism": "GSSAPI"}
    kafka = {"topic": "t", "properties.bootstrap.servers": "127.0.0.1:1", "scan.bounded.mode": "latest-offset", **java}
    pipeline = bounded("127.0.0.1:1", source={"kafka": kafka})
    assert letters_so_far(pipeline) is None
    assert "or a dead letter in topic" in outcome(pipeline, None)
