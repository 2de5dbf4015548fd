"""What writes to the source of a round: all that is planned arrives, or the round fails."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from random import Random
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient

from chaos.kafka import PARTITIONS, Sender, grown, messages_in, remake_topics
from chaos.rounds import with_notes
from chaos.writers import together
from connectors.kafka.producer import ensure_topics
from core.errors import FreshetError
from stack import local


def test_what_a_writer_raises_ends_the_round_once_the_others_have_ended() -> None:
    done: list[str] = []

    def slow() -> None:
        time.sleep(0.1)
        done.append("slow")

    def fails() -> None:
        raise ValueError("the item is too large")

    with pytest.raises(ValueError, match="too large"):
        together([fails, slow])
    assert done == ["slow"]


def test_a_partition_that_was_just_added_is_written_to(stack: local.Stack) -> None:
    servers, topic = stack.kafka.bootstrap_servers, f"grown-{uuid4().hex[:8]}"
    ensure_topics(servers, {topic: PARTITIONS})
    sender = Sender(servers, topic, seed=1)
    sender.send([("a", b"1")])
    sender.partitions = grown(servers, [topic], sender.partitions, Random(1))
    assert sender.partitions > PARTITIONS
    for partition in range(sender.partitions):
        sender.put("b", b"2", partition)
    sender.flush()
    assert sorted(value for _, value in messages_in(servers, topic)) == ["1", *["2"] * sender.partitions]


def test_what_was_queued_for_a_partition_that_is_gone_goes_to_another(stack: local.Stack) -> None:
    servers, topic = stack.kafka.bootstrap_servers, f"anew-{uuid4().hex[:8]}"
    ensure_topics(servers, {topic: PARTITIONS})
    sender = Sender(servers, topic, seed=1)
    sender.send([("a", b"1")])
    sender.partitions = grown(servers, [topic], sender.partitions, Random(1))
    sender.put("b", b"2", sender.partitions - 1)
    sender.flush()
    remake_topics(servers, {topic: PARTITIONS})
    sender.put("c", b"3", sender.partitions - 1)
    sender.partitions = PARTITIONS
    sender.flush()
    assert [value for _, value in messages_in(servers, topic)] == ["3"]


def test_a_topic_that_is_deleted_is_made_again_by_nobody_who_writes(stack: local.Stack) -> None:
    """By a writer Kafka would make it with one partition, and all that goes to others would fail from then on."""
    servers, topic = stack.kafka.bootstrap_servers, f"gone-{uuid4().hex[:8]}"
    ensure_topics(servers, {topic: PARTITIONS})
    sender = Sender(servers, topic, seed=1)
    sender.send([("a", b"1")])
    admin = AdminClient({"bootstrap.servers": servers})
    admin.delete_topics([topic])[topic].result(10)
    while topic in admin.list_topics(timeout=10).topics:
        time.sleep(0.05)  # its last log still takes what is sent to it, and goes with it
    sender.put("b", b"2", 0)
    with ThreadPoolExecutor(1) as threads:
        flushed = threads.submit(sender.flush)
        time.sleep(2)
        assert topic not in admin.list_topics(timeout=10).topics
        ensure_topics(servers, {topic: PARTITIONS})
        flushed.result(60)
    assert [value for _, value in messages_in(servers, topic)] == ["2"]


def test_what_ends_a_run_is_said_with_what_went_wrong_before() -> None:
    notes = ["topics made anew: topic a is there, though it was deleted"]
    said = r"unknown partition\. Before that: topics made anew: .* was deleted$"
    with pytest.raises(FreshetError, match=said), with_notes(notes):
        raise FreshetError("unknown partition")
    with pytest.raises(FreshetError, match=r"^unknown partition$"), with_notes([]):
        raise FreshetError("unknown partition")
