"""Calls of AWS's services: repeated while a service is away or busy, and failures as errors of ours."""

from __future__ import annotations

from collections.abc import Callable

from botocore.exceptions import BotoCoreError, ClientError

from connectors import patience
from connectors.aws.errors import named
from connectors.patience import Answer

PATIENCE_S = 60.0


def once(call: Callable[[], Answer], what: str) -> Answer:
    """What `call` returns. `what` is what is asked, as in "Kinesis stream orders"; raises what `named` makes."""
    try:
        return call()
    except (ClientError, BotoCoreError) as error:
        raise named(error, what) from error


def patiently(call: Callable[[], Answer], what: str) -> Answer:
    """As `once`, repeated for up to a minute while the service is away or throttles. It must bear repeating.

    Raises Unavailable or Throttled at the end of patience, NotFound for what isn't there, else ConfigError.
    """
    stop = patience.for_seconds(PATIENCE_S)
    return patience.patiently(lambda: once(call, what), stop, of="aws", waits_s=(0.05, 2.0))
