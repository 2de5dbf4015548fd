"""From a change in the topic to its row in the store, at a steady rate, without a model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from bench.events import ChangeRecords, generated
from bench.figures import Percentiles, percentiles
from bench.rig import Rig, running, until
from bench.watching import Waiting, watching
from connectors.kafka.producer import ensure_topics, produce
from core.formats.recordings import Record

RATE = 20.0
"""Changes a second."""

_WARM_UP_SECONDS = 10.0


def measure(rig: Rig, seconds: float) -> Percentiles:
    """Latencies from just before a change is given to the producer until the store notifies that it has committed it.

    Inserts, edits and deletes at 20 a second for `seconds`, after 10 s (or `seconds`, if less) that are not counted.
    """
    topic = rig.topic("row")
    pipeline = rig.pipeline("row", "hash", topic)
    warm = int(min(_WARM_UP_SECONDS, seconds) * RATE)
    changes = generated(topic, pipeline, warm + int(seconds * RATE))
    servers = rig.stack.kafka.bootstrap_servers
    ensure_topics(servers, {topic: 1})
    with running(pipeline) as job, watching(pipeline) as waiting:
        produce(servers, changes[0].records)
        waiting.sent(changes[0].document, changes[0].position, time.perf_counter())
        until(lambda: not waiting.outstanding(), job, "the first row")
        produce(servers, _paced(changes[1:], waiting))
        until(lambda: not waiting.outstanding(), job, "the last row")
        return percentiles(waiting.taken[warm:])


def _paced(changes: Sequence[ChangeRecords], waiting: Waiting) -> Iterator[Record]:
    start = time.perf_counter()
    for number, change in enumerate(changes):
        time.sleep(max(0.0, start + number / RATE - time.perf_counter()))
        waiting.sent(change.document, change.position, time.perf_counter())
        yield from change.records
