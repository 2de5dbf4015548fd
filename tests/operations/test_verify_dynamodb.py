"""`freshet verify` on DynamoDB's tables and a real store that was filled from their streams: equal is equal, and each
kind of damage is found and named; what arrives while it waits is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import psycopg
import pytest
from rich.console import Console

from connectors.aws.client import Aws
from connectors.dynamodb.rows import Tables
from connectors.dynamodb.streams import TableStream
from core.change import Change, Event
from core.config.pipeline import Pipeline
from core.decoding import decoder
from core.documents.step import step
from core.errors import ConfigError
from core.plans import Plan
from core.shards.log import Start
from operations.servers import stores
from operations.verify.one_pass import Findings, Pass, watched
from operations.verify.stream import Waiting
from operations.verify.whole import Options
from stack.local import Stack
from terminal.verification import verify
from tests.aws import moto_server
from tests.operations.test_verify import database, pipeline_of
from udfs.embedding.embedder import embedder
from udfs.embedding.tokenizing import document_chunker

ITEMS = 100
KINESIS = {"kinesis": {"stream": "changes"}}
NOTES = [("a/b", Decimal("1.5")), ("%", Decimal("-2")), ("ü", Decimal("12345678901234567890"))]


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto_server() as server:
        yield server


@dataclass(frozen=True)
class Bench:
    """Two tables with items, a store that equals them, and a pipeline that names them all."""

    dsn: str
    pipeline: Pipeline
    articles: Any
    notes: Any

    def sql(self, query: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(query.replace("ARTICLES", self.articles.name).encode())

    def verify(self, **options: Any) -> tuple[int, str]:
        printed = StringIO()
        code = verify(self.pipeline, Options(wait_s=0, **options), Console(file=printed, width=300))
        return code, printed.getvalue()

    def fill(self, aws: Aws) -> None:
        """Bring the store to what the tables' streams tell, by the job's own parts."""
        (store,) = stores(self.pipeline).values()
        store.prepare()
        decode = decoder(self.pipeline.events)
        with closing(store):
            for name in self.pipeline.documents:
                every = [plan for value in records(name, aws) for plan in self._plans(decode(event(value)))]
                plans = list({plan.document_id: plan for plan in every}.values())  # the last of each
                vectors = [embedder("hash").embed([chunk.text for chunk in plan.write]) for plan in plans]
                store.apply(plans, vectors)

    def _plans(self, changes: Any) -> list[Plan]:
        (change,) = changes
        assert isinstance(change, Change)
        document = self.pipeline.documents[change.table]
        _, emitted = step(None, change, document.spec(change.table), "hash", document_chunker("hash", document.chunk))
        return [each for each in emitted if isinstance(each, Plan)]


def records(table: str, aws: Aws) -> list[bytes]:
    stream = TableStream(table, aws)
    (shard,) = stream.shards()
    iterator: str | None = stream.iterator(shard.id, Start())
    values: list[bytes] = []
    while iterator is not None:
        batch = stream.read(iterator, 1000)
        if not batch.records:
            break
        values += [record.value for record in batch.records]
        iterator = batch.iterator
    return values


def event(value: bytes) -> Event:
    return Event("changes", 0, 0, None, value, {})


def created(aws: Aws, name: str, *key: tuple[str, str]) -> Any:
    resource = boto3.resource("dynamodb", region_name=aws.region, endpoint_url=aws.endpoint)
    kinds = ("HASH", "RANGE")
    return resource.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": name, "KeyType": kind} for (name, _), kind in zip(key, kinds, strict=False)],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, kind in key],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )


@pytest.fixture
def bench(stack: Stack, aws: Aws, tmp_path: Path) -> Bench:
    dsn, suffix = database(stack), uuid4().hex[:6]
    articles = created(aws, f"articles-{suffix}", ("id", "S"))
    notes = created(aws, f"notes.{suffix}", ("name", "S"), ("at", "N"))
    documents = {
        articles.name: {
            "text": "{title}\n\n{body}",
            "metadata": ["lang|language", "tags", "raw"],
            "chunk": {"tokens": 16, "overlap": 4},
        },
        notes.name: {"text": "{text|}", "key": ["name", "at"]},
    }
    letters = {"kafka": {"topic": "letters", "properties.bootstrap.servers": stack.kafka.bootstrap_servers}}
    changes = {
        "source": KINESIS,
        "format": "dynamodb",
        "documents": documents,
        "dead_letters": letters,
        "reselect": {"dynamodb": {"aws.region": aws.region, "aws.endpoint": aws.endpoint}},
    }
    bench = Bench(dsn, pipeline_of(tmp_path, stack, dsn, **changes), articles, notes)
    with articles.batch_writer() as batch:
        for number in range(ITEMS):
            batch.put_item(Item=article(number))
    for name, at in NOTES:
        notes.put_item(Item={"name": name, "at": at, **({"text": "words"} if at > 0 else {})})
    bench.fill(aws)
    return bench


def article(number: int) -> dict[str, Any]:
    body = f"some words about {number}. " * 12
    language = "lang" if number % 3 else "language"
    return {
        "id": f"n{number}",
        "title": f"title {number}",
        "body": body,
        language: None if number == 4 else "en",
        "tags": {"b", "a"},
        "raw": b"\x00\xff",
        "unused": Decimal("0.1"),
    }


def test_an_equal_store_has_no_difference(bench: Bench) -> None:
    code, printed = bench.verify(sample=50)
    assert code == 0, printed
    lines = {line[0]: line[1:4] for line in map(str.split, printed.splitlines()) if len(line) > 3}
    assert lines[bench.articles.name] == ["pgvector", "100", "100"]
    assert lines[bench.notes.name] == ["pgvector", "3", "3"]
    assert "no difference: pgvector equals the source" in printed
    assert "vectors: a sample of 50 of " in printed
    assert "can't be asked how far it is" in printed


DAMAGES = {
    "missing": ("DELETE FROM chunks WHERE document_id = 'ARTICLES/n7'", "missing in pgvector: ARTICLES/n7: none of"),
    "stale": (
        "UPDATE chunks SET text = 'other' WHERE document_id = 'ARTICLES/n7' AND ordinal = 1",
        "stale in pgvector: ARTICLES/n7: another text in chunk 1",
    ),
    "id of no key": (
        "INSERT INTO chunks SELECT 'x', 'ARTICLES/no/key', 0, 't', '{}', embedding, model FROM chunks LIMIT 1;"
        "INSERT INTO chunks_ledger VALUES ('ARTICLES/no/key', '1')",
        "ghost in pgvector: ARTICLES/no/key: the source has no row",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_of_the_store_is_found_and_named(bench: Bench, name: str) -> None:
    query, line = DAMAGES[name]
    bench.sql(query)
    code, printed = bench.verify(sample=0)
    assert code == 1
    assert line.replace("ARTICLES", bench.articles.name) in printed
    assert printed.count(" in pgvector: ") == 1


def test_what_the_stream_did_not_tell_is_found_and_named(bench: Bench) -> None:
    bench.articles.delete_item(Key={"id": "n7"})
    bench.articles.put_item(Item={**article(8), "body": "new"})
    bench.articles.put_item(Item=article(999))
    for name, at in NOTES[:2]:
        bench.notes.delete_item(Key={"name": name, "at": at})
    code, printed = bench.verify(sample=0)
    assert code == 1
    assert f"ghost in pgvector: {bench.articles.name}/n7: the source has no row" in printed
    assert f"stale in pgvector: {bench.articles.name}/n8: lacks 1 of 1 chunk" in printed
    assert f"missing in pgvector: {bench.articles.name}/n999: none of its" in printed
    assert f"ghost in pgvector: {bench.notes.name}/a%2Fb/1.5: the source has no row" in printed
    assert printed.count(" in pgvector: ") == 4  # the note without text has no chunks, and no ghost


def test_items_that_make_no_document_are_counted(bench: Bench) -> None:
    bench.articles.put_item(Item={"id": "bare"})
    code, printed = bench.verify(sample=0)
    assert code == 0
    assert f"1 rows of {bench.articles.name} make no document: " in printed
    assert "uses column 'title', which the row lacks" in printed


def passed(bench: Bench, report: Any) -> Findings:
    """A pass that waits half a second."""
    tables = Tables(aws_of(bench.pipeline))
    chunkers = {name: document_chunker("hash", document.chunk) for name, document in bench.pipeline.documents.items()}
    (store,) = stores(bench.pipeline).values()
    with closing(store):
        run = Pass(
            {each.spec.table: each for each in watched(bench.pipeline, tables, chunkers)},
            tables,
            {"pgvector": store},
            embedder("hash"),
            Waiting(bench.pipeline, None, 0.5, report),
            lambda *_: None,
            lambda _: None,
        )
        return run.run(tables, 0)


def aws_of(pipeline: Pipeline) -> Aws:
    assert pipeline.reselect is not None and pipeline.reselect.dynamodb is not None
    return Aws(pipeline.reselect.dynamodb.region, pipeline.reselect.dynamodb.endpoint)


def test_what_arrives_while_it_waits_is_no_difference(bench: Bench) -> None:
    bench.articles.put_item(Item={**article(8), "body": "new"})
    assert passed(bench, lambda _: None).kinds.total() == 1
    assert passed(bench, lambda _: bench.fill(aws_of(bench.pipeline))).kinds.total() == 0


def test_an_item_that_changes_at_each_look_is_none_either(bench: Bench) -> None:
    said: list[str] = []

    def write(what: str) -> None:
        said.append(what)
        bench.articles.put_item(Item={**article(8), "body": f"new {len(said)}"})

    write("before")
    found = passed(bench, write)
    assert (found.kinds.total(), found.moving) == (0, 1)


def test_the_job_is_asked_where_records_come_through_kafka(bench: Bench, stack: Stack, tmp_path: Path) -> None:
    kafka = {"kafka": {"topic": "absent", "properties.bootstrap.servers": stack.kafka.bootstrap_servers}}
    documents = {bench.articles.name: {"text": "{title}", "chunk": {"tokens": 16, "overlap": 4}}}
    reselect = {"dynamodb": {"aws.region": "eu-central-1", "aws.endpoint": aws_of(bench.pipeline).endpoint}}
    changes = {"source": kafka, "format": "dynamodb", "documents": documents, "reselect": reselect}
    other = replace(bench, pipeline=pipeline_of(tmp_path, stack, bench.dsn, **changes))
    code, printed = other.verify(sample=0)
    assert code == 1
    assert "the stream lags: there is no topic absent" in printed


def test_what_cannot_be_verified_or_mended_is_refused(bench: Bench, stack: Stack, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--repair .* needs source\.kafka, format: debezium"):
        bench.verify(repair=True)
    postgres = {"postgres": {"dsn": bench.dsn}}
    letters = {"kafka": {"topic": "letters", "properties.bootstrap.servers": "127.0.0.1:1"}}

    def refused(format_: str, document: str, reselect: Any, why: str) -> None:
        changes = {"documents": {document: {"text": "{a}"}}, "reselect": reselect, "dead_letters": letters}
        pipeline = pipeline_of(tmp_path, stack, bench.dsn, source=KINESIS, format=format_, **changes)
        with pytest.raises(ConfigError, match=why):
            replace(bench, pipeline=pipeline).verify()

    refused("dynamodb", "articles", None, r"reselect is missing: .* add reselect: \{dynamodb: ")
    refused("dynamodb", "articles", postgres, r"rows of format: dynamodb can't be read there; .*reselect: \{dynamodb: ")
    refused("debezium", "public.a", {"dynamodb": {}}, r"rows of format: debezium .*reselect: \{postgres: ")
    refused("s3", "s3.handbook", postgres, "verify can't compare buckets yet")
    with pytest.raises(ConfigError, match="either postgres or dynamodb must be set"):
        pipeline_of(tmp_path, stack, bench.dsn, reselect={**postgres, "dynamodb": {}})
