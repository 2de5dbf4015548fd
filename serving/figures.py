"""What a server counts of itself, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST as KIND

__all__ = ["KIND", "Figures"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Figures:
    """The figures of one server.

    freshet_serve_query_seconds   how long a search took, by index and step: embed, store, whole
    freshet_serve_requests_total  requests that were answered, by route and status
    freshet_serve_listeners       who listens to changes now, by index
    freshet_serve_changes_total   changes that listeners were sent, by index
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._seconds = Histogram(
            "freshet_serve_query_seconds",
            "How long a search took, by step: embed, store, whole.",
            ("index", "step"),
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._requests = Counter(
            "freshet_serve_requests",
            "Requests that were answered, by route and status.",
            ("route", "status"),
            registry=self._registry,
        )

        self._listeners = Gauge(
            "freshet_serve_listeners", "Who listens to changes now, by index.", ("index",), registry=self._registry
        )
        self._changes = Counter(
            "freshet_serve_changes", "Changes that listeners were sent, by index.", ("index",), registry=self._registry
        )

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

    def answered(self, route: str, status: int) -> None:
        """Count an answer."""
        self._requests.labels(route, str(status)).inc()

    def text(self) -> bytes:
        """All of them, in the text format of Prometheus."""
        return generate_latest(self._registry)
