"""A job that goes on: whatever letters it has to write, and when its idle worker is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from hashlib import sha256
from pathlib import Path

import psutil
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from connectors.opening.dead_letters import letters
from core.config.file import load
from core.letters import Letter
from tests.flink_jobs.conftest import Workshop, eventually
from tests.flink_jobs.events import envelope, row
from tests.topics import delivering

LIMIT = 1_048_588
SOON_S = 20.0

pytestmark = pytest.mark.timeout(400)


CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
"""Kafka's documentation, "Producer Configs": compression.type."""


def send(
    workshop: Workshop,
    key: bytes | None,
    value: bytes | None,
    headers: list[tuple[str, bytes | None]],
    codec: str = "gzip",
) -> None:
    with delivering(workshop.bootstrap_servers, **{"compression.type": codec}) as producer:
        producer.produce(workshop.topic, value=value, key=key, headers=headers)


def written(file: Path) -> list[Letter]:
    with letters(load(file)) as there:
        return list(there.read())


def narrow(admin: AdminClient, topic: str, limit: int) -> None:
    entry = ConfigEntry("max.message.bytes", str(limit), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result()


def workers(job: subprocess.Popen[str]) -> list[psutil.Process]:
    below = psutil.Process(job.pid).children(recursive=True)
    return [each for each in below if each.cmdline()[1:2] == ["-m"] and "fn_execution" in each.cmdline()[2]]


def test_no_letter_and_no_killed_idle_worker_stops_a_job(workshop: Workshop) -> None:
    admin = AdminClient({"bootstrap.servers": workshop.bootstrap_servers})
    config = {"max.message.bytes": str(LIMIT)}
    topics = [NewTopic(name, 1, config=config) for name in (workshop.topic, workshop.dead_letters)]
    for made in admin.create_topics(topics).values():
        made.result()
    large = b'{"not an envelope": "' + b"x" * 1_500_000 + b'"}'
    odd: list[tuple[str, bytes | None]] = [
        ("nul\0name", b"1"),
        ("é", b"\xff\0"),
        ("😀", b"2"),
        ("none", None),
        ("", b"empty"),
    ]
    file = workshop.pipeline(bounded=False)
    with workshop.running(file, alone=True) as job:
        send(workshop, b'{"id": 1}', large, [])
        send(workshop, None, b"no key", odd)
        send(workshop, b"\xff\0", b"\0", [(f"h{number}", b"x" * 10) for number in range(3_000)])
        send(workshop, b"k" * 700_000, b"not JSON", [("large", b"y" * 600_000)])
        send(workshop, b'{"id": 7}', envelope(7, row(7, "first")), [])
        for number, codec in enumerate(CODECS, start=70):
            send(workshop, b'{"id": %d}' % number, envelope(number, row(number, f"by {codec} " * 50)), [], codec)
        eventually(lambda: len(written(file)) == 4, "letters")
        eventually(lambda: workshop.prepared() and len(workshop.rows()) == 1 + len(CODECS), "the documents")
        assert "restart" not in workshop.printed()
        by_key = {each.key: each for each in written(file)}
        cut = by_key[b'{"id": 1}']
        assert cut.value is not None and large.startswith(cut.value) and len(cut.value) > 1_000_000
        assert cut.details["value.sha256"] == sha256(large).hexdigest()
        assert cut.details["value.size"] == str(len(large))
        assert by_key[None].value == b"no key"
        headers = dict(by_key[None].headers)
        assert {name: headers[name] for name in ("none", "", "é")} == {"none": None, "": b"empty", "é": b"\xff\0"}
        assert len(by_key[b"\xff\0"].headers) == 3_000
        eventually(lambda: bool(list(workshop.folder.glob(".freshet/pipelines/*/checkpoints/*/chk-*"))), "a checkpoint")
        time.sleep(6)

        (worker,) = workers(job)
        os.kill(worker.pid, signal.SIGKILL)
        began = time.monotonic()
        eventually(lambda: "the embedding worker died (signal 9)" in workshop.printed(), "what happened")
        send(workshop, b'{"id": 8}', envelope(8, row(8, "second")), [])
        eventually(lambda: len(workshop.rows()) == 2 + len(CODECS), "the next edit")
        assert time.monotonic() - began < SOON_S
        eventually(lambda: "restarted from chk-" in workshop.printed(), "where it went on")
        assert "the embedding worker died (signal 9); restarted from chk-" in workshop.printed()
        assert "beam" not in workshop.printed().lower()

        before = len(written(file))
        narrow(admin, workshop.dead_letters, 20_000)
        send(workshop, b'{"id": 2}', large, [])
        eventually(lambda: len(written(file)) > before, "a letter in a topic that takes less than it did")
        assert max(len(each.value or b"") for each in written(file) if each.key == b'{"id": 2}') < 20_000
        admin.delete_topics([workshop.dead_letters])[workshop.dead_letters].result()
        send(workshop, b'{"id": 3}', large, [])
        eventually(lambda: [each.key for each in written(file)] == [b'{"id": 3}'], "a letter in a topic made anew")
        send(workshop, b'{"id": 9}', envelope(9, row(9, "third")), [])
        eventually(lambda: len(workshop.rows()) == 3 + len(CODECS), "a document behind it")

        # the source's topic is made again by whoever made it: by the job's reading it would have a default's partitions
        admin.delete_topics([workshop.topic])[workshop.topic].result()
        time.sleep(5)
        assert workshop.topic not in admin.list_topics(timeout=10).topics
