"""`freshet verify --repair`: differences mended through the topic, by events like the connector's own."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer

from connectors.kafka import source as kafka
from connectors.kafka.feed import tail_of, topic_of
from connectors.kafka.producer import produce
from connectors.postgres.ranges import catch_up
from connectors.postgres.rows import Reselect, Table
from core.change import BEGINNING, Position
from core.config.pipeline import Pipeline
from core.errors import ConfigError
from core.formats.debezium.event import Telling, fitted
from core.formats.debezium.source import REPAIRS
from core.formats.recordings import Record
from core.letters import REPLAY
from core.stores.contract import VectorStore
from core.stores.verification import Difference, Kind
from operations.verify.one_pass import Suspect
from operations.verify.stream import Progress

_AS_OF_REPAIR = ((REPLAY, b"0"),)
_INTEGERS = ("smallint", "integer", "bigint", "oid")


@dataclass(slots=True)
class Mender:
    """Takes what differs out of its store, and sends an event for it: the row as it is now (op r), or that it is gone.

    What a store has by a chunk's id it isn't sent again, and what its ledger says it believes: so a document that was
    damaged is taken out first, and then written whole. Only one that stands where it stood before the topic's last
    event was looked for: one that has moved on since isn't what was compared, and no event would bring it back.

    Events have the position of the topic's last one, and the header of a replay, by which the job takes a change of
    equal position. An earlier one would be late. A later one, the log's own position say, would make the source's next
    change late: its `source.sequence` starts with the last commit that the connector has seen.
    """

    pipeline: Pipeline
    source: Reselect
    consumer: Consumer
    stream: Progress
    stores: Mapping[str, VectorStore] = field(default_factory=dict)
    sent: int = 0
    notes: dict[str, None] = field(default_factory=dict)

    def __call__(self, stand: Sequence[tuple[Suspect, Difference]]) -> None:
        """Mend what differs. Raises Unavailable where Kafka, a store or the source is away."""
        for table in sorted({suspect.table for suspect, _ in stand}):
            of_table = [each for each in stand if each[0].table == table]
            stood = self._stood(of_table)
            try:
                telling = self._telling(table)
            except ConfigError as error:
                self.notes[str(error)] = None
                continue
            self._take_out(stood)
            documents = {suspect.document_id: (suspect, difference) for suspect, difference in reversed(of_table)}
            self._send(
                record
                for suspect, difference in documents.values()
                for record in (
                    self._removal(telling, suspect) if difference.kind is Kind.GHOST else self._row(telling, suspect)
                )
            )
            self.sent += len(documents)

    def _stood(self, stand: Sequence[tuple[Suspect, Difference]]) -> dict[str, dict[str, Position]]:
        """Where the ledger of each store has what differs there."""
        stood: dict[str, dict[str, Position]] = {}
        for name, store in self.stores.items():
            ids = [suspect.document_id for suspect, _ in stand if suspect.store == name]
            known = store.positions(ids)
            stood[name] = {each: known.get(each, BEGINNING) for each in ids}
        return stood

    def _take_out(self, stood: Mapping[str, Mapping[str, Position]]) -> None:
        if self.stream.lag:
            # until the job takes the events up, what is there is better than nothing
            self.notes["while the stream lags nothing is taken out of a store, so what was damaged there stays"] = None
            return
        for name, documents in stood.items():
            self.stores[name].drop(documents)

    def _telling(self, table: str) -> Telling:
        # before any row is read: a change that comes in between is later than this position
        topic = topic_of(table, kafka.check(self.pipeline.kafka))
        tail = tail_of(self.pipeline, self.consumer, topic, table)
        if tail.pattern is None:
            raise ConfigError([f"topic {topic} ends without an event of {table}: nothing tells where a repair belongs"])
        catch_up(self.source, tail.transactions)
        of, spec = self.source.table(table), self.pipeline.documents[table].spec(table)
        key, used = of.key or spec.key, self.source.columns(spec)
        pattern = fitted(tail.pattern, of.types, key, used, self.source.settings)
        return Telling(pattern, tail.position, REPAIRS, time.time_ns())

    def _send(self, records: Any) -> None:
        source = self.pipeline.kafka
        produce(source.bootstrap_servers, records, login=kafka.login(source))

    def _row(self, telling: Telling, suspect: Suspect) -> list[Record]:
        raw = self.source.raw_row(suspect.table, dict(suspect.key))
        if raw is None:
            return []  # gone since: the connector tells
        return [Record(telling.pattern.topic, *telling.row(raw), _AS_OF_REPAIR)]

    def _removal(self, telling: Telling, suspect: Suspect) -> list[Record]:
        table = self.source.table(suspect.table)
        key = {name: _key_value(table, name, value) for name, value in suspect.key}
        if not key:
            return []  # its id is none of its table's keys, so no event could tell of it: taking it out was all
        raw_key, value = telling.gone(key)
        topic = telling.pattern.topic
        return [Record(topic, raw_key, value, _AS_OF_REPAIR), Record(topic, raw_key, None)]


def _key_value(table: Table, name: str, value: Any) -> Any:
    """A key column's value, which may come from a document's id as text, so that it decodes to the same id."""
    if not isinstance(value, str):
        return value
    kind = table.types[name]
    if kind in _INTEGERS and value.removeprefix("-").isdecimal():
        return int(value)
    if kind == "boolean" and value in ("true", "false"):
        return value == "true"
    if table.is_decimal(name) and name in table.readers:
        return table.writers[name](value)
    return value
