"""One history of a table, as each feed would tell it. Messages are written as AWS documents them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from boto3.dynamodb.types import TypeSerializer

from core.recordings import Record
from core.workload import Article, Step

Feed = Callable[[str, Iterable[Step]], Iterator[Record]]
"""Messages into a topic for the steps of a history, in order."""

TABLE = "public.documents"

_BEGAN = datetime(2026, 9, 21, tzinfo=UTC)
_serialize = TypeSerializer().serialize


def debezium(topic: str, steps: Iterable[Step]) -> Iterator[Record]:
    """As `freshet produce` tells it."""
    for step in steps:
        yield from step.records


def rows(topic: str, steps: Iterable[Step]) -> Iterator[Record]:
    """The row itself, and a null for a deleted one; the broker's order is theirs."""
    for step in steps:
        yield Record(topic, _json({"id": step.id}), None if step.article is None else _json(row(step.article)))


def dms(topic: str, steps: Iterable[Step]) -> Iterator[Record]:
    """As the target Kafka gets it, with IncludeNullAndEmpty."""
    known: set[int] = set()
    for number, step in enumerate(steps):
        operation = "delete" if step.article is None else "update" if step.id in known else "insert"
        (known.discard if step.article is None else known.add)(step.id)
        schema, _, table = TABLE.partition(".")
        metadata = {
            "timestamp": _iso(number),
            "record-type": "data",
            "operation": operation,
            "partition-key-type": "primary-key",
            "schema-name": schema,
            "table-name": table,
            "transaction-id": number,
        }
        data = {"id": step.id} if step.article is None else row(step.article)
        yield Record(topic, f"{TABLE}.{step.id}".encode(), _json({"data": data, "metadata": metadata}))


def dynamodb(topic: str, steps: Iterable[Step]) -> Iterator[Record]:
    """As Kinesis Data Streams for DynamoDB has it, with times in microseconds."""
    known: set[int] = set()
    for number, step in enumerate(steps):
        name = "REMOVE" if step.article is None else "MODIFY" if step.id in known else "INSERT"
        (known.discard if step.article is None else known.add)(step.id)
        change: dict[str, Any] = {
            "ApproximateCreationDateTime": int(_BEGAN.timestamp()) * 1_000_000 + number,
            "ApproximateCreationDateTimePrecision": "MICROSECOND",
            "Keys": typed({"id": step.id}),
        }
        if step.article is not None:
            change["NewImage"] = typed(row(step.article))
        event = {"eventName": name, "tableName": TABLE, "recordFormat": "application/json", "dynamodb": change}
        yield Record(
            topic, str(step.id).encode(), _json({**event, "eventSource": "aws:dynamodb", "userIdentity": None})
        )


def row(article: Article) -> dict[str, Any]:
    """The columns of the table."""
    return {"id": article.id, "title": article.title, "body": article.body, "updated_at": article.updated_at}


def typed(item: dict[str, Any]) -> dict[str, Any]:
    """An item as DynamoDB has it."""
    return {name: _serialize(value) for name, value in item.items()}


def markdown(article: Article) -> bytes:
    """A file of the article."""
    return f"# {article.title}\n\n{article.body}\n".encode()


def _iso(number: int) -> str:
    return (_BEGAN + timedelta(milliseconds=7 * number)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)
