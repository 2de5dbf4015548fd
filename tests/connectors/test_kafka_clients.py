"""Clients of Kafka are made whole, whatever signal comes meanwhile."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Collection
from random import Random
from typing import Any

import pytest

from connectors.kafka import clients as kafka_clients
from tests.pages import ROOT

SETTINGS = {f"{name}.timeout.ms": 6_000 for name in ("socket", "request", "socket.connection.setup")} | {
    "bootstrap.servers": "127.0.0.1:1", "log_level": 0, "group.id": "g", "error_cb": lambda _: None
}  # fmt: skip


MOST = 200
"""At once: each has a key of the process' thread-local storage, of which there are 1,024 ("pthread_key_create(3)")."""


@pytest.mark.parametrize("make", [kafka_clients.producer, kafka_clients.consumer, kafka_clients.admin])
def test_an_interrupt_while_a_client_is_made_is_an_interrupt(make: Callable[..., Any]) -> None:
    chance = Random(1)
    for _ in range(40):
        after, made = chance.uniform(0.0, 0.004), []
        with pytest.raises(KeyboardInterrupt):
            interrupter = threading.Thread(target=_interrupt, args=(threading.get_ident(), after))
            interrupter.start()
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                if len(made) < MOST:
                    made.append(make(SETTINGS))  # kept: its end in C takes an interrupt for a fault of its own
                else:
                    time.sleep(0.001)
        interrupter.join()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_an_interrupt_from_just_before_leaves_no_signal_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that Python hears of while it holds signals back is raised by what holds them."""
    really = signal.pthread_sigmask

    def with_a_signal_before(how: int, held: Collection[signal.Signals]) -> set[signal.Signals]:
        before = really(how, held)
        if held and how == signal.SIG_BLOCK:
            raise KeyboardInterrupt
        return before

    monkeypatch.setattr(signal, "pthread_sigmask", with_a_signal_before)
    with pytest.raises(KeyboardInterrupt):
        kafka_clients.producer(SETTINGS)
    assert really(signal.SIG_BLOCK, ()) == set()


def test_clients_are_made_nowhere_else() -> None:
    making = re.compile(r"\b(?:Producer|Consumer|AdminClient)\(")
    folders = (
        "bench",
        "chaos",
        "cli",
        "connectors",
        "demo",
        "deploy",
        "flink_jobs",
        "operations",
        "stack",
        "workloads",
    )
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    found = {file.name for file in files if making.search(file.read_text(encoding="utf-8"))}
    assert found == {"clients.py"}


def _interrupt(thread: int, after_s: float) -> None:
    time.sleep(after_s)
    signal.pthread_kill(thread, signal.SIGINT)
