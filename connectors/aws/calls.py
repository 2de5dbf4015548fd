"""Calls of AWS's services that write: repeated while a service is away or busy, and failures as errors of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import tenacity
from botocore.exceptions import BotoCoreError, ClientError

from connectors.aws.errors import named
from core.errors import Unavailable
from core.metrics import tally

PATIENCE_S = 60.0

Answer = TypeVar("Answer")


def patiently(call: Callable[[], Answer], what: str) -> Answer:
    """What `call` returns, repeated for up to a minute while the service is away or throttles. It must bear repeating.

    `what` is what is asked, as in "Kinesis stream orders".
    Raises Unavailable or Throttled at the end of patience, NotFound for what isn't there, else ConfigError.
    """
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Unavailable),
        wait=tenacity.wait_random_exponential(multiplier=0.05, max=2),
        stop=tenacity.stop_after_delay(PATIENCE_S),
        before_sleep=lambda _: tally.count("retries", of="aws"),
        reraise=True,
    )

    def attempt() -> Answer:
        try:
            return call()
        except (ClientError, BotoCoreError) as error:
            raise named(error, what) from error

    return attempts(attempt)
