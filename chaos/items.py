"""The feed of DynamoDB Streams: a table's items, put, updated and deleted by several writers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any, TypeVar

from boto3.dynamodb.types import TypeSerializer
from botocore.exceptions import ClientError

from chaos import aws
from chaos.feed import WRITING_S, Place, Waiting, Work, short
from chaos.shards import spread
from chaos.strikes import AWS, JOB, STORES, Fault, Strike
from chaos.table import Act, acts, first, write
from chaos.writers import together
from connectors.aws.calls import patiently
from connectors.aws.client import client
from connectors.dynamodb.rows import Tables
from core.config.pipeline import Pipeline
from core.plans import Plan
from core.stores.verification import key_of
from operations.verify.one_pass import watched
from udfs.embedding.tokenizing import document_chunker
from workloads.writers.dynamodb import DynamodbWriter

_WRITERS = 3
_AT_ONCE = 200
_CONDITION = "attribute_exists(id)"
_serialized = TypeSerializer().serialize

Answer = TypeVar("Answer")


class Items:
    """A `chaos.feed.Feed`. The stream's shards split and roll over."""

    faults: Mapping[Fault, int] = {**JOB, **STORES, **AWS, Fault.RESHARD: 60, Fault.INDEX: 5}

    def __init__(self, place: Place, choices: Random) -> None:
        """Make the table and fill it."""
        assert place.aws is not None
        self._aws, self._name, self._place = place.aws, place.name, place
        self._client = client("dynamodb", place.aws, "chaos")
        self._markers = [-number for number in spread(lambda number: str(-number))]
        self.markers = [f"{self._name}/{number}" for number in self._markers]
        DynamodbWriter(self._name, place.aws).ensure()
        for act in first(choices):
            self._do(act)

    def settings(self) -> dict[str, Any]:
        """From the oldest record on."""
        return {
            "source": {"dynamodb": {"table": self._name, **self._place.at_aws}},
            "format": "dynamodb",
            "documents": {self._name: {"text": "{title}\n\n{body}", "metadata": ["lang"]}},
        }

    def work(self, choices: Random) -> Work:
        """Some writers at once."""
        plans = [acts(Random(choices.getrandbits(64)), WRITING_S, moves=False) for _ in range(_WRITERS)]

        def run(until: float) -> int:
            changes: list[int] = []
            calls = [lambda plan=plan: changes.append(write(plan, until, self._do)) for plan in plans]
            together(calls)
            return sum(changes)

        return run

    def _do(self, act: Act) -> int:
        """A call of DynamoDB's; 1, or 0 where there was no such item to update."""
        key = {"id": _serialized(act.key)}
        if act.row is None:
            self._call(lambda: self._client.delete_item(TableName=self._name, Key=key))
        elif act.whole:
            item = {name: _serialized(value) for name, value in act.row.items()}
            self._call(lambda: self._client.put_item(TableName=self._name, Item=item))
        else:
            names = {f"#{name}": name for name in act.row}
            values = {f":{name}": _serialized(value) for name, value in act.row.items()}
            update = "SET " + ", ".join(f"#{name} = :{name}" for name in act.row)
            return self._call(
                lambda: self._updated(
                    TableName=self._name, Key=key, UpdateExpression=update, ConditionExpression=_CONDITION,
                    ExpressionAttributeNames=names, ExpressionAttributeValues=values,
                )
            )  # fmt: skip
        return 1

    def _updated(self, **asked: Any) -> int:
        try:
            self._client.update_item(**asked)
        except self._client.exceptions.ConditionalCheckFailedException:
            return 0
        except ClientError as error:
            if "Item size" in str(error):  # with what it has already, it would be too large: it stays as it is
                return 0
            raise
        return 1

    def _call(self, call: Callable[[], Answer]) -> Answer:
        return patiently(call, f"table {self._name}")

    def mark(self, text: str) -> None:
        """Items with negative keys."""
        for number in self._markers:
            self._do(Act(number, {"id": number, "title": text, "body": None, "lang": None}, True))

    def behind(self, pipeline: Pipeline, waiting: Waiting) -> str:
        """Nobody but the job knows how far it is in a stream."""
        return ""

    def plans(self, pipeline: Pipeline) -> dict[str, Plan]:
        """As `freshet verify` reads them."""
        tables = Tables(self._aws)
        chunker = document_chunker(pipeline.embedding.model, pipeline.documents[self._name].chunk)
        (table,) = watched(pipeline, tables, {self._name: chunker})
        with tables.snapshot() as state:
            pages = state.rows(self._name, table.columns, _AT_ONCE)
            found = [table.plan(raw) for page in pages for raw in page]
        tables.close()
        return {plan.document_id: plan for plan in found}

    def events(self, document: str) -> Iterator[str]:
        """As the stream has them."""
        (key,) = key_of(document)
        for shard, number, record in aws.changes(self._aws, self._name):
            change = record["dynamodb"]
            if change["Keys"]["id"]["N"] == key:
                image = {name: short(str(value)) for name, value in change.get("NewImage", {}).items()}
                yield f"{shard}:{number} {record['eventName']} {image}"

    def strike(self, strike: Strike, choices: Random) -> None:
        """AWS refuses, or the stream's shards split and roll over."""
        aws.strike(self._aws, self._name, strike, choices, merges=False)

    def mend(self) -> None:
        """Nothing is left stopped."""

    def end(self) -> None:
        """Nothing: the table goes with its server."""
