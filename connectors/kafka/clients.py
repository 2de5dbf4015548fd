"""Clients of Kafka, made whole: a signal that comes while librdkafka is set up waits until that is done.

Its binding reads the settings in C, and takes a Ctrl-C that comes meanwhile for a setting it can't read: the command
would end with a TypeError instead of as one that was interrupted.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

# librdkafka's own is a second: one who reads 20 kB records from a full queue of 1 MiB got 75 of them a second
_BACKOFF_MS = 20
_HELD = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def producer(settings: Mapping[str, Any]) -> Producer:
    """One with librdkafka's settings, and one request at a time unless a setting differs.

    Idempotence alone doesn't keep the order in a topic just made: its server may refuse a first request that came
    before it heard of the topic, and takes the second, as a producer that it doesn't know begins with any sequence.
    Raises KafkaException where it doesn't take one of the settings.
    """
    with _held():
        return Producer({"max.in.flight.requests.per.connection": 1, **settings})


def consumer(settings: Mapping[str, Any]) -> Consumer:
    """As `producer`. A full queue of what was fetched is looked at anew after 20 ms, unless a setting differs."""
    with _held():
        return Consumer({"fetch.queue.backoff.ms": _BACKOFF_MS, **settings})


def admin(settings: Mapping[str, Any]) -> AdminClient:
    """As `producer`."""
    with _held():
        return AdminClient(dict(settings))


@contextmanager
def _held() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)  # raises a Ctrl-C from just before, and holds signals even so
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
