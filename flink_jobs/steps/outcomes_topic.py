"""Outcomes on their way into their topic, each in a size that the topic takes."""

from __future__ import annotations

from collections.abc import Iterator

from pyflink.common import Row, Types
from pyflink.datastream import DataStream, RuntimeContext
from pyflink.datastream.functions import FlatMapFunction
from pyflink.table import StreamTableEnvironment

from connectors.kafka.letters.topic import OUTCOMES, USUAL_ROOM, room
from connectors.kafka.source import outcomes_ddl
from core.config.source import Kafka
from core.errors import FreshetError
from core.stores.outcomes import fitted
from flink_jobs import payloads
from flink_jobs.steps.operators import BYTES

_SINK = "outcomes_topic"
_MESSAGE = Types.ROW_NAMED(["key", "value"], [BYTES, BYTES])


def declare(tables: StreamTableEnvironment, cluster: Kafka, topic: str) -> None:
    """The topic as a table."""
    tables.execute_sql(outcomes_ddl(_SINK, cluster, topic))


def written(
    tables: StreamTableEnvironment, cluster: Kafka, topic: str, applied: DataStream, cleared: DataStream
) -> str:
    """The statement that writes the messages of answers into the topic that was declared."""
    of_plans = applied.flat_map(MessagesOf(cluster, topic), _MESSAGE).name("outcomes").uid("outcomes")
    of_tables = cleared.flat_map(MessagesOf(cluster, topic), _MESSAGE)
    of_tables = of_tables.name("outcomes of tables").uid("outcomes of tables")
    tables.create_temporary_view("outcomes", tables.from_data_stream(of_plans.union(of_tables)))
    return f"INSERT INTO {_SINK} SELECT `key`, `value` FROM outcomes"  # noqa: S608  # our own names


class MessagesOf(FlatMapFunction):
    """The messages of an answer, each fitted to the topic as it was when the job started or restarted."""

    def __init__(self, cluster: Kafka, topic: str) -> None:
        self._topic = cluster, topic

    def open(self, runtime_context: RuntimeContext) -> None:
        """Look at the topic."""
        try:
            self._room = room(*self._topic, setting=OUTCOMES)
        except FreshetError:
            # the start of a job reports this
            self._room = USUAL_ROOM * 9 // 10

    def flat_map(self, value: Row) -> Iterator[Row]:
        """`value` begins with an encoded Answer."""
        for key, message in payloads.ANSWER.decode(value[0]).messages:
            # half a surrogate pair is in no id that a store took
            yield Row(key.encode("utf-8", "replace"), fitted(message, self._room - len(key)))
