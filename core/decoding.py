"""An event's bytes to changes, in the format that a pipeline names."""

from __future__ import annotations

from collections.abc import Callable

from core.change import Change, Event, Skip, Truncate
from core.config import Pipeline
from core.formats import debezium

Decoder = Callable[[Event], tuple[Change | Truncate | Skip, ...]]
"""What an event says, in its order; raises DecodeError where its bytes are not what the format promises."""


def decoder(pipeline: Pipeline) -> Decoder:
    """The decoder for a pipeline's events."""
    written = pipeline.debezium
    return lambda event: (debezium.decode(event, written),)
