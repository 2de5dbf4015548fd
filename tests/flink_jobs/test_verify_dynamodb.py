"""`freshet verify` beside a job that follows a DynamoDB table: nothing differs while items are written, damage does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from boto3.dynamodb.types import TypeSerializer

from connectors.aws.client import Aws, client
from tests.aws import moto_server
from tests.flink_jobs.conftest import Workshop, eventually

ITEMS = 200

_serialize = TypeSerializer().serialize


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto_server() as server:
        yield server


def put(database: Any, table: str, number: int, **more: Any) -> None:
    item = {"id": number, "title": f"t{number}", "body": f"body {number}", "rank": Decimal(number) / 8, **more}
    database.put_item(TableName=table, Item={name: _serialize(value) for name, value in item.items()})


@contextmanager
def writing(database: Any, table: str) -> Iterator[None]:
    """Changes of the items above 20 until the end, twenty a second."""
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.wait(0.05):
            number += 1
            put(database, table, 20 + number % (ITEMS - 20), body=f"written {number}")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def verify(workshop: Workshop, pipeline: Path, ok: bool = True) -> dict[str, Any]:
    options = ("--json", "found.json", "--sample", "50", "--wait", "3")
    print(workshop.freshet("verify", pipeline, *options, ok=ok))
    found: dict[str, Any] = json.loads((workshop.folder / "found.json").read_text())
    return found


@pytest.mark.timeout(1200)
def test_a_followed_table_equals_its_documents_and_damage_is_found_and_mended(workshop: Workshop, aws: Aws) -> None:
    table, database = f"{workshop.prefix}-documents", client("dynamodb", aws, "test")
    database.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )
    for number in range(ITEMS):
        put(database, table, number)
    where = {"aws.region": aws.region, "aws.endpoint": aws.endpoint}
    letters = {"topic": workshop.dead_letters, "properties.bootstrap.servers": workshop.bootstrap_servers}
    pipeline = workshop.pipeline(
        source={"dynamodb": {"table": table, **where}},
        format="dynamodb",
        documents={table: {"text": "{title}\n\n{body}", "metadata": ["rank"]}},
        dead_letters={"kafka": letters},
        reselect={"dynamodb": where},
        flink={"execution.checkpointing.interval": "500 ms", "execution.checkpointing.min-pause": "100 ms"},
    )

    def sql(query: str) -> None:
        with psycopg.connect(workshop.dsn, autocommit=True) as connection:
            connection.execute(query.replace("TABLE", table).encode())

    with workshop.running(pipeline):
        eventually(lambda: workshop.prepared() and len(workshop.rows()) == ITEMS, "the first items")
        with writing(database, table):
            found = verify(workshop, pipeline)
        assert found["equal"], found
        sql("DELETE FROM documents WHERE document_id = 'TABLE/1'")
        sql("UPDATE documents SET text = 'tampered' WHERE document_id = 'TABLE/2'")
        sql(
            "INSERT INTO documents SELECT 'x', 'TABLE/900', 0, 't', '{}', embedding, model FROM documents LIMIT 1;"
            "INSERT INTO documents_ledger SELECT 'TABLE/900', min(position) FROM documents_ledger"
        )
        found = verify(workshop, pipeline, ok=False)
        assert {(each["document"], each["kind"]) for each in found["differences"]} == {
            (f"{table}/1", "missing"),
            (f"{table}/2", "stale"),
            (f"{table}/900", "ghost"),
        }
        put(database, table, 1, touched=True)
        for number in (2, 900):
            put(database, table, number, touched=True)
            database.delete_item(TableName=table, Key={"id": _serialize(number)})
        # what a store has by its id, it isn't sent again: gone first
        eventually(lambda: f"{table}/2" not in {row[0] for row in workshop.rows()}, "the removal")
        put(database, table, 2)
        assert verify(workshop, pipeline)["equal"]
    assert not workshop.has_letters()
