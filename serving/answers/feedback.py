"""`POST /v1/feedback`: what somebody thinks of an answer."""

from __future__ import annotations

import time

from core.formats.conversations import RATINGS, Feedback, scale_of
from serving import reading
from serving.access import Grant
from serving.answers.conversations import Conversations
from serving.answers.shapes import Opinion, Written
from serving.problems import Refused
from serving.shapes import moment

_bodies = reading.Reader(Opinion, "feedback")


async def brought(grant: Grant, body: bytes, conversations: Conversations | None) -> Written:
    """Have the feedback of a body written. Raises Refused, also where it can't be now."""
    opinion = _bodies.read(body)
    for name in ("id", "comment", "conversation"):
        reading.check_text(getattr(opinion, name) or "", name)
    if conversations is None:
        raise Refused(404, "this server writes no conversations: its file names no place for them")
    if (scale := scale_of(opinion.rating, opinion.scale)) is None:
        kinds = " or ".join(f"{', '.join(map(str, numbers))} ({kind})" for kind, numbers in RATINGS.items())
        raise Refused(422, f"rating is {opinion.rating}, must be {kinds}", "rating")
    now = moment(time.time_ns() // 1_000_000) or ""
    await conversations.written(
        Feedback(opinion.id, opinion.conversation, now, grant.name, opinion.rating, scale, opinion.comment)
    )
    return Written(opinion.id, scale)
