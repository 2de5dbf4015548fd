"""Dead letters: events that could not be used, with their reason, as they came."""

from __future__ import annotations

from collections.abc import Mapping

PREFIX = "freshet."
"""Every header that Freshet adds begins with it; the event's own headers stand beside them, untouched."""


def letter_headers(
    own: Mapping[str, bytes | None],
    pipeline: str,
    stage: str,
    error: str,
    reason: str,
    origin: tuple[str, int, int],
    time: str,
) -> dict[str, bytes | None]:
    """The headers of a dead letter: the event's own, and what happened to it.

    stage   decode, plan, embed or write
    error   the class of the error
    origin  topic, partition and offset of the event
    time    when it was given up, ISO 8601
    """
    topic, partition, offset = origin
    told = {
        "pipeline": pipeline,
        "stage": stage,
        "error.class": error,
        "reason": reason,
        "source.topic": topic,
        "source.partition": str(partition),
        "source.offset": str(offset),
        "time": time,
    }
    return {**own, **{PREFIX + name: text.encode("utf-8", "replace") for name, text in told.items()}}
