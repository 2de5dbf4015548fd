"""A store filled from a staged topic, on real servers: nothing is embedded, and what is repeated changes nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from typer.testing import CliRunner

from cli.main import commands
from connectors.kafka.staged.log import KafkaLog
from connectors.kinesis.staged.log import KinesisLog
from connectors.pgvector.store import PgvectorStore
from connectors.staged.store import StagedStore
from core.change import Position
from core.config.file import load
from core.config.pipeline import Pipeline
from core.config.staging import StagedStream, StagedTopic
from core.errors import ConfigError, Displaced
from core.plans import Plan
from core.stores.contract import VectorStore
from core.stores.fingerprint import Fingerprint, Owner
from operations.materialize import materialize
from operations.reporting import unheard
from stack.local import Stack
from tests.aws import moto_server
from tests.connectors.servers import new_schema
from tests.connectors.test_store_contract import APPLIED, plan

SIZE = 384
FILE = """
name: copies
source: {{kafka: {{topic: changes, properties.bootstrap.servers: "{servers}"}}}}
format: debezium
documents: {{public.a: {{text: "{{title}}", metadata: [price, lang]}}}}
embedding: {{model: hash}}
store:
  kafka: {{topic: {topic}, properties.bootstrap.servers: "{servers}", largest_record: 20000}}
  pgvector: {{dsn: "{dsn}", table: chunks}}
dead_letters: {{kafka: {{topic: letters}}}}
"""


@pytest.fixture
def file(stack: Stack, tmp_path: Path) -> Path:
    made = tmp_path / "copies.yaml"
    servers, topic = stack.kafka.bootstrap_servers, f"staged-{uuid4().hex[:8]}"
    made.write_text(FILE.format(servers=servers, topic=topic, dsn=new_schema(stack.postgres.dsn)), encoding="utf-8")
    return made


@pytest.fixture
def pipeline(file: Path) -> Pipeline:
    return load(file)


@pytest.fixture
def topic(pipeline: Pipeline) -> Iterator[StagedStore]:
    owner = Owner("articles", 7, Fingerprint("hash"))
    made = StagedStore(KafkaLog(pipeline.store.of(StagedTopic), 30.0), SIZE, "hash", owner)
    made.prepare()
    yield made
    made.close()


def vectors(each: Plan) -> Any:
    seeds = [sum(chunk.text.encode()) for chunk in each.write]
    return np.array([np.random.default_rng(seed).standard_normal(SIZE) for seed in seeds], np.float32)


def stage(store: VectorStore, *plans: Plan) -> None:
    assert [each.status for each in store.apply(plans, [vectors(each) for each in plans])] == [APPLIED] * len(plans)


def of_target(pipeline: Pipeline) -> PgvectorStore:
    assert pipeline.store.pgvector is not None
    return PgvectorStore(pipeline.store.pgvector.dsn, "chunks", SIZE, "hash")


def test_a_store_is_filled_with_what_the_topic_has(pipeline: Pipeline, topic: StagedStore, file: Path) -> None:
    large = plan("public.a/2", "1", *(f"{at} " + "x" * 3_000 for at in range(12)), committed_ms=7)
    exact = plan("public.a/1", "5", "one", metadata={"price": "99999999999999999999.90"}, numbers=("price",))
    stage(topic, exact, large, plan("public.a/3", "3", "gone"), plan("public.b/1", "2", "cleared"))
    stage(topic, plan("public.a/3", "4"))
    topic.clear("public.b", Position("9"))
    filled = materialize(pipeline, None, unheard)
    assert (filled.documents, filled.chunks, filled.deleted, filled.refused) == (2, 13, 1, ())
    target = of_target(pipeline)
    ids = ["public.a/1", "public.a/2", "public.a/3", "public.b/1"]
    there, staged = target.read(ids), topic.read(ids)
    assert there.keys() == staged.keys() == {"public.a/1", "public.a/2"}
    for name, each in there.items():
        assert np.array_equal(each.vectors, staged[name].vectors) and each.chunks == staged[name].chunks
        assert (each.position, each.committed_ms) == (staged[name].position, staged[name].committed_ms)
    assert target.positions(ids[:3]) == {"public.a/1": "5", "public.a/2": "1", "public.a/3": "4"}
    assert target.mark("public.b") == "9"
    owner = target.owner()
    assert owner is not None and (owner.pipeline, owner.made) == ("copies", Fingerprint("hash"))
    # again, with a document that the topic has forgotten: the command says what came of it
    stage(target, plan("public.a/9", "1", "nobody knows it"))
    ran = CliRunner().invoke(commands, ["materialize", str(file), "--to", "pgvector"])
    assert ran.exit_code == 0, ran.output
    assert "materialized: 2 documents, 13 chunks; 1 deleted, 1 stale, 1 ghosts removed, 0 refused" in ran.output
    assert sorted(target.document_ids()) == ["public.a/1", "public.a/2"]
    target.close()


class _Done(Exception):
    """Ends a follower."""


def test_what_comes_is_followed(pipeline: Pipeline, topic: StagedStore) -> None:
    stage(topic, plan("public.a/1", "1", "one"), plan("public.a/2", "1", "two"), plan("public.a/3", "1", "three"))
    target, looks = of_target(pipeline), iter(range(4))

    def change(_: float) -> None:
        look = next(looks, None)
        if look == 0:
            stage(topic, plan("public.a/1", "2", "one", "more"), plan("public.a/2", "2"), plan("public.c/1", "1", "c"))
        elif look == 1:
            topic.clear("public.c", Position("5"))
        elif look == 2:
            assert topic.drop({"public.a/3": Position("1")}) == {"public.a/3"}
        elif look is None:
            raise _Done

    with pytest.raises(_Done):
        materialize(pipeline, "pgvector", unheard, follow=True, wait=change)
    assert {each: len(stored.chunks) for each, stored in target.read(list(target.document_ids())).items()} == {
        "public.a/1": 2
    }
    assert target.positions(["public.a/2", "public.a/3"]) == {"public.a/2": "2"}, "deleted, and as if it had never been"
    target.close()


def test_what_the_store_cannot_hold_is_named(
    pipeline: Pipeline, topic: StagedStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a topic takes ids that an index of PostgreSQL's doesn't
    long = f"public.a/{''.join(random.Random(1).choices('abcdefghijklmnop', k=8_000))}"
    stage(topic, plan(long, "1", "one"), plan("public.a/1", "1", "two"))
    ran = CliRunner().invoke(commands, ["materialize", str(file)])
    assert ran.exit_code == 1 and "refused public.a/" in ran.output, ran.output
    assert "1 documents" in ran.output and "1 refused" in ran.output


def test_another_pipelines_store_is_refused(pipeline: Pipeline, topic: StagedStore) -> None:
    assert pipeline.store.pgvector is not None
    owner = Owner("others", 9, Fingerprint("hash"))
    theirs = PgvectorStore(pipeline.store.pgvector.dsn, "chunks", SIZE, "hash", owner=owner)
    theirs.prepare()
    theirs.claim()
    with pytest.raises(ConfigError, match=r"store.pgvector: table chunks belongs to pipeline others"):
        materialize(pipeline, None, unheard)
    theirs.close()


def test_a_run_is_later_than_the_one_before_whatever_its_clock_says(pipeline: Pipeline, topic: StagedStore) -> None:
    assert pipeline.store.pgvector is not None
    ahead = Owner("copies", 2**50, Fingerprint("hash"))
    before = PgvectorStore(pipeline.store.pgvector.dsn, "chunks", SIZE, "hash", owner=ahead)
    before.prepare()
    before.claim()
    materialize(pipeline, None, unheard)
    assert before.owner() == Owner("copies", 2**50 + 1, Fingerprint("hash"))
    before.close()


def test_a_store_that_a_later_run_takes_is_let_go(
    pipeline: Pipeline, topic: StagedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    closed: list[object] = []
    close = PgvectorStore.close

    def claim(store: PgvectorStore, *_: object) -> None:
        opened.append(store)
        raise Displaced("a later run has it")

    def closing(store: PgvectorStore) -> None:
        closed.append(store)
        close(store)

    monkeypatch.setattr(PgvectorStore, "claim", claim)
    monkeypatch.setattr(PgvectorStore, "close", closing)
    with pytest.raises(Displaced):
        materialize(pipeline, None, unheard)
    assert len(opened) == 1 and opened[0] in closed


def test_a_topic_that_is_not_there_and_a_store_that_is_none_are_named(pipeline: Pipeline) -> None:
    with pytest.raises(ConfigError, match="isn't there: run the pipeline that stages to it"):
        materialize(pipeline, None, unheard)
    with pytest.raises(ConfigError, match="--to is milvus, must be a store of the pipeline file: pgvector"):
        materialize(pipeline, "milvus", unheard)


def test_a_store_is_filled_from_a_stream_and_keeps_what_that_does_not_know(pipeline: Pipeline, file: Path) -> None:
    with moto_server() as aws:
        named = f"{{stream: staged-{uuid4().hex[:8]}, region: {aws.region}, endpoint: {aws.endpoint}, shards: 2}}"
        text = file.read_text(encoding="utf-8").replace("\n  pgvector:", f"\n  kinesis: {named}\n  pgvector:")
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=r"--from is missing, must be a store .* staged to: kafka, kinesis"):
            materialize(load(file), "pgvector", unheard)
        owner = Owner("articles", 7, Fingerprint("hash"))
        with closing(StagedStore(KinesisLog(load(file).store.of(StagedStream), 30.0, 0.0), SIZE, "hash", owner)) as log:
            log.prepare()
            stage(log, plan("public.a/1", "5", "one", "more"), plan("public.a/2", "1", "two"))
            stage(log, plan("public.a/2", "3"))
        target = of_target(pipeline)
        target.prepare()
        stage(target, plan("public.a/2", "1", "two"), plan("public.a/9", "1", "let go by the stream"))
        ran = CliRunner().invoke(commands, ["materialize", str(file), "--from", "kinesis", "--to", "pgvector"])
    assert ran.exit_code == 0, ran.output
    assert "what the log doesn't know of stays" in ran.output
    assert "materialized: 1 documents, 2 chunks; 1 deleted, 0 stale, 0 ghosts removed, 0 refused" in ran.output
    assert sorted(target.document_ids()) == ["public.a/1", "public.a/9"]
    target.close()
