"""Dead letters of all steps on their way to their place, each in a size that the place takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyflink.common import Row
from pyflink.datastream import DataStream, RuntimeContext
from pyflink.datastream.functions import FlatMapFunction
from pyflink.table import StreamTableEnvironment

from connectors.opening.dead_letters import LettersPlace, LettersWriter
from core.errors import FreshetError
from core.letters import Message, fitted
from flink_jobs.engine.metrics import Meters
from flink_jobs.steps.aside import ASIDE_MS
from flink_jobs.steps.operators import LETTERS

_SINK = "dead_letters"
_NO_SINK = (
    f"CREATE TEMPORARY TABLE {_SINK} (`key` BYTES, `value` BYTES, `headers` MAP<STRING, BYTES>) "
    "WITH ('connector' = 'blackhole')"
)


def declare(tables: StreamTableEnvironment, place: LettersPlace) -> None:
    """The place of dead letters as a table; where Flink has no connector for it, one that takes nothing."""
    sink = place.sink(_SINK)
    tables.execute_sql(sink if isinstance(sink, str) else _NO_SINK)


def written(tables: StreamTableEnvironment, place: LettersPlace, letters: DataStream) -> str:
    """The statement that writes rows of LETTERS into the place that was declared."""
    sink = place.sink(_SINK)
    last = FitLetter(place) if isinstance(sink, str) else WriteLetter(place, sink)
    whole = letters.flat_map(last, LETTERS).name("letters").uid("letters").set_buffer_timeout(ASIDE_MS)
    # few, and one subtask counts them: where several do, CloudWatch can't tell that a smaller of two counts has risen
    whole = whole.set_parallelism(1)
    tables.create_temporary_view("letters", tables.from_data_stream(whole))
    return f"INSERT INTO {_SINK} SELECT `key`, `value`, `headers` FROM letters"  # noqa: S608  # our own names


class FitLetter(FlatMapFunction):
    """A letter that is larger than its place takes is cut, and says so: `core.letters.fitted`.

    The place is looked at whenever the job starts or restarts, so a limit that was lowered meanwhile, or a topic that
    was deleted, costs one restart.
    """

    def __init__(self, place: LettersPlace) -> None:
        self._place = place
        self._meters = Meters("letters")

    def open(self, runtime_context: RuntimeContext) -> None:
        """Look at the place."""
        self._meters.open(runtime_context.get_metrics_group())
        try:
            self._room = self._place.room()
        except FreshetError:
            # the start of a job reports this; here the sink does, as soon as there is a letter
            self._room = self._place.usual_room()

    def flat_map(self, value: Row) -> Iterator[Any]:
        """One of LETTERS in, one out."""
        whole = _message(value)
        made = fitted(whole, self._room)
        self._meters.count("letters")
        yield value if made is whole else Row(made.key, made.value, dict(made.headers))


class WriteLetter(FlatMapFunction):
    """Letters to a place that Flink has no connector for, each as large as FitLetter leaves it."""

    def __init__(self, place: LettersPlace, writer: LettersWriter) -> None:
        self._fit = FitLetter(place)
        self._writer = writer

    def open(self, runtime_context: RuntimeContext) -> None:
        """Look at the place."""
        self._fit.open(runtime_context)

    def close(self) -> None:
        """Give the writer's connections back."""
        self._writer.close()

    def flat_map(self, value: Row) -> Iterator[Any]:
        """One of LETTERS in, none out."""
        for made in self._fit.flat_map(value):
            self._writer.write(_message(made))
        yield from ()


def _message(row: Row) -> Message:
    key, body, headers = row
    return Message(key, body, headers or {})
