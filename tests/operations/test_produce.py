"""`freshet produce` against a real Kafka: recordings arrive as they were, generated events amount to their truth."""

from __future__ import annotations

import csv
import gzip
import json
import time
import uuid
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import typer
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner, Result

from cli.produce import produce, seconds_of
from core.errors import ConfigError, DecodeError
from core.formats.recordings import Record
from stack.local import Stack
from tests.replay import WORKLOAD
from tests.topics import consume
from workloads.texts import texts

app = typer.Typer()
app.command()(produce)


def run(stack: Stack, *arguments: object) -> Result:
    servers = stack.kafka.bootstrap_servers
    return CliRunner().invoke(app, ["--bootstrap-servers", servers, *(str(argument) for argument in arguments)])


@pytest.fixture
def prefix() -> str:
    return f"w{uuid.uuid4().hex[:8]}"


@pytest.fixture
def recording(tmp_path: Path, prefix: str) -> Path:
    """The workload under topics of this test's own."""
    copy = tmp_path / "workload.jsonl.gz"
    with gzip.open(WORKLOAD) as lines, gzip.open(copy, "wb", compresslevel=1) as written:
        written.writelines(line.replace(b'{"topic": "w.', f'{{"topic": "{prefix}.'.encode(), 1) for line in lines)
    return copy


def test_a_recording_arrives_as_it_was_recorded_and_twice_is_twice(stack: Stack, recording: Path, prefix: str) -> None:
    expected: dict[tuple[str, int], list[Any]] = defaultdict(list)
    with gzip.open(recording) as lines:
        for raw in lines:
            line = json.loads(raw)
            expected[line["topic"], line["partition"]].append([line["key"], line["value"], line["headers"]])
    for times in (1, 2):
        result = run(stack, "--recording", recording)
        assert result.exit_code == 0, result.output
        assert "3,554 events into 2 topics" in result.stdout
        arrived: dict[tuple[str, int], list[Any]] = defaultdict(list)
        for topic in (f"{prefix}.public.customers", f"{prefix}.public.documents"):
            for each in consume(stack.kafka.bootstrap_servers, topic):
                key, value = (None if raw is None else json.loads(raw) for raw in (each.key, each.value))
                headers = [[name, text and text.decode()] for name, text in each.headers]
                arrived[topic, each.partition or 0].append([key, value, headers])
        assert arrived == {place: messages * times for place, messages in expected.items()}


def test_a_topic_has_the_recordings_partitions_even_where_its_last_had_no_event(
    stack: Stack, tmp_path: Path, prefix: str
) -> None:
    lines = [
        {"topic": f"{prefix}.a", "partition": 2, "offset": 0, "key": None, "value": {"op": "t"}, "headers": []},
        {"topic": f"{prefix}.b", "partition": 0, "offset": 0, "key": {"id": 1}, "value": None, "headers": []},
    ]
    path = tmp_path / "two.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "2 events into 2 topics, 18 bytes" in run(stack, "--recording", path).stdout
    topics = AdminClient({"bootstrap.servers": stack.kafka.bootstrap_servers}).list_topics(timeout=5).topics
    assert [len(topics[f"{prefix}.{name}"].partitions) for name in "ab"] == [3, 3]
    assert consume(stack.kafka.bootstrap_servers, f"{prefix}.a") == [Record(f"{prefix}.a", None, b'{"op":"t"}', (), 2)]
    assert consume(stack.kafka.bootstrap_servers, f"{prefix}.b") == [Record(f"{prefix}.b", b'{"id":1}', None, (), 0)]


def test_a_malformed_line_is_named_and_nothing_is_sent(stack: Stack, tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "bad.jsonl"
    good = {"topic": prefix, "partition": 0, "offset": 0, "key": 1, "value": 2, "headers": []}
    path.write_text(json.dumps(good) + "\n" + json.dumps({**good, "partition": "x"}) + "\n")
    result = run(stack, "--recording", path)
    assert isinstance(result.exception, DecodeError)
    assert str(result.exception) == (
        f"{path}, line 2: not a line of a recording: Expected `int`, got `str` - at `$.partition`"
    )
    path.write_text(json.dumps(good) + "\n")
    run(stack, "--recording", path)
    assert len(consume(stack.kafka.bootstrap_servers, prefix)) == 1


def test_files_that_hold_no_recording_are_named(stack: Stack, tmp_path: Path) -> None:
    empty, torn, plain = tmp_path / "empty.jsonl", tmp_path / "torn.jsonl.gz", tmp_path / "plain.jsonl.gz"
    empty.touch()
    torn.write_bytes(WORKLOAD.read_bytes()[:1000])
    plain.write_bytes(b"{}")
    for path, message in (
        (empty, "holds no events"),
        (torn, "is no whole gzip file"),
        (plain, "is no whole gzip file"),
    ):
        result = run(stack, "--recording", path)
        assert isinstance(result.exception, ConfigError), path
        assert str(path) in str(result.exception)
        assert message in str(result.exception)
    missing = run(stack, "--recording", tmp_path / "missing.jsonl")
    assert missing.exit_code == 2
    assert "does not exist" in missing.output


def test_generated_events_amount_to_the_truth(stack: Stack, tmp_path: Path, prefix: str) -> None:
    topic, truth = f"{prefix}.public.articles", tmp_path / "truth.csv"
    started = time.time_ns() // 1_000_000
    result = run(stack, "--topic", topic, "--events", 2000, "--seed", 7, "--truth", truth)
    assert result.exit_code == 0, result.output
    table: dict[int, dict[str, Any]] = {}
    messages = consume(stack.kafka.bootstrap_servers, topic)
    assert {each.partition for each in messages} == {0, 1, 2}
    for each in messages:
        key = json.loads(each.key or b"")["id"]
        value = None if each.value is None else json.loads(each.value)
        if value is None or value["op"] == "d":
            table.pop(key, None)
        else:
            assert started <= value["ts_ms"] <= time.time_ns() // 1_000_000
            table[key] = value["after"]
    with truth.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert rows == [{name: str(value) for name, value in table[key].items()} for key in sorted(table)]
    assert len(rows) > 300
    assert f"{len(rows)} rows are the truth" in result.stdout
    again = consume(stack.kafka.bootstrap_servers, topic)
    assert [f"{len(each):,} events into 1 topic" in result.stdout for each in (messages, again)] == [True] * 2


def test_the_rate_is_kept_for_the_duration(stack: Stack, prefix: str) -> None:
    topic = f"{prefix}.public.articles"
    started = time.monotonic()
    result = run(stack, "--topic", topic, "--rate", 50, "--duration", "2s")
    assert result.exit_code == 0, result.output
    assert 1.9 < time.monotonic() - started < 8
    values = [json.loads(each.value) for each in consume(stack.kafka.bootstrap_servers, topic) if each.value]
    assert len(values) == 100
    times = sorted(value["ts_ms"] for value in values)
    assert 1900 <= times[-1] - times[0] <= 2500


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --recording FILE or --topic, --scenario,"),
        (["--topic", "a.b.c", "--recording", WORKLOAD], "give either --recording FILE or --topic, --scenario,"),
        (["--topic", "a.b.c"], "say how much to generate"),
        (["--topic", "a.b.c", "--duration", "5 parsecs"], "write 500ms, 30s, 5m or 1h"),
        (["--recording", WORKLOAD, "--rate", 5, "--events", 3], "--events, --rate do not go with --recording"),
        (["--topic", "a.b.c", "--table", "t"], "give either --recording FILE or --topic, --scenario,"),
        (["--table", "t", "--events", 1], "--bootstrap-servers does not go with --table"),
        (["--stream", "s", "--prefix", "p", "--events", 1], "--bootstrap-servers, --prefix do not go with --stream"),
        (["--bucket", "b", "--events", 1], "--topic is missing"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments: list[object], message: str) -> None:
    result = CliRunner().invoke(app, ["--bootstrap-servers", "127.0.0.1:1", *(str(argument) for argument in arguments)])
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize("target", [["--topic", "a.b.c"], ["--bucket", "b", "--topic", "t"]])
def test_who_writes_to_kafka_says_where(target: list[str]) -> None:
    result = CliRunner().invoke(app, [*target, "--events", "1"])
    assert result.exit_code == 2
    assert "--bootstrap-servers is missing" in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("1.5m", 90), ("1h", 3600)])
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


def test_texts_are_real_and_distinct() -> None:
    assert 300 < len(texts()) < 500
    assert [text.id for text in texts()] == list(range(1, len(texts()) + 1))
    assert len({(text.title, text.body) for text in texts()}) == len(texts())
    assert all(paragraph.strip() for text in texts() for paragraph in text.paragraphs)
    assert any(text.title == 'The "assert" statement' and "AssertionError" in text.body for text in texts())


def test_people_are_sent_to_five_topics_and_whose_each_row_is(stack: Stack, tmp_path: Path, prefix: str) -> None:
    truth = tmp_path / "people.csv"
    result = run(stack, "--scenario", "customers", "--prefix", prefix, "--events", 400, "--seed", 3, "--truth", truth)
    assert result.exit_code == 0, result.output
    assert "events into 5 topics" in result.stdout
    with truth.open(encoding="utf-8", newline="") as lines:
        rows = {(row["table"], row["key"]) for row in csv.DictReader(lines)}
    there: set[tuple[str, str]] = set()
    for table in ("customers", "accounts", "orders", "conversations", "web_visits"):
        for message in consume(stack.kafka.bootstrap_servers, f"{prefix}.public.{table}"):
            if message.key is not None and message.value is not None:
                event = json.loads(message.value)
                place = (f"public.{table}", str(json.loads(message.key)["id"]))
                (there.discard if event["op"] == "d" else there.add)(place)
    assert there == rows


def test_a_scenario_needs_a_prefix(stack: Stack) -> None:
    result = run(stack, "--scenario", "customers", "--events", 1)
    assert result.exit_code == 2
    assert "--prefix is missing" in result.output
