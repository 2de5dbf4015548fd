"""One patience with a server: the same call again, further and further apart, for as long as it may succeed later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import tenacity

from core.errors import Throttled, Unavailable
from core.metrics import tally

Answer = TypeVar("Answer")
Stop = Callable[[tenacity.RetryCallState], bool]

ONCE_MORE: Stop = tenacity.stop_after_attempt(2)
"""For what a person waits for: a second attempt, in case the server was restarted since the last call."""


def for_seconds(seconds: float) -> Stop:
    """As many attempts as begin within so many seconds; one at least."""
    return tenacity.stop_after_delay(seconds)


_LONGEST_WISH_S = 60.0


def is_away(error: BaseException) -> bool:
    """Whether an error is one of ours that says so."""
    return isinstance(error, Unavailable)


def patiently(
    call: Callable[[], Answer],
    stop: Stop,
    may_pass: Callable[[BaseException], bool] = is_away,
    of: str = "",
    before_again: Callable[[], object] | None = None,
    waits_s: tuple[float, float] = (0.1, 3.0),
) -> Answer:
    """What `call` returns, repeated until `stop` while it raises what `may_pass`. It must bear repeating.

    of            whose attempts are counted, as the metric `retries` has it; "" for those that nobody counts
    before_again  is called before each attempt but the first
    waits_s       at most how long the first wait is, and any; each is random, with twice the bound of the one before,
                  and as long as a server asks for that is asked too often, a minute at most

    Raises what `call` raised last, also where that may pass.
    """

    def again(_: Any) -> None:
        if of:
            tally.count("retries", of=of)
        if before_again is not None:
            before_again()

    first_s, longest_s = waits_s
    by_chance = tenacity.wait_random_exponential(multiplier=first_s, max=longest_s)

    def wait_s(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        wish_s = min(error.wait_s, _LONGEST_WISH_S) if isinstance(error, Throttled) else 0.0
        return max(by_chance(state), wish_s)

    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception(may_pass),
        wait=wait_s,
        stop=stop,
        before_sleep=again,
        reraise=True,
    )
    return attempts(call)
