"""The calls of the DynamoDB profile store: one table with an index, consistent reads, transactions.

Sources of the rules: DynamoDB's API reference, "TransactWriteItems" (100 items, all or none; a cancelled one says why,
item by item), "TransactGetItems" (as of one moment), "BatchGetItem" (100 keys), "BatchWriteItem" (25 requests).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

from botocore.exceptions import ClientError

from connectors import patience
from connectors.aws.calls import once
from connectors.aws.client import Aws, client
from connectors.aws.errors import NotFound
from connectors.dynamodb.profiles.items import Item, Key
from connectors.patience import Answer
from core.errors import ConfigError, FreshetError, Throttled, Unavailable

SETTING = "store.dynamodb"
INDEX = "owner"

_KEYS = {"pk": "HASH", "sk": "RANGE"}
_INDEX_KEYS = {"owner": "HASH", "pk": "RANGE"}
_MAY_PASS = ("TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded")


class ProfilesTable:
    """A table, for one thread. Connects when first asked; bears throttling and lost answers for `patience_s`."""

    def __init__(self, name: str, aws: Aws, patience_s: float) -> None:
        """Raises ConfigError where no region is known."""
        self._client = client("dynamodb", aws, SETTING)
        self._name = name
        self._patience_s = patience_s
        self.what = f"{SETTING}: DynamoDB table {name} at {self._client.meta.endpoint_url}"

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def look(self) -> bool:
        """Whether the table is there. Raises Unavailable."""
        try:
            self._once(lambda: self._client.describe_table(TableName=self._name))
        except NotFound:
            return False
        return True

    def prepare(self) -> None:
        """Make the table where it is missing, with its index, and have dead ends expire.

        Raises Unavailable, ConfigError where the table there is another one, or may not be made.
        """
        try:
            description = self._once(lambda: self._client.describe_table(TableName=self._name))["Table"]
        except NotFound:
            self._once(self._create)
            description = self._active()
        schemas = [description["KeySchema"], *(each["KeySchema"] for each in _indexes(description))]
        found = [{each["AttributeName"]: each["KeyType"] for each in schema} for schema in schemas]
        if found[0] != _KEYS or _INDEX_KEYS not in found[1:]:
            raise ConfigError(
                [
                    f"{self.what} is another one: profiles need the key pk, sk and an index {INDEX} of owner, pk; "
                    "name a table of their own"
                ]
            )
        lives = self._once(lambda: self._client.describe_time_to_live(TableName=self._name))
        if lives["TimeToLiveDescription"]["TimeToLiveStatus"] == "DISABLED":
            expiring = {"Enabled": True, "AttributeName": "expires"}
            self._once(lambda: self._client.update_time_to_live(TableName=self._name, TimeToLiveSpecification=expiring))

    def _create(self) -> None:
        names = dict.fromkeys((*_KEYS, *_INDEX_KEYS))
        try:
            self._client.create_table(
                TableName=self._name,
                KeySchema=_schema(_KEYS),
                AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
                GlobalSecondaryIndexes=[
                    {"IndexName": INDEX, "KeySchema": _schema(_INDEX_KEYS), "Projection": {"ProjectionType": "ALL"}}
                ],
                BillingMode="PAY_PER_REQUEST",
            )
        except self._client.exceptions.ResourceInUseException:
            return  # another has just made it

    def _active(self) -> dict[str, Any]:
        deadline = time.monotonic() + max(60.0, self._patience_s)
        while True:
            description: dict[str, Any] = self._once(lambda: self._client.describe_table(TableName=self._name))["Table"]
            if all(each == "ACTIVE" for each in _statuses(description)):
                return description
            if time.monotonic() > deadline:
                raise Unavailable(f"{self.what} is {description['TableStatus']}")
            time.sleep(0.5)

    def get(self, key: Key) -> Item | None:
        """An item, read consistently. Doesn't wait for a server that is away."""
        found: dict[str, Item] = self._once(
            lambda: self._client.get_item(TableName=self._name, Key=_key(key), ConsistentRead=True)
        )
        return found.get("Item")

    def moment(self, keys: Sequence[Key]) -> list[Item | None]:
        """Items as they are together at one moment, at most 100. Bears a transaction that is under way."""
        asked = [{"Get": {"TableName": self._name, "Key": _key(key)}} for key in keys]

        def attempt() -> list[Item | None]:
            try:
                found = self._client.transact_get_items(TransactItems=asked)
            except self._client.exceptions.TransactionCanceledException as error:
                raise self._cancelled(error) from None
            return [each.get("Item") for each in found["Responses"]]

        return self.patiently(attempt)

    def some(self, keys: Iterable[Key]) -> dict[Key, Item]:
        """Those of the items that are there, read consistently, each by itself."""
        wanted = [_key(key) for key in dict.fromkeys(keys)]
        found: dict[Key, Item] = {}
        while wanted:
            page, wanted = wanted[:100], wanted[100:]
            asked = {self._name: {"Keys": page, "ConsistentRead": True}}
            answer = self.patiently(lambda asked=asked: self._client.batch_get_item(RequestItems=asked))  # type: ignore[misc]
            for item in answer["Responses"].get(self._name, ()):
                found[item["pk"]["S"], item["sk"]["S"]] = item
            wanted += answer.get("UnprocessedKeys", {}).get(self._name, {}).get("Keys", [])
        return found

    def query(self, pk: str, after: str = "", newest: bool = False, most: int | None = None) -> Iterator[Item]:
        """The items of a `pk` whose `sk` is greater than `after`, read consistently, by `sk`."""
        asked: dict[str, Any] = {
            "KeyConditionExpression": "pk = :pk AND sk > :sk",
            "ExpressionAttributeValues": {":pk": {"S": pk}, ":sk": {"S": after or "!"}},
            "ConsistentRead": True,
            "ScanIndexForward": not newest,
        }
        yield from self._pages("query", asked, most)

    def owned(self, owner: str, most: int | None = None) -> Iterator[Item]:
        """The items that the index has of an owner, as of some moments ago."""
        asked = {
            "IndexName": INDEX,
            "KeyConditionExpression": "#owner = :owner",
            "ExpressionAttributeNames": {"#owner": "owner"},
            "ExpressionAttributeValues": {":owner": {"S": owner}},
        }
        yield from self._pages("query", asked, most)

    def scan(self, prefix: str) -> Iterator[Item]:
        """All items whose `pk` begins so, each as it was when its page was read."""
        values = {":prefix": {"S": prefix}}
        expression = "begins_with(pk, :prefix)"
        asked = {"FilterExpression": expression, "ExpressionAttributeValues": values, "ConsistentRead": True}
        yield from self._pages("scan", asked, None)

    def page(self, start: Item | None, most: int) -> tuple[list[Key], Item | None]:
        """Some keys of the table, and where the next page begins; None: there is none."""
        asked: dict[str, Any] = {"TableName": self._name, "Limit": most, "ProjectionExpression": "pk, sk"}
        asked |= {"ExclusiveStartKey": start} if start else {}
        answer = self.patiently(lambda: self._client.scan(**asked))
        return [(each["pk"]["S"], each["sk"]["S"]) for each in answer["Items"]], answer.get("LastEvaluatedKey")

    def _pages(self, call: str, asked: dict[str, Any], most: int | None) -> Iterator[Item]:
        asked = {"TableName": self._name, **asked}
        left = most
        while True:
            if left is not None:
                asked["Limit"] = left
            answer = self.patiently(lambda: getattr(self._client, call)(**asked))
            yield from answer["Items"]
            left = None if left is None else left - len(answer["Items"])
            if not answer.get("LastEvaluatedKey") or (left is not None and left <= 0):
                return
            asked["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def transact(self, requests: Sequence[Mapping[str, Any]]) -> bool:
        """Do all of it or, where a condition doesn't hold, nothing; whether it was done.

        An answer that was lost may have been a yes: then asked again, the condition that the first time made false
        says no. Callers that change what they ask for look whether it was they.
        """
        token = uuid4().hex

        def attempt() -> bool:
            try:
                self._client.transact_write_items(TransactItems=list(requests), ClientRequestToken=token)
            except self._client.exceptions.TransactionCanceledException as error:
                if "ConditionalCheckFailed" in _reasons(error):
                    return False
                raise self._cancelled(error) from None
            except self._client.exceptions.TransactionInProgressException:
                raise Throttled(f"{self.what}: the transaction is under way") from None
            return True

        return self.patiently(attempt)

    def _cancelled(self, error: ClientError) -> FreshetError:
        codes = _reasons(error)
        if codes & {*_MAY_PASS}:  # somebody else's transaction has one of the items now, or there are too many
            return Throttled(f"{self.what}: {', '.join(sorted(codes))}")
        return ConfigError([f"{self.what}: {error}"])

    def put(self, key: Key, item: Item | None) -> dict[str, Any]:
        """The request that writes an item; of None, the one that deletes it."""
        if item is None:
            return {"Delete": {"TableName": self._name, "Key": _key(key)}}
        return {"Put": {"TableName": self._name, "Item": {**item, **_key(key)}}}

    def update(self, key: Key, change: str, condition: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The request that changes an item. `change` and `condition` are DynamoDB's expressions, of `values`."""
        return {"Update": {**self._expressed(key, condition, values), "UpdateExpression": change}}

    def check(self, key: Key, condition: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The request that holds the others of its transaction to a condition."""
        return {"ConditionCheck": self._expressed(key, condition, values)}

    def _expressed(self, key: Key, condition: str, values: Mapping[str, Any]) -> dict[str, Any]:
        of = {"TableName": self._name, "Key": _key(key)}
        return {**of, "ConditionExpression": condition, "ExpressionAttributeValues": dict(values)}

    def delete(self, keys: Sequence[Key]) -> None:
        """Delete items, each by itself."""
        left = [{"DeleteRequest": {"Key": _key(key)}} for key in keys]
        while left:
            page, left = left[:25], left[25:]
            asked = {self._name: page}
            answer = self.patiently(lambda asked=asked: self._client.batch_write_item(RequestItems=asked))  # type: ignore[misc]
            left += answer.get("UnprocessedItems", {}).get(self._name, [])

    def patiently(self, call: Callable[[], Answer]) -> Answer:
        """What `call` returns, repeated while the server is away or throttles. It must bear repeating."""
        try:
            # somebody else's transaction takes milliseconds
            return patience.patiently(
                lambda: self._once(call), patience.for_seconds(self._patience_s), waits_s=(0.02, 2.0)
            )
        except NotFound:
            raise ConfigError(
                [f"{self.what} isn't there: `freshet run` and `freshet check --prepare` make it"]
            ) from None

    def _once(self, call: Callable[[], Answer]) -> Answer:
        return once(call, self.what)


def _key(key: Key) -> dict[str, dict[str, str]]:
    return {"pk": {"S": key[0]}, "sk": {"S": key[1]}}


def _reasons(error: ClientError) -> set[str]:
    reasons: Sequence[Mapping[str, Any]] = error.response.get("CancellationReasons", ())
    return {each.get("Code", "None") for each in reasons} - {"None"}


def _schema(keys: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()]


def _indexes(description: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [each for each in description.get("GlobalSecondaryIndexes", ()) if each["IndexName"] == INDEX]


def _statuses(description: Mapping[str, Any]) -> list[str]:
    return [
        description["TableStatus"],
        *(each["IndexStatus"] for each in _indexes(description) if "IndexStatus" in each),
    ]
