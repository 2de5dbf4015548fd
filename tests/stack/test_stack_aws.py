"""moto as the stack serves it, where it differs from moto's own server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from connectors.aws.client import Aws, client
from stack.aws_server import is_of_a_page
from tests.aws import moto_server

ITEMS = 40


@pytest.fixture(scope="module")
def server() -> Iterator[Aws]:
    with moto_server() as aws:
        yield aws


@pytest.fixture(scope="module")
def dynamodb(server: Aws) -> Any:
    return client("dynamodb", server, "test")


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("Origin", "http://elsewhere.example", 403),
        ("Origin", "null", 403),
        ("Origin", "{own}", 200),
        ("Sec-Fetch-Site", "cross-site", 403),
        ("Sec-Fetch-Site", "none", 200),
        ("Host", "rebound.example", 403),
        ("Host", "bucket.localhost:1", 200),
    ],
)
def test_a_page_of_another_site_is_not_answered(server: Aws, name: str, value: str, status: int) -> None:
    value = value.format(own=server.endpoint)
    answer = httpx.get(f"{server.endpoint}/moto-api/data.json", headers={name: value})
    assert answer.status_code == status
    assert status == 200 or "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("sent", [{"host": "[::1]:5000"}, {"host": "[::1]"}, {"host": "aws:5000", "is_local": False}])
def test_who_is_no_page_is_answered(sent: dict[str, Any]) -> None:
    assert not is_of_a_page({"HTTP_HOST": sent["host"]}, sent.get("is_local", True))


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
