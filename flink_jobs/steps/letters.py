"""Dead letters of all steps on their way into their topic, each in a size that the topic takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyflink.common import Row
from pyflink.datastream import DataStream, RuntimeContext
from pyflink.datastream.functions import FlatMapFunction
from pyflink.table import StreamTableEnvironment

from connectors.opening.dead_letters import LettersPlace
from core.errors import FreshetError
from core.letters import Message, fitted
from flink_jobs.steps.aside import ASIDE_MS
from flink_jobs.steps.operators import LETTERS

_SINK = "dead_letters"


def declare(tables: StreamTableEnvironment, place: LettersPlace) -> None:
    """The place of dead letters as a table."""
    tables.execute_sql(place.ddl(_SINK))


def written(tables: StreamTableEnvironment, place: LettersPlace, letters: DataStream) -> str:
    """The statement that writes rows of LETTERS into the topic that was declared."""
    whole = letters.flat_map(FitLetter(place), LETTERS).name("letters").uid("letters").set_buffer_timeout(ASIDE_MS)
    tables.create_temporary_view("letters", tables.from_data_stream(whole))
    return f"INSERT INTO {_SINK} SELECT `key`, `value`, `headers` FROM letters"  # noqa: S608  # our own names


class FitLetter(FlatMapFunction):
    """A letter that is larger than its topic takes is cut, and says so: `core.letters.fitted`.

    The topic is looked at whenever the job starts or restarts, so a limit that was lowered meanwhile, or a topic that
    was deleted, costs one restart.
    """

    def __init__(self, place: LettersPlace) -> None:
        self._place = place

    def open(self, runtime_context: RuntimeContext) -> None:
        """Look at the topic."""
        try:
            self._room = self._place.room()
        except FreshetError:
            # the start of a job reports this; here the sink does, as soon as there is a letter
            self._room = self._place.usual_room()

    def flat_map(self, value: Row) -> Iterator[Any]:
        """One of LETTERS in, one out."""
        key, body, headers = value
        whole = Message(key, body, headers or {})
        made = fitted(whole, self._room)
        yield value if made is whole else Row(made.key, made.value, dict(made.headers))
