"""A savepoint of an earlier Freshet is gone on from.

tests/fixtures/savepoints has what a job of this file's pipeline left behind on Flink 2.2.1, before the tree had its
packages: eight rows read, a first chunk of each in its state, and nothing of the new names.
"""

from __future__ import annotations

import shutil
import signal

from connectors.kafka.producer import ensure_topics
from tests.flink_jobs.conftest import Workshop, eventually, workshop
from tests.flink_jobs.events import envelope, key, row
from tests.flink_jobs.test_vectorize import UNAVAILABLE
from tests.resident import ROOT
from tests.topics import delivering

__all__ = ["workshop"]

KEPT = ROOT / "tests" / "fixtures" / "savepoints" / "flink-2.2.1" / "_metadata"
TOPIC = "kept.public.documents"
ROWS = 8


def test_a_savepoint_of_an_earlier_release_is_gone_on_from(workshop: Workshop) -> None:
    ensure_topics(workshop.bootstrap_servers, {TOPIC: 2})
    with delivering(workshop.bootstrap_servers) as producer:
        for number in range(ROWS):
            event = envelope(number + 1, row(number, f"body {number}"))
            producer.produce(TOPIC, key=key(number), value=event, partition=number % 2)
    source = {
        "topic": TOPIC,
        "properties.bootstrap.servers": workshop.bootstrap_servers,
        "scan.startup.mode": "earliest-offset",
    }
    document = {"text": "{title}\n\n{body}", "metadata": ["updated_at"]}
    file = workshop.pipeline(name="kept", source={"kafka": source}, documents={"public.documents": document})
    savepoint = workshop.folder / ".freshet" / "pipelines" / "kept" / "savepoints" / "savepoint-f32730-c39c2345924b"
    savepoint.mkdir(parents=True)
    shutil.copy(KEPT, savepoint)
    with workshop.running(file) as job:
        # its body did not travel, and no event from the savepoint's offsets on has it
        with delivering(workshop.bootstrap_servers) as producer:
            changed = envelope(ROWS + 1, row(3, UNAVAILABLE, title="changed"), op="u")
            producer.produce(TOPIC, key=key(3), value=changed, partition=1)
        eventually(lambda: workshop.prepared() and workshop.rows() != [], "the change")
        job.send_signal(signal.SIGTERM)
        assert job.wait(60) == 0
    assert f"resuming from {savepoint.name}" in workshop.printed()
    assert workshop.rows() == [("public.documents/3", 0, "changed\n\nbody 3")]
    assert workshop.letters() == []
