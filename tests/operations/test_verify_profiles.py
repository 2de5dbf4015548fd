"""`freshet verify` of profiles: a real database's rows against real stores, which are damaged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import yaml
from rich.console import Console

from connectors.opening.stores import open_profiles, stores_of
from core.config.documents import Chunk
from core.config.file import load
from core.config.pipeline import Pipeline
from core.errors import ConfigError
from core.identity.state import Memory
from core.profiles.delivery import plans_of
from core.profiles.records import read_as
from core.profiles.step import Persons
from core.stores.profile_verification import said_by
from operations.servers import stores
from operations.verify.source import opened
from operations.verify.whole import Options
from stack.local import Stack
from terminal.verification import verify
from tests.aws import moto_server
from tests.flink_jobs.people import PROFILES, TEXT
from tests.operations.test_verify import database
from tests.profile_writer import Writer
from udfs.embedding.embedder import embedder
from udfs.embedding.tokenizing import document_chunker
from workloads.writers.dynamodb import DynamodbWriter

ROWS = """
    CREATE TABLE customers (id int PRIMARY KEY, email text, name text, city text);
    CREATE TABLE orders (id int PRIMARY KEY, customer_id int, email text, amount text, created_at text);
    CREATE TABLE visits (id int PRIMARY KEY, device text, login text, lang text);
    INSERT INTO customers SELECT n, 'p' || n || '@x.no', 'name ' || n, 'city ' || n % 7 FROM generate_series(1, 40) n;
    INSERT INTO orders SELECT n, n % 40, NULL, n || '.5', '2026-01-01T00:00:00Z' FROM generate_series(1, 90) n;
    INSERT INTO visits SELECT n, 'd' || n % 30, 'p' || n % 50 || '@x.no', 'no' FROM generate_series(1, 60) n;
"""


RESTORE = "DELETE FROM {}; INSERT INTO {} TABLE kept_{}; DROP TABLE kept_{}"


@dataclass(frozen=True)
class Bench:
    """A source with rows, stores that equal it, and a pipeline that names them."""

    dsn: str
    pipeline: Pipeline

    def sql(self, query: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(query.encode())

    def verify(self, **options: Any) -> tuple[int, str]:
        printed = StringIO()
        code = verify(self.pipeline, Options(wait_s=0, **options), Console(file=printed, width=200))
        return code, printed.getvalue()

    def fill(self) -> None:
        """Bring the stores to what the rows say, as the job would."""
        profiles = self.pipeline.profiles
        assert profiles is not None
        source, memory = opened(self.pipeline, schemas=False), Memory()
        store = open_profiles(stores_of(self.pipeline))
        store.prepare()
        persons = Persons(memory, profiles.linking(self.pipeline.delete_retention_ms), profiles.merging)
        writer = Writer(store, persons, memory, text=self.pipeline.embedding.text or TEXT)
        (vectors,) = stores(self.pipeline).values()
        vectors.prepare()
        chunker = document_chunker("hash", Chunk())
        with source.snapshot() as state:
            for table in profiles.records:
                spec = profiles.spec(table)
                for batch in state.rows(table, source.columns(read_as(spec)), 1000):
                    rows = (source.as_in_events(table, row) for row in batch)
                    records = [said_by(row, source.key(table), spec, profiles.reading, 0) for row in rows]
                    made = [writer.delivery(each.change.record, persons.step(each.change)) for each in records]
                    writer.deliver(made)
                    for plans in (plans_of(each, "hash", chunker) for each in made):
                        vectors.apply(plans, [embedder("hash").embed([c.text for c in plan.write]) for plan in plans])
        for each in (store, vectors, source):
            each.close()


@pytest.fixture(scope="module")
def filled(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    dsn, name = database(stack), f"v{uuid4().hex[:6]}"
    pipeline = pipeline_of(
        tmp_path_factory.mktemp("verify"),
        dsn,
        name=name,
        source={"kafka": {"topic": name, "properties.bootstrap.servers": stack.kafka.bootstrap_servers}},
        format="debezium",
        dead_letters={"kafka": {"topic": "letters"}},
        reselect={"postgres": {"dsn": dsn}},
    )
    bench = Bench(dsn, pipeline)
    bench.sql(ROWS)
    bench.fill()
    return bench


def pipeline_of(folder: Path, dsn: str, **settings: Any) -> Pipeline:
    file = folder / "people.yaml"
    common = {
        "profiles": PROFILES,
        "embedding": {"model": "hash", "text": TEXT},
        "store": {"postgres": {"dsn": dsn}, "pgvector": {"dsn": dsn, "table": "chunks"}},
    }
    file.write_text(yaml.safe_dump({**common, **settings}), encoding="utf-8")
    return load(file)


@pytest.fixture
def bench(filled: Bench, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """As it was filled: what a test damages is put back."""
    tables = ("customers", "orders", "visits", "chunks")
    kept = (
        "chunks_ledger",
        *tables,
        *(f"{filled.pipeline.name}_{each}" for each in ("profiles", "identifiers", "members", "groups")),
    )
    for table in kept:
        filled.sql(f"CREATE TABLE kept_{table} AS TABLE {table}")
    yield filled
    for table in kept:
        filled.sql(RESTORE.replace("{}", table))


def test_equal_stores_have_no_difference(bench: Bench, tmp_path: Path) -> None:
    code, printed = bench.verify(json_file=tmp_path / "found.json", sample=20)
    assert code == 0, printed
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["equal"] and found["sampled"] == 20
    assert [(line["store"], line["rows"] == line["ok"] > 40) for line in found["tables"]] == [
        ("postgres", True),
        ("pgvector", True),
    ]
    assert "no difference: pgvector and postgres equal the source" in printed
    assert "vectors: a sample of 20 of " in printed


KARI = "(SELECT profile_id FROM NAME_identifiers WHERE type = 'customer_id' AND value = '7')"
DAMAGES = {
    "profile": ("DELETE FROM NAME_profiles WHERE profile_id = KARI", "missing in postgres: profiles/"),
    "value": (
        'UPDATE NAME_profiles SET attributes = attributes || \'{"total_spent": "1"}\' WHERE profile_id = KARI',
        "other values: total_spent",
    ),
    "identifier": ("DELETE FROM NAME_identifiers WHERE value = 'p7@x.no'", "identifiers: lacks 1 email"),
    "record": (
        "UPDATE NAME_groups SET profile_id = KARI WHERE group_id = "
        "(SELECT group_id FROM NAME_members WHERE record = 'public.orders/8')",
        "record public.orders/48 is of ",
    ),
    "ghost": (
        "INSERT INTO NAME_profiles (profile_id, attributes, records, text_hash, version) "
        "VALUES ('left', '{}', '{\"public.orders\": 1}', '', 1)",
        "ghost in postgres: profiles/left: no rows make it; it has 1 of public.orders",
    ),
    "deleted row": ("DELETE FROM orders WHERE id = 8", "made of 1 of public.customers, 3 of public.orders"),
    "corrected row": ("UPDATE customers SET email = 'other@x.no' WHERE id = 7", "identifiers: lacks 1 email"),
    "text": (
        "UPDATE chunks SET text = 'other' WHERE document_id = 'profiles/' || KARI",
        "stale in pgvector: profiles/",
    ),
    "vector": (
        "UPDATE chunks SET embedding = (SELECT embedding FROM chunks WHERE text LIKE 'name 9,%') "
        "WHERE document_id = 'profiles/' || KARI",
        "another vector in chunk 0",
    ),
    "no document": ("DELETE FROM chunks WHERE document_id = 'profiles/' || KARI", "missing in pgvector: profiles/"),
    "document too many": (
        "INSERT INTO chunks_ledger VALUES ('profiles/none', '1');"
        "INSERT INTO chunks SELECT 'x', 'profiles/none', 0, 't', '{}', embedding, model FROM chunks LIMIT 1",
        "ghost in pgvector: profiles/none: there is no such profile",
    ),
    "a city that nobody said": (
        'UPDATE NAME_profiles SET attributes = attributes || \'{"city": "Atlantis"}\' WHERE profile_id = KARI',
        "other values: city",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_named(bench: Bench, name: str) -> None:
    query, line = DAMAGES[name]
    bench.sql(query.replace("KARI", KARI).replace("NAME", bench.pipeline.name))
    code, printed = bench.verify()
    assert code == 1
    assert line in printed, printed
    assert "@" not in printed, "no identifier of a person is shown"


def test_repair_is_refused(bench: Bench) -> None:
    with pytest.raises(ConfigError, match=r"--repair mends documents\. Of profiles: write the rows again"):
        bench.verify(repair=True)


def test_items_of_dynamodb_are_compared(stack: Stack, tmp_path: Path) -> None:
    table, dsn = f"people-{uuid4().hex[:6]}", database(stack)
    with moto_server() as aws:
        at = {"aws.region": aws.region, "aws.endpoint": aws.endpoint}
        items = DynamodbWriter(table, aws)
        items.ensure()
        items.write((n, {"id": n, "email": f"p{n // 2}@x.no", "name": f"name {n // 2}"}) for n in range(1, 30))
        record = {"identifiers": {"email": "email"}, "attributes": {"name": "name"}}
        pipeline = pipeline_of(
            tmp_path,
            dsn,
            name=f"v{uuid4().hex[:6]}",
            source={"dynamodb": {"table": table, **at}},
            format="dynamodb",
            profiles={"identifiers": [{"type": "email", "limit": 1}], "records": {table: record}},
            embedding={"model": "hash", "text": "{name}"},
            dead_letters={"kafka": {"topic": "d", "properties.bootstrap.servers": stack.kafka.bootstrap_servers}},
            reselect={"dynamodb": at},
        )
        bench = Bench(dsn, pipeline)
        bench.fill()
        code, printed = bench.verify()
        assert code == 0, printed
        items.write([(7, None), (8, {"id": 8, "email": "other@x.no", "name": "other"})])
        code, printed = bench.verify()
    assert code == 1
    assert f"made of 2 of {table}, not 1 of {table}" in printed
    assert "missing in postgres: profiles/" in printed
