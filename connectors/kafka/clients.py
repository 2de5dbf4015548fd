"""Clients of Kafka, made whole: a signal that comes while librdkafka is set up waits until that is done.

Its binding reads the settings in C, and takes a Ctrl-C that comes meanwhile for a setting it can't read: the command
would end with a TypeError instead of as one that was interrupted.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

# librdkafka's own is a second: one who reads 20 kB records from a full queue of 1 MiB got 75 of them a second
_BACKOFF_MS = 20
_LOGIN_S = 5.0
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


def refused_login(settings: Mapping[str, Any]) -> str:
    """Why a cluster refuses the login of these settings, in its words.

    "" where it takes the login, is asked for none, or says nothing within 5 s. librdkafka hands a refusal to
    `error_cb` alone and tries again, while each call fails for want of a connection: so this is for after a failure.
    """
    if "sasl.mechanism" not in settings:
        return ""
    heard: list[KafkaError] = []
    asker = admin({**settings, "log_level": 0, "error_cb": heard.append})
    deadline = time.monotonic() + _LOGIN_S
    while time.monotonic() < deadline:
        try:
            asker.list_topics(timeout=0.2)
        except KafkaException:
            asker.poll(0)
        else:
            return ""
        if refusals := [error.str() for error in heard if error.code() == KafkaError._AUTHENTICATION]:
            return _in_its_words(refusals[0])
        if any(error.code() == KafkaError._ALL_BROKERS_DOWN for error in heard):
            return ""
    return ""


def _in_its_words(said: str) -> str:
    """Without the address before it, and how long it took behind it."""
    address, _, words = said.partition(": ")
    words = words if "://" in address else said
    return words.partition(" (after ")[0]


@contextmanager
def _held() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)  # raises a Ctrl-C from just before, and holds signals even so
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
