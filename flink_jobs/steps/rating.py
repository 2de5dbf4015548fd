"""The operator that turns and ratings pass: a turn with the rating that counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyflink.common import Row, RowKind, Types
from pyflink.datastream import RuntimeContext
from pyflink.datastream.functions import KeyedProcessFunction
from pyflink.datastream.state import ValueState, ValueStateDescriptor

from core.answers.rated import (
    Answer,
    Heard,
    Rated,
    answer_from_bytes,
    answer_to_bytes,
    of_nobody,
    rated,
    step,
)
from core.config.feedback import Feedback
from core.errors import ChangeError
from core.formats.conversations import at_ms
from flink_jobs import payloads
from flink_jobs.engine.metrics import Meters
from flink_jobs.engine.modules import find_in_later_jobs
from flink_jobs.steps.keying import keyed
from flink_jobs.steps.operators import BYTES, DEAD_LETTERS
from flink_jobs.steps.refusing import refuse

HEARD = Types.ROW([BYTES, BYTES, Types.DOUBLE(), Types.LONG(), BYTES])
"""A turn or a rating, its event, what was made of its text, when it was written, in ms, and why it is refused."""
HEARD_ROWS = keyed(HEARD)
"""By answer."""

TURN_COLUMNS: dict[str, str] = {
    "id": "STRING NOT NULL",
    "conversation": "STRING NOT NULL",
    "turn": "INT NOT NULL",
    "asked_ms": "BIGINT NOT NULL",
    "tenant": "STRING NOT NULL",
    "customer": "STRING",
    "question": "STRING NOT NULL",
    "answer": "STRING NOT NULL",
    "model": "STRING NOT NULL",
    "prompt_tokens": "INT NOT NULL",
    "answer_tokens": "INT NOT NULL",
    "finish": "STRING NOT NULL",
    "retrieve_ms": "DOUBLE NOT NULL",
    "first_token_ms": "DOUBLE",
    "total_ms": "DOUBLE",
    "citations": "INT NOT NULL",
    "sentiment": "DOUBLE",
    "rating": "INT",
    "scale": "STRING",
    "rated_ms": "BIGINT",
    "comment_text": "STRING",
    "comment_sentiment": "DOUBLE",
}
"""The columns of a turn's row, with their SQL types."""
_KINDS = {"STRING": Types.STRING(), "INT": Types.INT(), "BIGINT": Types.LONG(), "DOUBLE": Types.DOUBLE()}
TURNS = Types.ROW_NAMED(list(TURN_COLUMNS), [_KINDS[each.removesuffix(" NOT NULL")] for each in TURN_COLUMNS.values()])


class RateTurn(KeyedProcessFunction):
    """Turns and ratings of one answer to its row: `core.answers.rated.step` over Flink's keyed state.

    The state goes once no rating of it can count any more. Ratings whose turn hasn't come by then are dead letters.
    """

    def __init__(self, pipeline: str, feedback: Feedback) -> None:
        self._name = pipeline
        self._late_ms = feedback.late_ms
        self._late = feedback.late
        self._meters = Meters()

    def open(self, runtime_context: RuntimeContext) -> None:
        """Open the state."""
        find_in_later_jobs()
        self._state: ValueState = runtime_context.get_state(ValueStateDescriptor("answer", Types.PICKLED_BYTE_ARRAY()))
        self._meters.open(runtime_context.get_metrics_group())

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Any]:
        """One of HEARD in; changes of a row of TURNS, dead letters or nothing out."""
        said, event, sentiment, arrived_ms, unread = value
        if unread is not None:
            for outcome in payloads.REJECTED.decode(unread):
                yield DEAD_LETTERS, refuse(self._name, self._meters, "decode", outcome, payloads.EVENT.decode(event))
            return
        raw = self._state.value()
        before = Answer() if raw is None else answer_from_bytes(raw)
        heard = Heard(payloads.SAID.decode(said), sentiment, event)
        after, refused = step(before, heard, arrived_ms, self._late_ms)
        for each in refused:
            yield self._letter(each.event, each.error)
        if after == before:
            return
        self._state.update(answer_to_bytes(after))
        if after.until_ms != before.until_ms:
            ctx.timer_service().register_event_time_timer(after.until_ms)
        was, is_ = rated(before), rated(after)
        if is_ is None or was == is_:
            return
        if was is not None:
            yield _row(was, RowKind.UPDATE_BEFORE)
        yield _row(is_, RowKind.INSERT if was is None else RowKind.UPDATE_AFTER)

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[Any]:
        """Forget the answer, but where its turn came while ratings waited for it: that has a timer of its own."""
        raw = self._state.value()
        if raw is None or (answer := answer_from_bytes(raw)).until_ms > timestamp:
            return
        for each in of_nobody(answer, self._late):
            yield self._letter(each.event, each.error)
        self._state.clear()

    def _letter(self, event: bytes, error: ChangeError) -> tuple[Any, Any]:
        return DEAD_LETTERS, refuse(self._name, self._meters, "rate", error, payloads.EVENT.decode(event))


def _row(of: Rated, kind: RowKind) -> Row:
    turn, rating = of.turn, of.rating
    said: tuple[Any, ...] = (None, None, None, None)
    if rating is not None:
        said = (rating.rating, rating.scale, at_ms(rating), rating.comment)
    took = turn.latency_ms
    row = Row(
        turn.id, turn.conversation, turn.turn, at_ms(turn), turn.tenant, turn.customer, turn.question, turn.answer,
        turn.model, turn.prompt_tokens, turn.answer_tokens, turn.finish, took.retrieve, took.first_token, took.total,
        len(turn.citations), of.sentiment, *said, of.comment_sentiment,
    )  # fmt: skip
    row.set_row_kind(kind)
    return row
