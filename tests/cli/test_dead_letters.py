"""`freshet dead-letters` against a real Kafka: found, shown without harm, and sent round again as they came."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import typer
import yaml
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner

from cli.dead_letters import app, moment
from connectors.kafka.letters import topic as kafka_letters_topic
from connectors.kafka.producer import ensure_topics, produce
from core.change import Event
from core.config.file import load
from core.errors import ConfigError, Unavailable
from core.formats.recordings import Headers, Record
from core.letters import PREFIX, Message, fitted, letter_headers
from stack.local import Stack
from tests.topics import consume

HOSTILE = "\x1b[2J\x07[red]bold[/red]\u202egnp"
OWN: Headers = (("__debezium.context.runId", b"run"), ("bytes", b"\x00\xff"), ("none", None))


@dataclass(frozen=True)
class Desk:
    """A pipeline whose letters a test writes itself."""

    servers: str
    name: str
    file: Path

    @property
    def source(self) -> str:
        return f"{self.name}.public.articles"

    def letter(self, number: int, value: bytes | None = b"{}", partition: int = 1, **more: object) -> Record:
        """A letter of the source's event `number`; `more` replaces or adds headers of ours."""
        headers = {
            "pipeline": "p", "stage": "decode", "error.class": "DecodeError", "reason": f"op is {number}",
            "source.topic": self.source, "source.partition": partition, "source.offset": number,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"), "attempts": 1, **more,
        }  # fmt: skip
        ours = tuple((PREFIX + name.replace("_", "."), str(text).encode()) for name, text in headers.items())
        return Record(f"{self.name}.letters", b'{"id": %d}' % number, value, (*OWN, *ours), 0)

    def write(self, *letters: Record) -> None:
        ensure_topics(self.servers, {f"{self.name}.letters": 1, self.source: 3})
        produce(self.servers, letters)

    def run(self, *arguments: str, ok: bool = True, answer: str | None = None) -> str:
        command, *options = arguments
        ran = CliRunner().invoke(app, [command, str(self.file), *options], input=answer, env={"COLUMNS": "300"})
        assert (ran.exit_code == 0) is ok, ran.output
        if ran.exception is not None and not isinstance(ran.exception, SystemExit):
            raise ran.exception
        return ran.output

    def arrived(self) -> list[Record]:
        return consume(self.servers, self.source)


@pytest.fixture
def desk(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    name = f"d{uuid4().hex[:8]}"
    return Desk(stack.kafka.bootstrap_servers, name, pipeline_file(tmp_path, stack.kafka.bootstrap_servers, name))


def pipeline_file(folder: Path, servers: str, name: str) -> Path:
    pipeline = {
        "name": "p",
        "source": {"kafka": {"topic-pattern": rf"{name}\.public\..*", "properties.bootstrap.servers": servers}},
        "format": "debezium",
        "documents": {"public.articles": {"text": "{body}"}},
        "embedding": {"model": "hash"},
        "store": {"pgvector": {"dsn": "postgresql://x:hunter2@127.0.0.1:1/x", "table": "chunks"}},
        "dead_letters": {"kafka": {"topic": f"{name}.letters"}},
    }
    file = folder / "pipeline.yaml"
    file.write_text(yaml.safe_dump(pipeline), encoding="utf-8")
    return file


def test_no_topic_yet_is_no_dead_letters(desk: Desk) -> None:
    assert desk.run("list") == "no dead letters\n"
    assert desk.run("list", "--json") == ""
    assert desk.run("replay", "--yes") == "nothing to replay\n"
    with pytest.raises(ConfigError, match="no dead letter 0:0"):
        desk.run("show", "0:0", ok=False)


def test_on_a_narrow_terminal_each_letter_has_a_line_and_its_reason_below(desk: Desk) -> None:
    desk.write(desk.letter(7, document="public.articles/7", attempts=3))
    printed = CliRunner().invoke(app, ["list", str(desk.file)], env={"COLUMNS": "80"}).output.splitlines()
    assert printed[0].startswith("0:0  20") and printed[0].endswith("  decode: DecodeError  public.articles/7")
    assert printed[1].split() == f"op is 7 (from {desk.source}/1/7, 3 attempts)".split()


def test_the_list_has_each_letter_and_counts_those_of_one_cause_together(desk: Desk) -> None:
    desk.write(
        desk.letter(7),
        desk.letter(8),
        desk.letter(
            9, stage="write", error_class="StoreRejected", reason="lacks 3 chunks", document="public.articles/9"
        ),
    )
    printed = " ".join(desk.run("list").split())
    assert "0:0" in printed
    assert f"decode DecodeError op is 7 {desk.source}/1/7 1" in printed
    assert f"write StoreRejected public.articles/9 lacks 3 chunks {desk.source}/1/9 1" in printed
    assert "3 letters" in printed
    assert "2 decode DecodeError op is …" in printed
    newest = desk.run("list", "--limit", "1")
    assert ("0:2" in newest.split(), "0:1" in newest.split()) == (True, False)
    assert "3 letters, the newest 1 of them above" in newest


def test_filters(desk: Desk) -> None:
    old = (datetime.now(UTC) - timedelta(days=3)).isoformat()
    desk.write(
        desk.letter(1, reason="The Store is odd"),
        desk.letter(2, error_class="EmbeddingError", stage="embed", document="public.articles/2"),
        desk.letter(3, time=old),
    )

    def found(*options: str) -> list[str]:
        return [json.loads(line)["letter"] for line in desk.run("list", "--json", *options).splitlines()]

    assert found() == ["0:0", "0:1", "0:2"]
    assert found("--reason", "store is") == ["0:0"]
    assert found("--reason", "EmbeddingError") == ["0:1"]
    assert found("--stage", "embed") == ["0:1"]
    assert found("--document", "public.articles/2") == ["0:1"]
    assert found("--document", "public.articles/") == []
    assert found("--since", "1d") == ["0:0", "0:1"]
    assert found("--until", "2d") == ["0:2"]
    assert found("--since", old, "--until", "30h") == ["0:2"]
    assert found("--limit", "2") == ["0:0", "0:1"]


@pytest.mark.parametrize("text", ["yesterday", "2 weeks", "99999999999999d"])
def test_times_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="2h or 1d"):
        moment(text)


def test_all_of_a_letter_is_shown_and_none_of_it_acts_on_the_terminal(desk: Desk) -> None:
    desk.write(desk.letter(1, b"\x00\xfe", reason=HOSTILE, document=HOSTILE), desk.letter(2, HOSTILE.encode()))
    shown = desk.run("show", "0:0")
    assert "value: base64 AP4=" in shown
    assert "header bytes: base64 AP8=" in shown
    assert "header none: (null)" in shown
    assert 'key: {"id": 1}' in shown
    assert "[red]bold[/red]" in shown
    assert r"\x1b[2J\x07" in shown
    for printed in (shown, desk.run("list"), desk.run("show", "0:1"), desk.run("list", "--json")):
        assert not {"\x1b", "\x07", "\u202e"} & set(printed)
    first = json.loads(desk.run("list", "--json").splitlines()[0])
    assert (first["reason"], first["value"]) == (HOSTILE, {"base64": base64.b64encode(b"\x00\xfe").decode()})
    with pytest.raises(ConfigError, match="write partition:offset"):
        desk.run("show", "first", ok=False)


def again(offset: bytes) -> tuple[tuple[str, bytes], ...]:
    return ("kafka.offset", offset), ("freshet.replay", b"1")


def test_a_replay_sends_the_event_as_it_came_and_only_once(desk: Desk) -> None:
    values = [b"\x00\xff", None, HOSTILE.encode()]
    desk.write(*(desk.letter(number, value, number) for number, value in enumerate(values)))
    assert desk.run("replay", answer="n\n", ok=False).startswith(f"3 events to {desk.source}")
    assert desk.arrived() == []
    assert "sent 1;" in desk.run("replay", "--yes", "--reason", "op is 1")
    assert "left out: 1 replayed before" in desk.run("replay", answer="y\n")
    expected = [
        Record(desk.source, b'{"id": %d}' % number, value, (*OWN, *again(b"%d" % number)), number)
        for number, value in enumerate(values)
    ]
    assert sorted(desk.arrived(), key=lambda record: record.partition or 0) == expected
    assert "nothing to replay" in desk.run("replay", "--yes")
    assert "sent 3;" in desk.run("replay", "--yes", "--again")
    assert len(desk.arrived()) == 6


def test_an_event_that_failed_again_is_replayed_from_its_newest_letter(desk: Desk) -> None:
    desk.write(desk.letter(1), desk.letter(2), desk.letter(40, attempts=3, value=b"other"))
    again = desk.letter(1, source_offset=41, attempts=2, replay=1)
    produce(desk.servers, [again])
    printed = desk.run("replay", "--yes")
    assert "left out: 1 with a newer letter of the same event" in printed
    sent = {(record.key, record.value): dict(record.headers)["freshet.replay"] for record in desk.arrived()}
    assert sent == {(b'{"id": 1}', b"{}"): b"2", (b'{"id": 2}', b"{}"): b"1", (b'{"id": 40}', b"other"): b"3"}


def test_nothing_is_sent_to_where_the_pipeline_does_not_read(desk: Desk) -> None:
    foreign = Record(f"{desk.name}.letters", None, b"x", (("freshet.source.topic", b"a"),), 0)
    desk.write(desk.letter(1, source_topic=f"{desk.name}.letters"), foreign, desk.letter(2))
    printed = desk.run("replay", "--yes")
    assert "left out: 1 from topics that the pipeline doesn't read" in printed
    assert "left out: 1 without a source" in printed
    assert [record.key for record in desk.arrived()] == [b'{"id": 2}']
    assert "?" in desk.run("list")


def test_a_note_that_a_crash_has_torn_costs_its_own_letters_alone(desk: Desk) -> None:
    desk.write(desk.letter(1), desk.letter(2))
    desk.run("replay", "--yes", "--limit", "1")
    noted = Path(".freshet/pipelines/p/replayed.jsonl")
    with noted.open("a", encoding="utf-8") as lines:
        lines.write('\n{"topic": "to')
    assert "left out: 1 replayed before" in desk.run("replay", "--yes")
    assert "nothing to replay" in desk.run("replay", "--yes")


def test_letters_of_other_pipelines_in_the_topic_are_theirs(desk: Desk) -> None:
    newer = desk.letter(1, pipeline="others", attempts=5)
    unnamed = desk.letter(3)
    unnamed = replace(unnamed, headers=tuple(each for each in unnamed.headers if each[0] != f"{PREFIX}pipeline"))
    desk.write(desk.letter(1), newer, desk.letter(2, pipeline="p2"), unnamed)
    listed = desk.run("list")
    assert "2 letters" in listed and "op is 2" not in listed
    assert "not shown: 2 of other pipelines in the same topic (others, p2)" in listed
    assert [json.loads(line)["letter"] for line in desk.run("list", "--json").splitlines()] == ["0:0", "0:3"]
    printed = desk.run("replay", "--yes")
    assert "left out: 2 of other pipelines" in printed
    assert "left out: 1 that name no pipeline" in printed
    # another's later attempt at the same event doesn't stand in for this one's
    assert [sent.key for sent in desk.arrived()] == [b'{"id": 1}']


def cut(desk: Desk, event: Event, offset: int) -> Record:
    """The letter of an event that is larger than its topic takes."""
    event = replace(event, topic=desk.source, partition=2, offset=offset)
    headers = letter_headers(event, "p", "decode", "DecodeError", "no JSON", "", datetime.now(UTC).isoformat())
    made = fitted(Message(event.key, event.value, headers), 8_192)
    return Record(f"{desk.name}.letters", made.key, made.value, tuple(made.headers.items()), 0)


def test_a_cut_letter_says_so_and_is_replayed_whole_where_its_topic_still_has_the_event(desk: Desk) -> None:
    whole = Event("", 0, 0, b'{"id": 1}', b"v" * 2_000_000, {"op": b"u", "large": b"h" * 9_000})
    gone, other = replace(whole, value=b"w" * 2_000_000), replace(whole, value=b"v" * 1_999_999 + b"x")
    desk.write(cut(desk, whole, 0), cut(desk, gone, 17), cut(desk, other, 0))
    produce(desk.servers, [Record(desk.source, whole.key, whole.value, tuple(whole.headers.items()), 2)])
    assert "of the value's 2,000,000 bytes" not in desk.run("list", "--reason", "nothing of this")
    listed = " ".join(desk.run("list").split())
    assert re.search(r"cut: 7,\d{3} of the value's 2000000 bytes, 1 of 2 headers", listed)
    assert "replay sends the whole event" in desk.run("show", "0:0")
    assert [json.loads(line)["cut"] for line in desk.run("list", "--json").splitlines()] == [True] * 3
    printed = desk.run("replay", "--yes")
    assert "left out: 2 cut, and what they are cut from isn't in its topic any more" in printed
    first, second = desk.arrived()
    assert (second.key, second.value, second.partition) == (first.key, first.value, 2)
    assert second.headers == (("op", b"u"), ("large", b"h" * 9_000), *again(b"0"))
    assert "left out: 1 replayed before" in desk.run("replay", "--yes")


def test_headers_without_a_value_come_back(desk: Desk) -> None:
    letter = desk.letter(1, headers_null='["nothing", "none", 3]')
    desk.write(replace(letter, headers=(("a", b"1"), *(each for each in letter.headers if each[0].startswith(PREFIX)))))
    desk.run("replay", "--yes")
    (sent,) = desk.arrived()
    assert sent.headers == (("a", b"1"), ("nothing", None), ("none", None), *again(b"1"))


def test_a_topic_of_letters_is_made_and_its_limit_known(desk: Desk) -> None:
    kafka = load(desk.file).letters
    topics = [f"{desk.name}.made", f"{desk.name}.small", f"{desk.name}.tiny"]
    assert 32_000_000 < kafka_letters_topic.room(kafka, topics[0]) < 32 * 2**20
    admin = AdminClient({"bootstrap.servers": desk.servers})
    config = [{"max.message.bytes": limit} for limit in ("100000", "2000")]
    wanted = [NewTopic(topic, 1, config=each) for topic, each in zip(topics[1:], config, strict=True)]
    for made in admin.create_topics(wanted).values():
        made.result()
    room = kafka_letters_topic.room(kafka, topics[1])
    assert 98_000 < room < 100_000
    large = fitted(Message(None, os.urandom(200_000), {}), room)
    produce(desk.servers, [Record(topics[1], large.key, large.value, tuple(large.headers.items()), 0)], packed=True)
    with pytest.raises(ConfigError, match="takes messages of 2,000 bytes at most"):
        kafka_letters_topic.room(kafka, topics[2])


def test_kafka_away_is_named(tmp_path: Path) -> None:
    file = pipeline_file(tmp_path, "127.0.0.1:1", "x")
    began = time.monotonic()
    ran = CliRunner().invoke(app, ["list", str(file)])
    assert isinstance(ran.exception, Unavailable)
    assert time.monotonic() - began < 5, "a client would try for 10 s"
    assert "doesn't answer: Connection refused; start it" in str(ran.exception)
    assert "127.0.0.1:1 (source.kafka.properties.bootstrap.servers)" in str(ran.exception)
    assert "hunter2" not in str(ran.exception)
