"""A generated history as each feed tells it. Messages are written as AWS and Debezium document theirs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from core.formats.recordings import Record
from workloads.articles import Article, Step, iso

Feed = Callable[[str, Iterable[Step]], Iterator[Record]]
"""Messages into a topic `prefix.schema.table` for steps of a history, in order. All are of the table `schema.table`."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


def debezium(topic: str, steps: Iterable[Step]) -> Iterator[Record]:
    """As Debezium's Postgres connector tells it."""
    for step in steps:
        yield from step.records


def rows(topic: str, steps: Iterable[Step]) -> Iterator[Record]:
    """The row itself, and a null for a deleted one; the broker's order is theirs."""
    for step in steps:
        yield Record(topic, _json({"id": step.id}), None if step.article is None else _json(step.article.row()))


def rows_with_operation(topic: str, steps: Iterable[Step]) -> Iterator[Record]:
    """As `rows`, for feeds without nulls: the field `op` is `upsert`, or `delete` beside the key alone."""
    for step in steps:
        gone = {"op": "delete", "id": step.id}
        row = gone if step.article is None else {"op": "upsert", **step.article.row()}
        yield Record(topic, _json({"id": step.id}), _json(row))


def dms(topic: str, steps: Iterable[Step]) -> Iterator[Record]:
    """As AWS DMS writes it to Kafka and Kinesis, with IncludeNullAndEmpty."""
    table = _table(topic)
    for step in steps:
        metadata = {
            "timestamp": iso(step.time_ns),
            "record-type": "data",
            "operation": "delete" if step.article is None else "insert" if step.is_new else "update",
            "partition-key-type": "primary-key",
            "schema-name": table.partition(".")[0],
            "table-name": table.partition(".")[2],
            "transaction-id": step.transaction,
        }
        data = {"id": step.id} if step.article is None else step.article.row()
        yield Record(topic, f"{table}.{step.id}".encode(), _json({"data": data, "metadata": metadata}))


def dynamodb(topic: str, steps: Iterable[Step]) -> Iterator[Record]:
    """As Kinesis Data Streams for DynamoDB has it, with times in microseconds."""
    for step in steps:
        change: dict[str, Any] = {
            "ApproximateCreationDateTime": step.time_ns // 1_000,
            "ApproximateCreationDateTimePrecision": "MICROSECOND",
            "Keys": typed({"id": step.id}),
        }
        if step.article is not None:
            change["NewImage"] = typed(step.article.row())
        event = {
            "eventName": "REMOVE" if step.article is None else "INSERT" if step.is_new else "MODIFY",
            "tableName": _table(topic),
            "recordFormat": "application/json",
            "dynamodb": change,
            "eventSource": "aws:dynamodb",
            "userIdentity": None,
        }
        yield Record(topic, str(step.id).encode(), _json(event))


FEEDS: Mapping[str, Feed] = {"debezium": debezium, "rows": rows, "dms": dms, "dynamodb": dynamodb}
"""By the formats' names: those in which `freshet produce` writes."""

FEEDS_WITHOUT_NULLS: Mapping[str, Feed] = {**FEEDS, "rows": rows_with_operation}
"""The same, for streams, whose records can't be null."""


def typed(item: Mapping[str, int | str]) -> dict[str, dict[str, str]]:
    """An item of whole numbers and texts as DynamoDB has it."""
    return {name: {"N": str(value)} if isinstance(value, int) else {"S": value} for name, value in item.items()}


def markdown(article: Article) -> bytes:
    """A file of the article."""
    return f"# {article.title}\n\n{article.body}\n".encode()


def waves(pairs: Iterable[tuple[Key, Value]], most: int) -> list[dict[Key, Value]]:
    """The pairs in waves of `most` at most, each key once a wave and its values in their order from wave to wave.

    What writes the pairs of a wave in any order, or again, but each wave after the last, keeps the order of each key.
    """
    found: list[dict[Key, Value]] = []
    turns: dict[Key, int] = {}
    for key, value in pairs:
        turn = turns.get(key, 0)
        while turn < len(found) and len(found[turn]) >= most:
            turn += 1
        if turn == len(found):
            found.append({})
        found[turn][key] = value
        turns[key] = turn + 1
    return found


def _table(topic: str) -> str:
    return topic.partition(".")[2]


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)
