"""Requests to a server that has a model: many in flight, as many as it bears, and patience where it fails.

An error that a text causes is that text's alone. One that the server causes is never a text's: the job waits, and then
goes back to its checkpoint.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

import tenacity

from core.errors import Unavailable
from core.metrics import tally
from core.stores.batches import halving
from udfs.remote.failures import Busy, Refusal
from udfs.remote.gate import Gate, Left
from udfs.remote.pace import Breaker, Pace

PATIENCE_S = 120.0

Answer = TypeVar("Answer")

Places = Sequence[int]
"""Which of the texts a request has."""


class Asking:
    """How one server is asked, by all threads of a process."""

    def __init__(
        self,
        where: str,
        concurrency: int,
        patience_s: float = PATIENCE_S,
        breaker: Breaker = Breaker(),  # noqa: B008  frozen
    ) -> None:
        """`where`: its address, for messages; `concurrency`: the most requests in flight; `patience_s`: how long it is
        asked again.
        """
        self._where = where
        self._patience_s = patience_s
        self._gate = Gate(Pace(concurrency, float(min(4, concurrency))), breaker, patience_s)
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="ask")

    @property
    def allowed(self) -> int:
        """How many requests may be in flight now."""
        return self._gate.allowed

    def each(
        self,
        parts: Sequence[Places],
        ask: Callable[[Places, threading.Event], None],
        probe: Callable[[threading.Event], object],
    ) -> dict[int, Refusal]:
        """Ask for each part, in a request of its own; those that are refused for good, by their place.

        A request that is refused is halved until the one bad text is alone. Both functions ask by `patiently`, until
        the event that they are given is set, and so raise what it does.

        ask    asks for some texts, and keeps what is answered
        probe  asks for a text that is no cause of anything, and raises Unavailable where that is refused too
        """
        refused: dict[int, Refusal] = {}
        over = threading.Event()

        def ask_part(places: Places) -> None:
            halving(places, fill, refuse, (Refusal,))

        def fill(places: Places) -> Sequence[None]:
            ask(places, over)
            return [None] * len(places)

        def refuse(place: int, error: Exception) -> None:
            # Once more, after a text that is no cause of anything: who is refused then is refused for itself.
            probe(over)
            try:
                ask([place], over)
            except Refusal as again:
                refused[place] = again

        self._all(ask_part, parts, over)
        return refused

    def patiently(self, attempt: Callable[[], Answer], size: int, over: threading.Event) -> Answer:
        """What a request of `size` bytes is answered, sent again while the server is busy or away, until `over` is set.

        Raises Refusal, and Unavailable at the end of patience, which begins with the first failure: until then a
        request may have waited for its turn.
        """
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, Unavailable) and type(error) is not Left),
            wait=_pause,
            stop=_at_the_end_of(self._patience_s, over),
            sleep=tenacity.sleep_using_event(over),
            before_sleep=lambda _: tally.count("retries", of="model"),
            reraise=True,
        )
        answer: Answer = attempts(self._attempt, attempt, size)
        return answer

    def close(self) -> None:
        """Asks no more."""
        self._threads.shutdown(cancel_futures=True)

    def _attempt(self, attempt: Callable[[], Answer], size: int) -> Answer:
        with self._gate.through(self._where, size):
            return attempt()

    def _all(self, ask_part: Callable[[Places], None], parts: Sequence[Places], over: threading.Event) -> None:
        """Each part in a thread, or here where there is one. Where one fails the others aren't asked for any more."""
        if len(parts) == 1:
            ask_part(parts[0])
            return
        under_way = [self._threads.submit(ask_part, part) for part in parts]
        done, waiting = wait(under_way, return_when=FIRST_EXCEPTION)
        if waiting:
            over.set()
            for each in waiting:
                each.cancel()
        for each in done:
            each.result()


def _at_the_end_of(patience_s: float, over: threading.Event) -> Callable[[tenacity.RetryCallState], bool]:
    failed_at: list[float] = []

    def stop(state: tenacity.RetryCallState) -> bool:
        now = time.monotonic()
        failed_at.append(now)
        return over.is_set() or now + state.upcoming_sleep - failed_at[0] >= patience_s

    return stop


_backoff = tenacity.wait_random_exponential(multiplier=0.1, max=10)


def _pause(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    return max(_backoff(state), error.wait_s if isinstance(error, Busy) else 0.0)
