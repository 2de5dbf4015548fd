"""Conversations' events to turns and ratings, and how their writers feel: a pandas UDF in a job's workers.

All in one, and by the batch: a row of its own for each step costs more between Flink and Python than the steps do.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pyflink.table import DataTypes, FunctionContext
from pyflink.table.udf import ScalarFunction, udf

from core.answers.rated import key_of, refuse_late
from core.change import Event
from core.config.feedback import Feedback
from core.decoding import guarded
from core.errors import ChangeError
from core.formats import conversations
from core.formats.conversations import Turn
from core.plans import rejected
from flink_jobs import payloads
from flink_jobs.engine import workers
from flink_jobs.engine.metrics import Meters
from udfs.sentiment.judge import judge, scored

log = logging.getLogger(__name__)

COLUMNS = {"answer": "STRING", "said": "BYTES", "event": "BYTES", "arrived": "BIGINT", "refused": "BYTES"}
"""What is made of an event beside its sentiment, with SQL types."""


@dataclass(frozen=True, slots=True)
class _Read:
    """An event that was read. `text` tells how its writer feels; `event` is of a rating alone, which may be refused."""

    answer: str
    said: bytes
    event: bytes
    text: str | None
    refused: bytes | None


class _Hear(ScalarFunction):
    def __init__(self, feedback: Feedback) -> None:
        self._settings = feedback.sentiment
        self._latest_ms = feedback.late_ms + feedback.watermark_ms
        self._late = feedback.late
        self._meters = Meters("texts_refused")

    def open(self, function_context: FunctionContext) -> None:
        workers.begin()
        self._judge = judge(self._settings)
        self._meters.open(function_context.get_metric_group())

    def is_deterministic(self) -> bool:
        # whatever is made of its answer, it is asked once
        return False

    def eval(
        self,
        key: pd.Series[Any],
        value: pd.Series[Any],
        topic: pd.Series[Any],
        partition: pd.Series[Any],
        offset: pd.Series[Any],
        names: pd.Series[Any],
        headers: pd.Series[Any],
        arrived: pd.Series[Any],
    ) -> pd.DataFrame:
        arrived_ms = arrived.dt.as_unit("ms").astype("int64").tolist()
        kept = map(_headers, names, headers)
        events = list(map(Event, topic, partition.tolist(), offset.tolist(), key, value, kept))
        heard = [self._read(event, at) for event, at in zip(events, arrived_ms, strict=True)]
        counted = Counter(_operation(each) for each in heard if each.refused is None)
        for operation, count in counted.items():
            self._meters.count("changes", count, feed="conversations", operation=operation)
        return pd.DataFrame(
            {
                "answer": [each.answer for each in heard],
                "said": [each.said for each in heard],
                "event": [each.event for each in heard],
                "arrived": arrived_ms,
                "refused": pd.Series([each.refused for each in heard], dtype=object),
                "sentiment": pd.Series(self._sentiments([each.text for each in heard]), dtype=object),
            }
        )

    def _read(self, event: Event, arrived_ms: int) -> _Read:
        try:
            said = guarded(lambda each: self._decode(each, arrived_ms))(event)
        except ChangeError as error:
            refused = (rejected("", error, str(error)),)
            return _Read("", b"", payloads.EVENT.encode(event), None, payloads.REJECTED.encode(refused))
        if isinstance(said, Turn):
            return _Read(key_of(said), payloads.SAID.encode(said), b"", said.question, None)
        return _Read(key_of(said), payloads.SAID.encode(said), payloads.EVENT.encode(event), said.comment, None)

    def _decode(self, event: Event, arrived_ms: int) -> conversations.Event:
        said = conversations.decode(event, arrived_ms)
        refuse_late(said, arrived_ms, self._latest_ms, self._late)
        return said

    def _sentiments(self, texts: list[str | None]) -> list[float | None]:
        scores, refused = scored(self._judge, texts)
        if refused:
            self._meters.count("texts_refused", len(refused))
            log.warning("%d texts have no sentiment, as this one: %s", len(refused), refused[0].reason)
        return scores


def _headers(names: Any, values: Any) -> dict[str, bytes | None]:
    return {} if names is None else dict(zip(names, values, strict=True))


def _operation(read: _Read) -> str:
    return "rating" if read.event else "turn"


def hearing(feedback: Feedback) -> Any:
    """The function of an event's columns and of when it was written, which is a row of COLUMNS and `sentiment`.

    answer     whose turn or rating it is; "" where it is refused
    said       the turn or rating, encoded
    event      the event, encoded, where it may become a dead letter
    refused    why it is one, encoded: an outcome; NULL where it isn't. Written later behind its time than the job
               waits, it is one too
    sentiment  -1, as unhappy as can be, to 1; NULL where nothing is said, or a model refuses a text for good: those
               are counted, and the log has the reason of one of each batch
    """
    kinds = {"STRING": DataTypes.STRING(), "BYTES": DataTypes.BYTES(), "BIGINT": DataTypes.BIGINT()}
    fields = [DataTypes.FIELD(name, kinds[kind]) for name, kind in COLUMNS.items()]
    row = DataTypes.ROW([*fields, DataTypes.FIELD("sentiment", DataTypes.DOUBLE())])
    return udf(_Hear(feedback), result_type=row, func_type="pandas")
