"""How the threads of a process share an endpoint: how many may ask at once, and when none may."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import Unavailable
from udfs.remote.failures import Busy
from udfs.remote.pace import Breaker, Pace


class Left(Unavailable):
    """The endpoint isn't asked: it failed too often, or asked to be left alone for longer than anybody waits."""


class Gate:
    """Lets requests through to an endpoint: no more than its `Pace` says, and none while its `Breaker` is open."""

    def __init__(self, pace: Pace, breaker: Breaker, patience_s: float) -> None:
        """`patience_s`: the longest pause that is waited for."""
        self._pace = pace
        self._breaker = breaker
        self._patience_s = patience_s
        self._in_flight = 0
        self._reason = ""
        self._changed = threading.Condition()

    @property
    def allowed(self) -> int:
        """How many requests may be in flight now."""
        return self._pace.allowed

    @contextmanager
    def through(self, where: str, size: int) -> Iterator[None]:
        """Let one request of `size` bytes through: wait for its turn, and learn from how it ends. Raises Left."""
        with self._changed:
            self._wait_for_turn(where)
            self._in_flight += 1
            full = self._in_flight >= self._pace.allowed
        sent = time.monotonic()
        failure: Unavailable | None = None
        answered = False
        try:
            yield
            answered = True
        except Unavailable as error:
            failure = error
            raise
        finally:
            with self._changed:
                self._in_flight -= 1
                now = time.monotonic()
                if answered:
                    self._pace = self._pace.answered(size, sent, now, full)
                    self._breaker = self._breaker.succeeded()
                elif failure is not None:
                    self._learn(failure, sent, now)
                self._changed.notify_all()

    def _wait_for_turn(self, where: str) -> None:
        while True:
            now = time.monotonic()
            if self._breaker.is_open(now):
                raise Left(f"{where} failed {self._breaker.failures} times in a row and is left alone: {self._reason}")
            pause = self._pace.not_before - now
            if pause > self._patience_s:
                raise Left(f"{where} asked to be left alone for {pause:,.0f} s more")
            if pause <= 0 and self._in_flight < self._pace.allowed:
                return
            self._changed.wait(pause if pause > 0 else None)

    def _learn(self, failure: Unavailable, sent: float, now: float) -> None:
        if isinstance(failure, Busy):
            self._pace = self._pace.refused(sent, now, failure.wait_s)
        if not isinstance(failure, Busy) or failure.fails:
            self._breaker = self._breaker.failed(now)
            self._reason = str(failure)
