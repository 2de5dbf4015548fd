"""What a server counts of itself, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST as KIND

__all__ = ["KIND", "Figures"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, by the name that Prometheus has it by."""

    name: str
    description: str
    labels: tuple[str, ...]


QUERIES = Figure(
    "freshet_serve_query_seconds",
    "how long a search took: `embed`, `store` and `whole`, as a histogram",
    ("index", "step"),
)
REQUESTS = Figure("freshet_serve_requests_total", "requests that were answered", ("route", "status"))
LISTENERS = Figure("freshet_serve_listeners", "who listens to changes now", ("index",))
CHANGES = Figure("freshet_serve_changes_total", "changes that listeners were sent", ("index",))
CHATS = Figure(
    "freshet_serve_chat_seconds",
    "how long a chat took: `context`, search and prompt, and `model`, until it answered or began to, as a histogram",
    ("step",),
)
EVENTS = Figure(
    "freshet_serve_conversations_total", "events of conversations, by `outcome`: `written` or `dropped`", ("outcome",)
)
FIGURES = (QUERIES, REQUESTS, LISTENERS, CHANGES, CHATS, EVENTS)
"""All of them; docs/serve.md's table is made from it."""


class Figures:
    """The figures of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._seconds = Histogram(*_of(QUERIES), registry=self._registry, buckets=_SECONDS)
        self._requests = Counter(*_of(REQUESTS), registry=self._registry)
        self._listeners = Gauge(*_of(LISTENERS), registry=self._registry)
        self._changes = Counter(*_of(CHANGES), registry=self._registry)
        self._events = Counter(*_of(EVENTS), registry=self._registry)
        self._chats = Histogram(*_of(CHATS), registry=self._registry, buckets=_SECONDS)

    def listening(self, index: str, more: int) -> None:
        """So many more listen to an index; fewer where it is negative."""
        self._listeners.labels(index).inc(more)

    def sent(self, index: str, changes: int) -> None:
        """Count changes that a listener was sent."""
        self._changes.labels(index).inc(changes)

    @contextmanager
    def timed(self, index: str, step: str) -> Iterator[None]:
        """The block is a step of a search; one that fails isn't counted."""
        began = perf_counter()
        yield
        self._seconds.labels(index, step).observe(perf_counter() - began)

    @contextmanager
    def chatting(self, step: str) -> Iterator[None]:
        """The block is a part of a chat; one that fails isn't counted."""
        began = perf_counter()
        yield
        self._chats.labels(step).observe(perf_counter() - began)

    def event(self, outcome: str) -> None:
        """Count an event of a conversation."""
        self._events.labels(outcome).inc()

    def answered(self, route: str, status: int) -> None:
        """Count an answer."""
        self._requests.labels(route, str(status)).inc()

    def text(self) -> bytes:
        """All of them, in the text format of Prometheus."""
        return generate_latest(self._registry)


def _of(figure: Figure) -> tuple[str, str, tuple[str, ...]]:
    # a counter's `_total` is taken off by the client, and put on again as it is shown
    return figure.name, figure.description.replace("`", ""), figure.labels
