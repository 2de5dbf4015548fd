"""`freshet profile`, on the real stores; DynamoDB's is moto."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cli.main import commands
from connectors.aws.client import Aws
from connectors.opening.stores import open_profiles, open_stores, stores_of
from core.config.documents import Chunk
from core.config.file import load
from core.config.pipeline import Pipeline
from core.errors import ConfigError, FreshetError
from core.identity.linking import RecordChange
from core.identity.state import Memory
from core.profiles.delivery import plans_of
from core.profiles.step import Persons
from operations.search import search
from stack.local import Stack
from tests.aws import moto_server
from tests.connectors.servers import new_schema
from tests.flink_jobs.people import PROFILES, TEXT, RowEvent, change_of, customer, order, visit
from tests.profile_writer import Writer
from udfs.embedding.embedder import embedder
from udfs.embedding.tokenizing import document_chunker

HISTORY = [
    RowEvent("customers", 1, customer(1, "kari@x.no"), 1),
    RowEvent("customers", 2, customer(2, "ola@x.no", "Ola", "Oslo"), 2),
    RowEvent("visits", 1, visit(1, "d1"), 3),
    RowEvent("visits", 2, visit(2, "d1", "kari@x.no"), 4),
    RowEvent("orders", 1, order(1, 2, "kari@x.no"), 5),
]


def run(*arguments: str | Path) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(commands, ["profile", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto_server() as server:
        yield server


@pytest.fixture(scope="module", params=["postgres", "dynamodb"])
def people(stack: Stack, aws: Aws, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A pipeline file, whose stores have the people."""
    dsn = new_schema(stack.postgres.dsn)
    of_profiles = {
        "postgres": {"dsn": dsn},
        "dynamodb": {"table": "people", "aws.region": aws.region, "aws.endpoint": aws.endpoint},
    }
    path = tmp_path_factory.mktemp("people") / "people.yaml"
    text = {
        "name": "people",
        "source": {"kafka": {"topic": "a", "properties.bootstrap.servers": "127.0.0.1:1"}},
        "format": "debezium",
        "profiles": PROFILES,
        "embedding": {"model": "hash", "text": TEXT},
        "store": {request.param: of_profiles[request.param], "pgvector": {"dsn": dsn, "table": "vectors"}},
        "dead_letters": {"kafka": {"topic": "d"}},
    }
    path.write_text(yaml.safe_dump(text), encoding="utf-8")
    fill(load(path), [change_of(each, load(path)) for each in HISTORY])
    return path


def fill(pipeline: Pipeline, changes: list[RecordChange]) -> None:
    assert pipeline.profiles is not None
    profiles, model = open_profiles(stores_of(pipeline)), embedder("hash")
    (vectors,) = open_stores(stores_of(pipeline), model.dimension).values()
    profiles.prepare()
    vectors.prepare()
    held = Memory()
    writer = Writer(profiles, Persons(held, pipeline.profiles.linking(0), pipeline.profiles.merging), held, text=TEXT)
    for each in changes:
        delivery = writer.delivery(each.record, writer.persons.step(each))
        writer.deliver([delivery])
        plans = plans_of(delivery, "hash", document_chunker("hash", Chunk()))
        vectors.apply(plans, [model.embed([chunk.text for chunk in plan.write]) for plan in plans])
    profiles.close()
    vectors.close()


def test_get_takes_any_identifier_and_alias(people: Path) -> None:
    kari = json.loads(run("get", people, "kari@x.no", "--json"))
    assert kari["identifiers"] == [["customer_id", "1"], ["email", "kari@x.no"], ["device", "d1"]]
    assert kari["records"] == {"public.customers": 1, "public.visits": 2}
    assert kari["values"] == {"name": "Kari", "city": "Bergen", "language": "no"}
    for who in (" KARI@X.no", "email=kari@x.no", "customer_id=1", "1", "d1", kari["profile_id"]):
        assert json.loads(run("get", people, who, "--json")) == kari
    alias = run("explain", people, "d1").partition("merged with ")[2][:12]
    (whole,) = {name for each in history(people, kari["profile_id"]) for name in each if name.startswith(alias)}
    assert json.loads(run("get", people, whole, "--json")) == kari
    assert "customer_id 1 email kari@x.no device d1" in run("get", people, "d1")


def history(people: Path, profile_id: str) -> list[tuple[str, ...]]:
    store = open_profiles(stores_of(load(people)))
    found = [each.others for each in store.history(profile_id, 99)]
    store.close()
    return found


def test_explain_tells_records_links_rules_and_history(people: Path) -> None:
    said = run("explain", people, "kari@x.no").replace("│", "").replace("├──", "·").replace("└──", "·")
    said = " ".join(said.split())
    assert "customer_id 1 links 1 record, and names the profile · email kari@x.no links 2 records" in said
    assert "public.visits/2 · email kari@x.no · device d1" in said
    assert "name: Kari most_trusted" in said
    assert "by email kari@x.no, device d1 record public.visits/2 changed" in said
    ola = run("explain", people, "customer_id=2")
    kari = json.loads(run("get", people, "1", "--json"))["profile_id"]
    assert f"email kari@x.no is cut: it would break a limit together with {kari[:12]}" in ola
    assert "together a record of public.orders and this email would break customer_id's limit, 1" in ola
    assert "records 1 of 3" in run("explain", people, "1", "--records", "1")
    assert "history none" in run("explain", people, "1", "--events", "0")


def test_neighbours_are_other_profiles(people: Path) -> None:
    kari, ola = (json.loads(run("get", people, who, "--json"))["profile_id"] for who in ("1", "2"))
    found = run("neighbours", people, "1")
    assert ola in found and kari not in found
    assert "Ola, Oslo. 1 orders" in found


def test_nobody_is_said_so(people: Path, tmp_path: Path) -> None:
    with pytest.raises(FreshetError, match=r"nobody is known by .nobody@x\.no."):
        run("get", people, "nobody@x.no")
    documents = yaml.safe_load(people.read_text(encoding="utf-8"))
    del documents["profiles"], documents["embedding"]
    documents["store"] = {"pgvector": documents["store"]["pgvector"]}
    documents["documents"] = {"public.articles": {"text": "{body}"}}
    path = tmp_path / "documents.yaml"
    path.write_text(yaml.safe_dump(documents), encoding="utf-8")
    with pytest.raises(ConfigError, match="profiles is missing"):
        run("get", path, "1")


def test_other_commands_say_what_they_cannot(people: Path, tmp_path: Path) -> None:
    alone = yaml.safe_load(people.read_text(encoding="utf-8"))
    del alone["store"]["pgvector"]
    path = tmp_path / "alone.yaml"
    path.write_text(yaml.safe_dump(alone), encoding="utf-8")
    with pytest.raises(ConfigError, match="names no store of vectors"):
        search(load(path), "Who is Kari?", 1, [])
    with pytest.raises(ConfigError, match="names no store of vectors"):
        run("neighbours", path, "1")
