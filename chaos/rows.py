"""The feeds of a table that no server keeps: DMS and DynamoDB's changes through Kinesis, plain rows through Kafka."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from boto3.dynamodb.types import TypeSerializer

from chaos import aws
from chaos.feed import WRITING_S, Place, Waiting, Work, committed, short
from chaos.kafka import PARTITIONS, Sender, grown, messages_in, remake_topics
from chaos.outbox import Outbox
from chaos.shards import spread
from chaos.strikes import AWS, JOB, KAFKA, STORES, Fault, Strike
from chaos.table import Act, Happened, Row, Table, acts, first, write
from chaos.writers import together
from connectors.kafka import clients as kafka_clients
from connectors.kafka.producer import ensure_topics
from core.config.pipeline import Pipeline
from core.plans import Plan
from core.stores.verification import expected, key_of
from udfs.embedding.tokenizing import document_chunker
from workloads.articles import iso
from workloads.writers.kinesis import KinesisWriter

SHARDS = 2

_WRITERS = 3
_RESUMED = 60
_serialized = TypeSerializer().serialize


@dataclass(frozen=True, slots=True)
class Kind:
    """What tells the feeds of such a table apart.

    table     as its documents' ids have it
    format    the pipeline file's
    document  more of its documents' settings
    key       a message's key, by a row's id: it chooses the shard or partition
    message   what is sent of a change, at a time in microseconds that rises
    moves     whether keys change, and the table is emptied
    late_s, repeats  as of an Outbox
    """

    table: str
    format: Any
    document: Mapping[str, Any]
    key: Callable[[int], str]
    message: Callable[[Happened, int], dict[str, Any]]
    faults: Mapping[Fault, int]
    moves: bool = False
    late_s: float = 0.0
    repeats: float = 0.0


class Rows:
    """A `chaos.feed.Feed`."""

    def __init__(self, place: Place, choices: Random, kind: Kind) -> None:
        """Fill the table, and tell of it in a new stream or topic."""
        self._place, self._kind = place, kind
        numbers = spread(lambda number: kind.key(-number))
        self._markers = [-number for number in numbers]
        self.markers = [f"{kind.table}/{number}" for number in self._markers]
        self._sent: list[Happened] = []
        self._sent_us = 0
        if place.aws is None:
            servers = place.stack.kafka.bootstrap_servers
            ensure_topics(servers, {place.name: PARTITIONS})
            self._sender = Sender(servers, place.name, choices.getrandbits(64))
        else:
            self._stream = KinesisWriter(place.name, place.aws)
            self._stream.ensure(SHARDS)
        self._outbox = Outbox[Happened](self._send, Random(choices.getrandbits(64)), kind.late_s, kind.repeats)
        self._table = Table(self._outbox.add)
        for act in first(choices):
            self._table.do(act)
        self._outbox.start()

    def _send(self, batch: list[Happened]) -> None:
        if self._kind.late_s == 0:
            self._sent = [*self._sent, *batch][-_RESUMED:]
        messages = [(self._kind.key(_id(each)), json.dumps(self._message(each)).encode()) for each in batch]
        if self._place.aws is None:
            self._sender.send(messages)
        else:
            self._stream.put(messages)

    def _message(self, happened: Happened) -> dict[str, Any]:
        self._sent_us = max(self._sent_us + 1, time.time_ns() // 1000)
        return self._kind.message(happened, self._sent_us)

    def settings(self) -> dict[str, Any]:
        """From the oldest record on."""
        if self._place.aws is None:
            servers = self._place.stack.kafka.bootstrap_servers
            topic = {"topic": self._place.name, "properties.bootstrap.servers": servers}
            source: dict[str, Any] = {"kafka": {**topic, "scan.startup.mode": "earliest-offset"}}
        else:
            stream = {"stream": self._place.name, "source.init.position": "TRIM_HORIZON"}
            source = {"kinesis": {**stream, **self._place.at_aws}}
        document = {"text": "{title}\n\n{body}", "metadata": ["lang"], **self._kind.document}
        return {"source": source, "format": self._kind.format, "documents": {self._kind.table: document}}

    def work(self, choices: Random) -> Work:
        """Some writers at once, and what tells of it."""
        plans = [acts(Random(choices.getrandbits(64)), WRITING_S, self._kind.moves) for _ in range(_WRITERS)]

        def run(until: float) -> int:
            changes: list[int] = []
            calls = [lambda plan=plan: changes.append(write(plan, until, self._table.do)) for plan in plans]
            together(calls)
            self._outbox.flush()
            return sum(changes)

        return run

    def mark(self, text: str) -> None:
        """Rows with negative keys."""
        for number in self._markers:
            self._table.do(Act(number, {"id": number, "title": text, "body": None, "lang": None}, True))
        self._outbox.flush()

    def behind(self, pipeline: Pipeline, waiting: Waiting) -> str:
        """Nobody but the job knows how far it is in a stream."""
        return "" if self._place.aws else committed(pipeline, self._place.group, [self._place.name], waiting)

    def plans(self, pipeline: Pipeline) -> dict[str, Plan]:
        """Of the table's rows."""
        document = pipeline.documents[self._kind.table]
        spec, model = document.spec(self._kind.table), pipeline.embedding.model
        chunker = document_chunker(model, document.chunk)
        found = (expected(row, ("id",), spec, model, chunker) for row in self._table.rows.values())
        return {plan.document_id: plan for plan in found}

    def events(self, document: str) -> Iterator[str]:
        """As the stream or the topic has them."""
        number = int(key_of(document)[0])
        if self._place.aws is not None:
            for shard, sequence, data in aws.values(self._place.aws, self._place.name):
                if f'"id": {number},' in data or f'"{number}"' in data or "truncate" in data:
                    yield f"{shard}:{sequence} {short(data[:600])} {data[-300:]}"
        else:
            servers = self._place.stack.kafka.bootstrap_servers
            for where, value in messages_in(servers, self._place.name):
                if f'"id": {number},' in value:
                    yield f"{where} {value[:100]} … {value[-300:]}"

    def strike(self, strike: Strike, choices: Random) -> None:
        """AWS refuses, the stream is resharded, DMS begins again a little earlier, or the topic grows or is made anew.

        A topic that is made anew begins empty: what it had is in the store. Where that is made anew, all is told again.
        """
        servers = self._place.stack.kafka.bootstrap_servers
        if strike.fault is Fault.TOPIC:
            self._sender.partitions = PARTITIONS
            remake_topics(servers, {self._place.name: PARTITIONS})
            return
        if strike.fault is Fault.INDEX and self._place.aws is None:
            for key, row in list(self._table.rows.items()):
                self._table.do(Act(key, row, whole=True))
            self._outbox.flush()
            return
        if strike.fault is Fault.PARTITIONS:
            self._sender.partitions = grown(servers, [self._place.name], self._sender.partitions, choices)
            return
        assert self._place.aws is not None
        if strike.fault is Fault.RESUMED:
            self._outbox.send_again(lambda: list(self._sent))
        else:
            aws.strike(self._place.aws, self._place.name, strike, choices, merges=True)

    def mend(self) -> None:
        """Nothing is left stopped."""

    def end(self) -> None:
        """Remove the topic; the stream goes with its server."""
        if self._place.aws is None:
            admin = kafka_clients.admin({"bootstrap.servers": self._place.stack.kafka.bootstrap_servers})
            for deleted in admin.delete_topics([self._place.name]).values():
                deleted.result()


def _id(happened: Happened) -> int:
    row = happened.after or happened.before
    return 0 if row is None else int(row["id"])


def _dms(happened: Happened, sent_us: int) -> dict[str, Any]:
    before, after = happened.before, happened.after
    metadata = {
        "timestamp": iso(sent_us * 1000),
        "record-type": "data",
        "operation": "delete" if after is None else "insert" if before is None else "update",
        "partition-key-type": "primary-key",
        "schema-name": "public",
        "table-name": "articles",
        "commit-timestamp": iso(happened.time_us * 1000),
    }
    if before is None and after is None:
        return {"metadata": {**metadata, "record-type": "control", "operation": "truncate-table"}}
    record: dict[str, Any] = {"data": dict(after or before or {}), "metadata": metadata}
    # as BeforeImageSettings with ColumnFilter pk-only has it
    return {**record, "before-image": {"id": before["id"]}} if before is not None and after is not None else record


def _dynamodb(happened: Happened, sent_us: int) -> dict[str, Any]:
    before, after = happened.before, happened.after
    change = {
        "ApproximateCreationDateTime": happened.time_us,
        "ApproximateCreationDateTimePrecision": "MICROSECOND",
        "Keys": {"id": {"N": str(_id(happened))}},
        **({} if after is None else {"NewImage": _typed(after)}),
    }
    name = "REMOVE" if after is None else "INSERT" if before is None else "MODIFY"
    return {"eventName": name, "tableName": "articles", "recordFormat": "application/json", "dynamodb": change}


def _typed(row: Row) -> dict[str, Any]:
    return {name: _serialized(value) for name, value in row.items()}


def _plain(happened: Happened, sent_us: int) -> dict[str, Any]:
    row = {"id": _id(happened), "version": happened.time_us}
    return {**row, "op": "delete"} if happened.after is None else {**happened.after, **row, "op": "upsert"}


_SHARDED = {**JOB, **STORES, **AWS, Fault.RESHARD: 60, Fault.INDEX: 5}
DMS = Kind(
    table="public.articles",
    format={"dms": {"IncludeNullAndEmpty": True}},
    document={"key": ["id"]},
    key=lambda number: f"public.articles.{number}",
    message=_dms,
    faults={**_SHARDED, Fault.RESUMED: 8},
    moves=True,
)
KINESIS = Kind(
    table="articles",
    format="dynamodb",
    document={},
    key=str,
    message=_dynamodb,
    faults=_SHARDED,
    late_s=0.7,
    repeats=0.2,
)
ROWS = Kind(
    table="articles",
    format={"rows": {"table": "articles", "position_field": "version", "operation_field": "op"}},
    document={"key": ["id"]},
    key=str,
    message=_plain,
    faults={**JOB, **STORES, **KAFKA, Fault.TOPIC: 5, Fault.INDEX: 5},
    late_s=0.7,
    repeats=0.2,
)
