"""Where tests keep profiles: a schema of PostgreSQL, a table of DynamoDB; and how they look there without the store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
import pytest
from botocore.exceptions import ReadTimeoutError
from psycopg import sql

from connectors.aws.client import Aws, client
from connectors.dynamodb.profiles.store import DynamodbProfiles
from connectors.postgres.profiles.store import PostgresProfiles
from core.identity.identifiers import Identifier
from core.stores.contract import ProfileStore

PLACES = ("postgres", "dynamodb")


class Place(Protocol):
    """Room for profiles of pipelines of several names."""

    def opened(self, name: str = "customers") -> ProfileStore:
        """A store of it."""

    def identifiers(self, name: str = "customers") -> set[tuple[Identifier, str]]:
        """Every identifier that is there, with its profile."""

    def losing_an_answer(self, store: ProfileStore, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Has the store's next commit done, and its answer lost; the list gets a 1 then."""

    def reader(self, names: Sequence[str]) -> AbstractContextManager[Callable[[], tuple[int, ...]]]:
        """What tells, as of one moment, how many records each of these profiles has; 0 where it is none."""


@dataclass(frozen=True)
class PostgresPlace:
    """A schema."""

    dsn: str

    def opened(self, name: str = "customers") -> ProfileStore:
        return PostgresProfiles(self.dsn, name, patience_s=5)

    def identifiers(self, name: str = "customers") -> set[tuple[Identifier, str]]:
        query = sql.SQL("SELECT type, value, profile_id FROM {}").format(sql.Identifier(f"{name}_identifiers"))
        with psycopg.connect(self.dsn) as connection:
            return {(Identifier(type_, value), of) for type_, value, of in connection.execute(query)}

    def losing_an_answer(self, store: ProfileStore, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        assert isinstance(store, PostgresProfiles)
        return _losing(store, "_transact", psycopg.OperationalError("the connection is lost"), monkeypatch)

    @contextmanager
    def reader(self, names: Sequence[str]) -> Iterator[Callable[[], tuple[int, ...]]]:
        query = "SELECT profile_id, sum(n::int) FROM customers_profiles, jsonb_each_text(records) r (t, n) GROUP BY 1"
        with psycopg.connect(self.dsn, autocommit=True) as connection:

            def read() -> tuple[int, ...]:
                found: dict[str, int] = dict(connection.execute(query.encode()).fetchall())
                return tuple(found.get(name, 0) for name in names)

            yield read


@dataclass(frozen=True)
class DynamodbPlace:
    """A table."""

    aws: Aws
    table: str

    def opened(self, name: str = "customers") -> ProfileStore:
        return DynamodbProfiles(self.table_of(name), name, self.aws, patience_s=5)

    def table_of(self, name: str) -> str:
        """Of a pipeline."""
        return f"{self.table}.{name}"  # small ones: moto copies a table for each transaction

    def identifiers(self, name: str = "customers") -> set[tuple[Identifier, str]]:
        items = client("dynamodb", self.aws, "test").get_paginator("scan").paginate(TableName=self.table_of(name))
        current = f"{name}#{self._generation(name)}#i#"
        return {
            (Identifier(item["type"]["S"], item["value"]["S"]), item["profile_id"]["S"])
            for page in items
            for item in page["Items"]
            if item["pk"]["S"].startswith(current)
        }

    def losing_an_answer(self, store: ProfileStore, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        assert isinstance(store, DynamodbProfiles)
        of, error = store._table._client, ReadTimeoutError(endpoint_url=self.aws.endpoint)
        return _losing(of, "transact_write_items", error, monkeypatch)

    @contextmanager
    def reader(self, names: Sequence[str]) -> Iterator[Callable[[], tuple[int, ...]]]:
        of = client("dynamodb", self.aws, "test")
        keys = [f"customers#{self._generation('customers')}#p#{name}" for name in names]
        asked = [
            {"Get": {"TableName": self.table_of("customers"), "Key": {"pk": {"S": key}, "sk": {"S": "-"}}}}
            for key in keys
        ]

        def read() -> tuple[int, ...]:
            found = of.transact_get_items(TransactItems=asked)["Responses"]
            counts = [json.loads(each.get("Item", {}).get("records", {"S": "{}"})["S"]) for each in found]
            return tuple(sum(records.values()) for records in counts)

        yield read

    def _generation(self, name: str) -> str:
        key = {"pk": {"S": name}, "sk": {"S": "writer"}}
        found = client("dynamodb", self.aws, "test").get_item(TableName=self.table_of(name), Key=key)
        return f"{int(found['Item']['generation']['N']):016d}"


def _losing(of: Any, name: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Has the next call of a method done, and then fail."""
    real, lost = getattr(of, name), list[int]()

    def call(*arguments: Any, **named: Any) -> Any:
        answer = real(*arguments, **named)
        if lost:
            return answer
        lost.append(1)
        raise error

    monkeypatch.setattr(of, name, call)
    return lost
