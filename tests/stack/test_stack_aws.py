"""moto as the stack serves it, where it differs from moto's own server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from connectors.aws.client import client
from tests.aws import moto_server

ITEMS = 40


@pytest.fixture(scope="module")
def dynamodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with moto_server(tmp_path_factory.mktemp("aws")) as aws:
        yield client("dynamodb", aws, "test")


def item(part: int, at: int | None, text: str) -> dict[str, Any]:
    return {"part": {"S": f"p{part}"}, "text": {"S": text}, **({} if at is None else {"at": {"N": str(at)}})}


def all_of(dynamodb: Any, table: str) -> list[dict[str, Any]]:
    found = dynamodb.scan(TableName=table)["Items"]
    return sorted(found, key=lambda each: (each["part"]["S"], int(each.get("at", {"N": "0"})["N"])))


@pytest.mark.parametrize("sorted_by", [None, "at"])
def test_a_transaction_whose_condition_fails_leaves_all_as_it_was(dynamodb: Any, sorted_by: str | None) -> None:
    table = f"sorted-by-{sorted_by}"
    kinds = {"part": "S", **({"at": "N"} if sorted_by else {})}
    dynamodb.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, kind in kinds.items()],
        KeySchema=[
            {"AttributeName": name, "KeyType": kind} for name, kind in zip(kinds, ("HASH", "RANGE"), strict=False)
        ],
    )
    parts = 3 if sorted_by else ITEMS
    there = [item(number % parts, number if sorted_by else None, "before") for number in range(ITEMS)]
    for each in there:
        dynamodb.put_item(TableName=table, Item=each)
    before = all_of(dynamodb, table)
    first, second = ({name: each[name] for name in kinds} for each in there[:2])
    writes: list[dict[str, Any]] = [
        {"Put": {"TableName": table, "Item": there[2] | {"text": {"S": "after"}}}},
        {"Put": {"TableName": table, "Item": item(99, 99 if sorted_by else None, "new")}},
        {"Delete": {"TableName": table, "Key": first}},
    ]
    fails = {"ConditionCheck": {"TableName": table, "Key": second, "ConditionExpression": "attribute_not_exists(part)"}}
    with pytest.raises(ClientError, match="TransactionCanceledException"):
        dynamodb.transact_write_items(TransactItems=[*writes, fails])
    assert all_of(dynamodb, table) == before
    dynamodb.transact_write_items(TransactItems=writes)
    after = {each["part"]["S"] + each.get("at", {"N": ""})["N"]: each["text"]["S"] for each in all_of(dynamodb, table)}
    assert len(after) == ITEMS and list(after.values()).count("after") == list(after.values()).count("new") == 1
