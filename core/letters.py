"""Dead letters: events that could not be used, with their reason, as they came."""

from __future__ import annotations

from core.change import Event

PREFIX = "freshet."
"""Every header that Freshet adds begins with it; the event's own headers stand beside them, untouched."""

REPLAY = PREFIX + "replay"
"""Header of a dead letter that was sent round again: how many attempts it has had. Such an event is told to the stores
though its document has been at its position before."""


def attempts(event: Event) -> int:
    """How often an event has been tried before: 0 for one that comes the first time, or says nonsense."""
    told = event.headers.get(REPLAY) or b""
    return int(told) if told.isdigit() and len(told) < 10 else 0


def letter_headers(
    event: Event, pipeline: str, stage: str, error: str, reason: str, document: str, time: str
) -> dict[str, bytes | None]:
    """The headers of a dead letter: the event's own, and what happened to it.

    stage     read, decode, load, plan, parse, link, embed or write
    error     the class of the error
    document  the id of the document, "" where the event could not be read so far
    time      when it was given up, ISO 8601
    """
    told = {
        "pipeline": pipeline,
        "stage": stage,
        "error.class": error,
        "reason": reason,
        "document": document,
        "source.topic": event.topic,
        "source.partition": str(event.partition),
        "source.offset": str(event.offset),
        "attempts": str(attempts(event) + 1),
        "time": time,
    }
    own = {name: value for name, value in event.headers.items() if name != REPLAY}
    return {**own, **{PREFIX + name: text.encode("utf-8", "replace") for name, text in told.items()}}
