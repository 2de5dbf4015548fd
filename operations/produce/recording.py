"""A recording's messages into their topics, as they were."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from io import BufferedReader
from itertools import count
from pathlib import Path

from connectors.kafka import producer as kafka_producer
from connectors.kafka.producer import Sent, ensure_topics
from core.errors import ConfigError
from core.formats.recordings import Record, read_recording
from operations.reporting import Bar


def replay(bootstrap_servers: str, recording: Path, bar: Bar) -> Sent:
    """Write a recording's messages to their topics, made where they are missing.

    Nothing is sent unless every line is good.
    Raises DecodeError for a malformed line, Unavailable and ConfigError as `connectors.kafka.producer` does.
    """
    highest: dict[str, int] = {}
    total = 0
    for record in _recorded(recording):
        highest[record.topic] = max(highest.get(record.topic, 0), record.partition or 0)
        total += 1
    if not total:
        raise ConfigError([f"--recording {recording} holds no events"])
    # a topic's highest partition may have had no event: one connector gives all its topics as many
    partitions = max(highest.values()) + 1
    ensure_topics(bootstrap_servers, dict.fromkeys(highest, partitions))
    sent = count(1)
    with bar() as step:
        step("events", 0, total)
        records = _recorded(recording)
        return kafka_producer.produce(bootstrap_servers, records, lambda _: step("events", next(sent), total))


def _recorded(recording: Path) -> Iterator[Record]:
    with _open(recording) as lines:
        try:
            yield from read_recording(lines, str(recording))
        except (gzip.BadGzipFile, EOFError) as error:
            raise ConfigError(
                [f"--recording {recording} is no whole gzip file ({error}): record or copy it again"]
            ) from error


def _open(recording: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(recording, "rb") if recording.suffix == ".gz" else recording.open("rb")
