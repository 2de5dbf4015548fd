"""What becomes of an event that can't be used: it is counted, and a letter with its reason goes to the dead letters."""

from __future__ import annotations

from datetime import UTC, datetime

from pyflink.common import Row

from core.change import Event
from core.letters import letter_headers
from core.plans import Outcome
from flink_jobs.engine.metrics import Meters


def refuse(
    pipeline: str, meters: Meters, stage: str, error: Exception | Outcome, event: Event, document: str = ""
) -> Row:
    """The event's dead letter, one of LETTERS, which is counted in the operator's `meters`.

    stage     as `core.letters.letter_headers` has it
    error     why: an error, or a store's outcome that says so
    document  the id of the document, record or object, "" where the event could not be read so far
    """
    kind, reason = (error.error, error.reason) if isinstance(error, Outcome) else (type(error).__name__, str(error))
    meters.count("dead_letters", stage=stage, reason=kind)
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    return Row(event.key, event.value, letter_headers(event, pipeline, stage, kind, reason, document, time))
