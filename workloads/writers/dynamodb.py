"""Items into a DynamoDB table, and out of it.

Sources of the rules: DynamoDB API reference, "BatchWriteItem": at most 25 requests, no key twice, and what wasn't
processed comes back to be asked for again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from connectors.aws.calls import patiently
from connectors.aws.client import Aws, client
from connectors.aws.errors import NotFound
from core.errors import Throttled, Unavailable
from workloads.feeds import typed, waves

KEY = "id"
"""Of the tables made here, a number."""

_ITEMS = 25


class DynamodbWriter:
    """Writes to one table, whose key is the number `id`. Connects when first asked."""

    def __init__(self, table: str, aws: Aws) -> None:
        """Raises ConfigError where no region is known."""
        self._table = table
        self._what = f"DynamoDB table {table}"
        self._client = client("dynamodb", aws, "--table")

    def ensure(self) -> None:
        """Make the table, with a stream of new and old images, where it is missing, and wait until it is there.

        Raises Unavailable, or ConfigError where that is refused.
        """
        try:
            self._status()
        except NotFound:
            patiently(self._create, self._what)
        patiently(self._active, self._what)

    def _create(self) -> None:
        self._client.create_table(
            TableName=self._table,
            KeySchema=[{"AttributeName": KEY, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": KEY, "AttributeType": "N"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )

    def _status(self) -> str:
        answer = patiently(lambda: self._client.describe_table(TableName=self._table), self._what)
        return str(answer["Table"]["TableStatus"])

    def _active(self) -> None:
        if (status := self._status()) not in ("ACTIVE", "UPDATING"):
            raise Unavailable(f"{self._what} is {status}")

    def write(self, rows: Iterable[tuple[int, Mapping[str, int | str] | None]]) -> None:
        """Put (id, row) pairs as items in order, or delete the item where the row is None; returns once all is done.

        Raises Unavailable, Throttled or ConfigError.
        """
        for wave in waves(rows, _ITEMS):
            self._write([_request(key, row) for key, row in wave.items()])

    def _write(self, requests: list[dict[str, Any]]) -> None:
        left = {self._table: requests}

        def attempt() -> None:
            nonlocal left
            left = self._client.batch_write_item(RequestItems=left).get("UnprocessedItems") or {}
            if left:
                raise Throttled(f"{self._what} doesn't take all items")

        patiently(attempt, self._what)


def _request(key: int, row: Mapping[str, int | str] | None) -> dict[str, Any]:
    if row is None:
        return {"DeleteRequest": {"Key": typed({KEY: key})}}
    return {"PutRequest": {"Item": typed(row)}}
