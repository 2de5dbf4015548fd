"""The operators that conversations pass: bytes to turns and ratings, and a turn with the rating that counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyflink.common import Row, RowKind, Types
from pyflink.datastream import RuntimeContext
from pyflink.datastream.functions import FlatMapFunction, KeyedProcessFunction, ProcessFunction
from pyflink.datastream.state import ValueState, ValueStateDescriptor

from core.answers.rated import (
    Answer,
    Heard,
    Rated,
    answer_from_bytes,
    answer_to_bytes,
    key_of,
    of_nobody,
    rated,
    refuse_late,
    step,
)
from core.config.feedback import Feedback
from core.decoding import guarded
from core.errors import ChangeError
from core.formats import conversations
from core.formats.conversations import Turn, at_ms
from flink_jobs import payloads
from flink_jobs.engine.metrics import Meters
from flink_jobs.engine.modules import find_in_later_jobs
from flink_jobs.steps.keying import keyed
from flink_jobs.steps.operators import BYTES, DEAD_LETTERS, event_of
from flink_jobs.steps.refusing import refuse
from udfs.sentiment.contract import LONGEST

SAID = Types.ROW_NAMED(
    ["answer", "said", "event", "text", "arrived"],
    [Types.STRING(), BYTES, BYTES, Types.STRING(), Types.LONG()],
)
"""A turn or a rating by its answer, with the text that tells how its writer feels, and when it was written, in ms."""
HEARD = Types.ROW([BYTES, BYTES, Types.DOUBLE(), Types.LONG()])
"""The same, with what was made of the text."""
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


class DecodeConversation(ProcessFunction):
    """Event to turn or rating. One that was written later behind its time than the job waits is a dead letter."""

    def __init__(self, pipeline: str, feedback: Feedback) -> None:
        self._name = pipeline
        self._latest_ms = feedback.late_ms + feedback.watermark_ms
        self._late = feedback.late
        self._meters = Meters()

    def open(self, runtime_context: RuntimeContext) -> None:
        """Make the counters."""
        find_in_later_jobs()
        self._meters.open(runtime_context.get_metrics_group())

    def process_element(self, value: Row, ctx: ProcessFunction.Context) -> Iterator[Any]:
        """One event in; a row of SAID or a dead letter out."""
        event, arrived_ms = event_of(value), ctx.timestamp()
        try:
            said = guarded(lambda each: self._decode(each, arrived_ms))(event)
        except ChangeError as error:
            yield DEAD_LETTERS, refuse(self._name, self._meters, "decode", error, event)
            return
        is_turn = isinstance(said, Turn)
        self._meters.count("changes", feed="conversations", operation="turn" if is_turn else "rating")
        text = said.question if isinstance(said, Turn) else said.comment
        judged = None if text is None else text[:LONGEST]
        yield Row(key_of(said), payloads.SAID.encode(said), payloads.EVENT.encode(event), judged, arrived_ms)

    def _decode(self, event: Any, arrived_ms: int) -> conversations.Event:
        said = conversations.decode(event, arrived_ms)
        refuse_late(said, arrived_ms, self._latest_ms, self._late)
        return said


class ByAnswer(FlatMapFunction):
    """What SQL has judged, by its answer: a keyed operator takes no rows of SQL's."""

    def flat_map(self, value: Row) -> Iterator[Any]:
        """A row of SAID with a sentiment in place of its text in, one of HEARD_ROWS out."""
        answer, said, event, sentiment, arrived = value
        yield Row(answer, Row(said, event, sentiment, arrived))


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
        self._state: ValueState = runtime_context.get_state(ValueStateDescriptor("answer", Types.PICKLED_BYTE_ARRAY()))
        self._meters.open(runtime_context.get_metrics_group())

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Any]:
        """One of HEARD in; changes of a row of TURNS, dead letters or nothing out."""
        said, event, sentiment, arrived_ms = value
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
