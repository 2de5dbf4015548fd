"""What real servers tell of the log that they are: Kafka's topic ids, PostgreSQL's identity, and moto's of AWS."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from confluent_kafka.admin import AdminClient, NewPartitions

from connectors.aws.client import client
from connectors.kafka.identity import of_topics
from connectors.kafka.producer import ensure_topics, produce
from connectors.opening.log_identity import ask
from core.config.file import load
from core.config.log_identity import changes
from core.config.pipeline import Pipeline
from core.formats.recordings import Record
from operations.log_watch import LogWatch
from stack.local import Stack
from tests.aws import moto_server

_PATIENCE_S = 30.0


def a_pipeline(tmp_path: Path, source: dict[str, Any], **more: Any) -> Pipeline:
    file = tmp_path / "pipeline.yaml"
    letters = {"topic": "letters", "properties.bootstrap.servers": "127.0.0.1:1"}
    pipeline = {
        "name": "documents",
        "source": source,
        "format": "debezium",
        "documents": {"public.articles": {"text": "{t}"}},
        "store": {"pgvector": {"dsn": "postgresql://freshet@127.0.0.1:1/x", "table": "documents"}},
        "dead_letters": {"kafka": letters},
        **more,
    }
    file.write_text(yaml.safe_dump(pipeline), encoding="utf-8")
    return load(file)


def of_kafka(tmp_path: Path, stack: Stack, **more: Any) -> Pipeline:
    source = {"properties.bootstrap.servers": stack.kafka.bootstrap_servers, **more}
    return a_pipeline(tmp_path, {"kafka": source})


def event(topic: str, name: str, number: int, gtid: str | None = None, **source: str) -> Record:
    block = {"connector": "postgresql", "name": name, "db": "app", "schema": "public", "table": "articles", **source}
    value = {"op": "c", "before": None, "after": {"id": number, "t": name}, "source": {**block, "gtid": gtid}}
    return Record(topic, json.dumps({"id": number}).encode(), json.dumps(value).encode(), (), 0)


def make_anew(stack: Stack, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": stack.kafka.bootstrap_servers})
    admin.delete_topics([topic])[topic].result(10)
    deadline = time.monotonic() + _PATIENCE_S
    while topic in admin.list_topics(timeout=10).topics:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    ensure_topics(stack.kafka.bootstrap_servers, {topic: 2})


def test_a_topic_made_anew_is_reported_before_anything_is_read(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    servers, topic = stack.kafka.bootstrap_servers, f"shop{uuid4().hex[:6]}.public.articles"
    pipeline = of_kafka(tmp_path, stack, topic=topic)
    assert of_topics("", pipeline.kafka).logs == {f"topic {topic}": ""}
    ensure_topics(servers, {topic: 2})
    produce(servers, [event(topic, "shop", number) for number in range(20)])
    before = ask(pipeline)
    assert before.first == {"public.articles": {"shop:app"}} and before.unknown == ()
    assert before.identity.sources == {"public.articles": "shop:app"}
    watch = LogWatch(pipeline)
    assert ask(pipeline) == before and watch.look(100.0) == ""
    make_anew(stack, topic)
    produce(servers, [event(topic, "shop", number) for number in range(30)])
    ((what, positions),) = [
        (each.what, each.positions) for each in changes(before.identity, ask(pipeline).identity, "chk-3")
    ]
    assert what.startswith(f"topic {topic} was made anew since chk-3 (its id was ") and not positions


def test_a_topic_made_anew_under_a_running_job_is_reported(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from operations import log_record
    from operations.job_file import JobFile, remember

    monkeypatch.chdir(tmp_path)
    topic = f"shop{uuid4().hex[:6]}.public.articles"
    pipeline = of_kafka(tmp_path, stack, topic=topic)
    log_record.begin(pipeline, ask(pipeline).identity)
    log_record.submitted(pipeline, "ab" * 16)
    remember(pipeline, JobFile("http://127.0.0.1:1", "ab" * 16))
    watch = LogWatch(pipeline)
    ensure_topics(stack.kafka.bootstrap_servers, {topic: 2})
    # it wasn't there at first: its id is known from then on
    assert watch.look(100.0) == "" and log_record.last_log(pipeline).logs[f"topic {topic}"]
    assert watch.grown() == []
    admin = AdminClient({"bootstrap.servers": stack.kafka.bootstrap_servers})
    admin.create_partitions([NewPartitions(topic, 3)])[topic].result(10)
    assert watch.look(120.0) == ""
    (line,) = watch.grown()
    assert line.startswith(f"topic {topic} has 3 partitions since 20") and " UTC, was 2: " in line
    # a later run has it from the log's record
    watch = LogWatch(pipeline)
    assert watch.look(140.0) == "" and watch.grown() == []
    make_anew(stack, topic)
    assert watch.look(141.0) == ""
    assert f"documents: topic {topic} was made anew since the job began" in watch.look(160.0)


def test_topics_of_several_databases_and_servers(stack: Stack, tmp_path: Path) -> None:
    servers, prefix = stack.kafka.bootstrap_servers, f"p{uuid4().hex[:6]}"
    topics = [f"{prefix}{name}.public.articles" for name in "ABC"]
    ensure_topics(servers, dict.fromkeys(topics, 1))
    uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
    produce(servers, [event(topics[0], "A", number) for number in range(9)])
    produce(servers, [event(topics[1], "B", 1, gtid=f"{uuid}:7"), Record(topics[1], b"{}", None, (), 0)])
    found = ask(of_kafka(tmp_path, stack, **{"topic-pattern": rf"{prefix}.\.public\.articles"}))
    assert found.first == {"public.articles": {"A:app", "B:app"}}
    assert found.identity.databases == {"MySQL's server UUID": uuid} and found.identity.sources == {}
    assert {name: bool(known) for name, known in found.identity.logs.items()} == {
        f"topic {each}": True for each in topics
    }


def test_postgres_tells_its_system_and_its_timeline(stack: Stack, tmp_path: Path) -> None:
    kafka = {"kafka": {"topic": f"t{uuid4().hex[:6]}", "properties.bootstrap.servers": stack.kafka.bootstrap_servers}}
    pipeline = a_pipeline(tmp_path, kafka, reselect={"postgres": {"dsn": stack.postgres.dsn}})
    databases = ask(pipeline).identity.databases
    assert databases["PostgreSQL's timeline"] == "1" and databases["PostgreSQL's system identifier"].isdecimal()
    away = {"postgres": {"dsn": "postgresql://freshet:secret@127.0.0.1:1/x"}}
    (unknown,) = ask(a_pipeline(tmp_path, kafka, reselect=away)).unknown
    assert unknown.endswith("whether it is the same database") and "secret" not in unknown


def test_streams_made_anew_have_another_identity(tmp_path: Path) -> None:
    with moto_server() as aws:
        at = {"aws.region": aws.region, "aws.endpoint": aws.endpoint}
        kinesis = client("kinesis", aws, "test")
        pipeline = a_pipeline(tmp_path, {"kinesis": {"stream": "changes", **at}})
        found = []
        for _ in range(2):
            kinesis.create_stream(StreamName="changes", ShardCount=1)
            found.append(ask(pipeline).identity)
            assert ask(pipeline).identity == found[-1]
            kinesis.delete_stream(StreamName="changes")
            time.sleep(1.1)
        assert [each.what.startswith("stream changes was made anew") for each in changes(*found, "chk-1")] == [True]
        gone = ask(pipeline)
        assert gone.identity.logs == {} and "whether it is the same stream" in gone.unknown[0]

        tables = client("dynamodb", aws, "test")
        of_table = a_pipeline(
            tmp_path,
            {"dynamodb": {"table": "articles", **at}},
            format="dynamodb",
            documents={"articles": {"text": "{t}"}},
        )
        made = []
        for _ in range(2):
            tables.create_table(
                TableName="articles",
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
                StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
            )
            made.append(ask(of_table).identity)
            tables.delete_table(TableName="articles")
            time.sleep(1.1)
        (only,) = changes(*made, "chk-1")
        assert only.positions and "the stream of articles was made anew since chk-1" in only.what
