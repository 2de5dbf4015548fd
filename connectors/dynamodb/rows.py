"""Items of DynamoDB tables, as `core.formats.dynamodb.decoding` gives them, to compare: a `core.stores.source.Source`.

Sources of the rules: DynamoDB's API reference, "DescribeTable", "Scan" (pages of 1 MB at most) and "GetItem"; what its
user must be allowed: dynamodb:DescribeTable, dynamodb:Scan and dynamodb:GetItem on the tables.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from connectors.aws.client import Aws, client
from connectors.aws.errors import NotFound, code_of, named
from connectors.patience import Answer, for_seconds, patiently
from core.documents.step import DocumentSpec
from core.documents.templates import columns
from core.errors import ConfigError
from core.formats.dynamodb.values import item
from core.stores.source import Row

SETTING = "reselect.dynamodb"

_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Table:
    """A table as DescribeTable has it.

    key    its key's attributes to their types, S, N or B, sorted by name: as a decoded change's key has them
    items  about how many there are; DynamoDB counts every six hours
    """

    name: str
    key: Mapping[str, str]
    items: int


class Tables:
    """The tables of an account in a region. Throttling and lost answers are borne for half a minute."""

    def __init__(self, aws: Aws) -> None:
        """Connects to nothing. Raises ConfigError where no region is known."""
        self._client = client("dynamodb", aws, SETTING)
        self.server = self._client.meta.endpoint_url
        self._tables: dict[str, Table] = {}

    def reach(self) -> None:
        """Nothing: what isn't there is noticed when the first table is asked for."""

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def table(self, name: str) -> Table:
        """The table. Raises ConfigError where there is none, or it may not be described."""
        if name not in self._tables:
            self._tables[name] = self._described(name)
        return self._tables[name]

    def _described(self, name: str) -> Table:
        try:
            description = self._ask(lambda: self._client.describe_table(TableName=name), name)["Table"]
        except (NotFound, _Invalid):
            raise ConfigError(
                [f"{SETTING}: DynamoDB at {self.server} has no table {name}: correct the name, or set aws.region"]
            ) from None
        types = {each["AttributeName"]: each["AttributeType"] for each in description["AttributeDefinitions"]}
        key = sorted(each["AttributeName"] for each in description["KeySchema"])
        return Table(name, {attribute: types[attribute] for attribute in key}, description.get("ItemCount", 0))

    def key(self, table: str) -> tuple[str, ...]:
        """The attributes of the table's key, sorted by name."""
        return tuple(self.table(table).key)

    def columns(self, spec: DocumentSpec) -> tuple[str, ...]:
        """The attributes to read for documents: those of the key, and all that may be used.

        Raises ConfigError where documents have a key that lacks some of the table's: an item can't be got by it.
        """
        key = self.key(spec.table)
        lacking = [name for name in key if spec.key and name not in spec.key]
        if lacking:
            raise ConfigError(
                [f"documents.{spec.table}.key lacks {', '.join(lacking)} of the table's key: items can't be looked up"]
            )
        metadata = (name for names in spec.metadata for name in names.split("|") if name)
        return tuple(dict.fromkeys((*key, *spec.key, *columns(spec.text), *metadata)))

    def as_in_events(self, table: str, raw: Row) -> dict[str, Any]:
        """An item of typed attributes as `core.formats.dynamodb.decoding` gives it."""
        return item(dict(raw), table)

    def raw_row(self, table: str, key: Row) -> dict[str, Any] | None:
        """The item that has this key now, read consistently; None where there is none.

        `key` as a change has it, or as text. It may have more than the table's key; the more isn't looked at.
        Raises Unavailable, ConfigError.
        """
        of = self.table(table)
        typed = {name: _typed(kind, key[name]) for name, kind in of.key.items()}
        if None in typed.values():
            return None  # no value of the attribute's type, so no item has it
        try:
            got = self._ask(
                lambda: self._client.get_item(TableName=table, Key=typed, ConsistentRead=True),
                table,
            )
        except _Invalid:
            return None  # empty, too long, too large: no item has it
        return _plain(got["Item"]) if "Item" in got else None

    @contextmanager
    def snapshot(self) -> Iterator[Scan]:
        """The tables as they are while they are read: DynamoDB has no snapshots."""
        yield Scan(self)

    def pages(self, table: str, columns: Sequence[str], at_once: int) -> Iterator[list[dict[str, Any]]]:
        """The table's items, `at_once` or 1 MB of them a page, each as it was when its page was read."""
        names = {f"#{number}": name for number, name in enumerate(columns)}
        asked: dict[str, Any] = {
            "TableName": table,
            "ConsistentRead": True,
            "Limit": at_once,
            "ProjectionExpression": ", ".join(names),
            "ExpressionAttributeNames": names,
        }
        while True:
            page = self._ask(lambda: self._client.scan(**asked), table)
            if page["Items"]:
                yield [_plain(each) for each in page["Items"]]
            if not page.get("LastEvaluatedKey"):
                return
            asked["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _ask(self, call: Callable[[], Answer], table: str) -> Answer:
        what = f"{SETTING}: DynamoDB table {table} at {self.server}"
        return patiently(lambda: _mapped(call, what), for_seconds(_PATIENCE_S))


@dataclass(frozen=True, slots=True)
class Scan:
    """What `Tables.snapshot` gives."""

    tables: Tables

    def count(self, table: str) -> int:
        """About how many items the table has."""
        return self.tables.table(table).items

    def rows(self, table: str, columns: Sequence[str], at_once: int) -> Iterator[list[dict[str, Any]]]:
        """The table's items, in memory `at_once` or 1 MB of them. Raises Unavailable, ConfigError."""
        return self.tables.pages(table, columns, at_once)


class _Invalid(ConfigError):
    """DynamoDB refuses a request's values: no item or table may have such."""


def _mapped(call: Callable[[], Answer], what: str) -> Answer:
    try:
        return call()
    except (ClientError, BotoCoreError) as error:
        if code_of(error) == "ValidationException":
            raise _Invalid([f"{what}: {error}"]) from None
        raise named(error, what) from error


def _typed(kind: str, value: Any) -> dict[str, Any] | None:
    """A key's value for a request; None where it is none of the type."""
    text = str(value)
    if kind == "S":
        return {"S": text}
    if kind == "N":
        try:
            return {"N": text} if Decimal(text).is_finite() else None
        except InvalidOperation:
            return None
    try:
        return {"B": b64decode(text, validate=True)}
    except (binascii.Error, ValueError):
        return None


def _plain(typed: Mapping[str, Any]) -> dict[str, Any]:
    """An item with its binaries as base64, as events have them."""
    row: dict[str, Any] = msgspec.to_builtins(typed)
    return row
