"""Conversations and feedback on a real topic and stream: what is written, of whom, what becomes of it in trouble."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any, cast
from uuid import uuid4

import boto3
import httpx
import pytest
import yaml
from confluent_kafka import Consumer

from core.config.conversations import Conversations as Settings
from core.errors import ConfigError, Unavailable
from core.formats.conversations import Feedback, event, message, scale_of
from serving.answers.conversations import Conversations
from serving.answers.conversations import opened as writing
from serving.answers.counting import Counting
from serving.answers.turns import Turn
from serving.asking import application
from serving.keys import add
from serving.offer import opened
from serving.problems import Refused, as_problem
from serving.server import served
from serving.settings import read
from stack.local import Stack
from tests.answering_model import Fault, Model, answering_model
from tests.aws import moto_server
from tests.connectors.servers import new_schema
from tests.search_server import documents, written


@dataclass(frozen=True)
class Server:
    url: str
    keys: dict[str, str]
    model: Model
    consumer: Consumer

    def ask(self, path: str, key: str = "acme", **body: Any) -> httpx.Response:
        known = {"Authorization": f"Bearer {self.keys[key]}"}
        return httpx.post(f"{self.url}{path}", json=body, headers=known, timeout=30)

    def chat(self, question: str, key: str = "acme", **more: Any) -> httpx.Response:
        return self.ask("/v1/chat/completions", key, messages=[{"role": "user", "content": question}], **more)

    def next(self) -> tuple[str, dict[str, Any]]:
        """The next event of the topic, with its key."""
        until = time.monotonic() + 30
        while time.monotonic() < until:
            message = self.consumer.poll(0.5)
            if message is not None and message.error() is None:
                assert type(event(message.value())).__name__.lower() == json.loads(message.value())["event"]
                return message.key().decode(), json.loads(message.value())
        raise AssertionError("no event came")


@pytest.fixture(scope="module")
def server(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, servers, topic = tmp_path_factory.mktemp("talks"), stack.kafka.bootstrap_servers, f"c{uuid4().hex[:8]}"
    dsn = new_schema(stack.postgres.dsn)
    pipeline = documents({"pgvector": {"dsn": dsn, "table": "manuals"}}, ["tenant", "lang", "number"])
    (folder / "manuals.yaml").write_text(yaml.safe_dump(pipeline), encoding="utf-8")
    written(folder / "manuals.yaml")
    consumer = Consumer({"bootstrap.servers": servers, "group.id": topic, "auto.offset.reset": "earliest"})
    with answering_model() as model:
        file = {
            "name": "helpdesk",
            "indexes": {"manuals": {"pipeline": "manuals.yaml"}},
            "keys": "keys.yaml",
            "answer": {"openai": {"url": f"{model.address}/v1", "model": "small", "api_key": "sk-model"}, "k": 3},
            "conversations": {"kafka": {"topic": topic, "properties.bootstrap.servers": servers}},
        }
        (folder / "serve.yaml").write_text(yaml.safe_dump(file), encoding="utf-8")
        given = {"acme": '{"tenant": "acme"}', "german": "{}"}
        keys = {
            name: add(folder / "keys.yaml", name, {"indexes": ["manuals"], "filter": each})
            for name, each in given.items()
        }
        text = yaml.safe_load((folder / "keys.yaml").read_text(encoding="utf-8"))
        text["keys"]["german"]["defaults"] = {"indexes": ["manuals"], "filter": {"lang": "de"}}
        (folder / "keys.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")
        with (
            opened(read(folder / "serve.yaml")) as offer,
            served(application(offer, Event()), refusal=as_problem) as url,
        ):
            consumer.subscribe([topic])
            yield Server(url, keys, model, consumer)
    consumer.close()


def test_a_turn_is_written_as_the_page_says(server: Server) -> None:
    answer = server.chat("parcel 3", freshet={"conversation": "c-1"}).json()
    key, told = server.next()
    assert key == "c-1" and told.keys() == {
        "event", "id", "conversation", "turn", "at", "tenant", "customer", "question", "answer", "model",
        "prompt_tokens", "answer_tokens", "finish", "latency_ms", "citations", "as_of",
    }  # fmt: skip
    assert (told["event"], told["id"], told["turn"], told["tenant"]) == ("turn", answer["id"], 1, "acme")
    assert (told["question"], told["answer"], told["model"]) == ("parcel 3", "From the passages [1].", "small")
    assert (told["prompt_tokens"], told["answer_tokens"], told["finish"]) == (7, 4, "stop")
    cited = answer["freshet"]["citations"]
    same = ("index", "document_id", "ordinal", "position", "score")
    assert told["citations"] == [{name: each[name] for name in same} for each in cited] != []
    assert told["latency_ms"] == answer["freshet"]["latency_ms"] and told["as_of"].keys() == {"manuals"}
    assert (
        told["at"].endswith("Z")
        and abs(time.time() - time.mktime(time.strptime(told["at"][:19], "%Y-%m-%dT%H:%M:%S"))) < 90_000
    )
    assert not any(secret in json.dumps(told) for secret in (*server.keys.values(), "sk-model", "fsk_"))


def test_turns_that_fail_or_are_left_are_written_too(server: Server) -> None:
    server.model.fault = Fault(500, {"message": "oh"})
    failed = server.chat("parcel")
    assert failed.status_code == 503
    _, told = server.next()
    assert told["prompt_tokens"] == failed.json()["freshet"]["size"]["size"]
    assert (told["finish"], told["answer"], told["latency_ms"]["first_token"]) == ("error", "", None)
    server.model.fault = Fault(cut_after=3)
    server.chat("parcel", stream=True)
    _, told = server.next()
    assert (told["finish"], told["answer"]) == ("error", "From the") and told["answer_tokens"] > 0
    server.model.fault, says = Fault(between_s=0.05), server.model.says
    server.model.says = ["word "] * 100
    body = {"messages": [{"role": "user", "content": "parcel"}], "stream": True}
    known = {"Authorization": f"Bearer {server.keys['acme']}"}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, headers=known, timeout=30) as left:
        next(left.iter_bytes(200))
    _, told = server.next()
    assert told["finish"] == "cancelled" and told["latency_ms"]["total"] is None and len(told["answer"]) < 400
    server.model.fault, server.model.says = Fault(), says


def test_tokens_are_not_counted_on_the_thread_that_answers_everybody(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = list[str]()
    count = Counting.tokens

    def counting(self: Counting, text: str) -> int:
        threads.append(threading.current_thread().name)
        return count(self, text)

    monkeypatch.setattr(Counting, "tokens", counting)
    # the model says nothing of tokens in a stream, and the budget counts none
    server.chat("parcel", stream=True, freshet={"budget": {"characters": 9_000}})
    _, told = server.next()
    assert told["prompt_tokens"] > 50 and len(threads) == 2 and "http-server" not in threads


def test_a_keys_defaults_hold_where_nothing_is_said(server: Server) -> None:
    for given, only in (({}, True), ({"filter": {"lang": "en"}}, False), ({"indexes": ["manuals"]}, False)):
        answer = server.chat("parcel", "german", freshet={"k": 20, **given}).json()["freshet"]
        languages = {each["metadata"]["lang"] for each in answer["citations"]}
        assert (languages == {"de"}) is only
        _, told = server.next()
        assert told["tenant"] == "german"
    made = server.ask("/v1/context", "german", question="parcel", k=20).json()
    assert {each["metadata"]["lang"] for each in made["citations"]} == {"de"}


def test_feedback_is_written_before_it_is_acknowledged(server: Server) -> None:
    sent = server.ask("/v1/feedback", id="chatcmpl-1", conversation="c-1", rating=1, comment="Grüße")
    assert (sent.status_code, sent.json()) == (202, {"id": "chatcmpl-1", "scale": "thumbs"})
    key, told = server.next()
    at = told.pop("at")
    assert key == "c-1" and at.endswith("Z") and told == {
        "event": "feedback", "id": "chatcmpl-1", "conversation": "c-1", "tenant": "acme", "rating": 1,
        "scale": "thumbs", "comment": "Grüße",
    }  # fmt: skip
    for rating, scale in ((5, None), (1, "stars"), (-1, None)):
        more = {} if scale is None else {"scale": scale}
        assert server.ask("/v1/feedback", id="x", rating=rating, **more).status_code == 202
        key, told = server.next()
        assert key == "x" and (told["rating"], told["scale"]) == (
            rating,
            scale or ("stars" if rating > 1 else "thumbs"),
        )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"rating": 1}, "id"),
        ({"id": "a"}, "rating"),
        ({"id": "a", "rating": 0}, "rating"),
        ({"id": "a", "rating": 6}, "rating"),
        ({"id": "a", "rating": 4, "scale": "thumbs"}, "rating"),
        ({"id": "a", "rating": -1, "scale": "stars"}, "rating"),
        ({"id": "a", "rating": 1, "comment": "\x00"}, "comment"),
        ({"id": "a", "rating": 1, "tenant": "beta"}, "tenant"),
    ],
)
def test_feedback_that_is_none_is_refused(server: Server, body: dict[str, Any], field: str) -> None:
    answer = server.ask("/v1/feedback", **body)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text


def test_scales() -> None:
    assert [scale_of(rating, None) for rating in (-1, 1, 2, 5, 0, 6)] == [
        "thumbs",
        "thumbs",
        "stars",
        "stars",
        None,
        None,
    ]


def test_a_kinesis_stream_takes_them_too() -> None:
    said = Feedback("chatcmpl-1", "c-1", "2026-12-01T00:00:00.000Z", "acme", 1, "thumbs", None)
    with moto_server() as aws:
        client = boto3.client("kinesis", region_name=aws.region, endpoint_url=aws.endpoint)
        at = {"aws.region": aws.region, "aws.endpoint": aws.endpoint}
        settings = Settings.model_validate({"kinesis": {"stream": "talks", **at}})
        with pytest.raises(ConfigError), writing(settings):
            pass
        client.create_stream(StreamName="talks", ShardCount=1)
        with writing(settings) as conversations:
            assert conversations is not None
            conversations.tell(said)
            asyncio.run(conversations.written(said))
        shard = client.describe_stream(StreamName="talks")["StreamDescription"]["Shards"][0]["ShardId"]
        place = client.get_shard_iterator(StreamName="talks", ShardId=shard, ShardIteratorType="TRIM_HORIZON")
        records = client.get_records(ShardIterator=place["ShardIterator"])["Records"]
        assert [(each["PartitionKey"], event(each["Data"])) for each in records] == [("c-1", said)] * 2


class Failing:
    """A place that is away for so many times, and refuses one event for good: also among others."""

    def __init__(self, times: int) -> None:
        self.times, self.room, self.taken = times, 10_000, list[bytes]()

    def write(self, events: Sequence[tuple[bytes, bytes]]) -> None:
        bad = any(b"bad" in value for _, value in events)
        if bad and (len(events) > 1 or not self.times):
            raise ConfigError(["refused"])
        if self.times:
            self.times -= 1
            raise Unavailable("away")
        self.taken += [key for key, _ in events]


def feedback(name: str, comment: str | None = None) -> Feedback:
    return Feedback(name, None, "", "", 1, "thumbs", comment)


def test_turns_wait_for_a_place_that_is_away_and_feedback_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.answers.conversations._AGAIN_S", 0.05)
    place = Failing(2)
    conversations = Conversations(place)
    for name in "abc":
        conversations.tell(feedback(name))
    with conversations.writing():
        with pytest.raises(Refused) as refused:
            asyncio.run(conversations.written(feedback("d")))
        assert refused.value.status == 503
        until = time.monotonic() + 10
        while len(place.taken) < 3 and time.monotonic() < until:
            time.sleep(0.02)
        conversations.tell(feedback("e"))
        conversations.tell(feedback("f", "bad"))
        conversations.tell(feedback("g", "x" * 20_000))
        conversations.tell(feedback("h"))
    # what waits at the end is written, and what is refused keeps nothing else
    assert place.taken == [b"a", b"b", b"c", b"e", b"h"]


def test_turns_stay_in_their_order_where_one_is_refused_and_the_place_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.answers.conversations._AGAIN_S", 0.05)
    place = Failing(3)
    conversations = Conversations(place)
    for name, comment in (("a", None), ("b", "bad"), ("c", None), ("d", None)):
        conversations.tell(feedback(name, comment))
    with conversations.writing():
        until = time.monotonic() + 10
        while len(place.taken) < 3 and time.monotonic() < until:
            time.sleep(0.02)
    assert place.taken == [b"a", b"c", b"d"]


@pytest.mark.parametrize(
    ("most", "many"), [("_MOST_WAITING", 3), ("_MOST_BYTES", 3 * sum(map(len, message(feedback("a")))))]
)
def test_the_oldest_gives_way(monkeypatch: pytest.MonkeyPatch, most: str, many: int) -> None:
    monkeypatch.setattr(f"serving.answers.conversations.{most}", many)
    place = Failing(0)
    conversations = Conversations(place)
    for name in "abcde":
        conversations.tell(feedback(name))
    with conversations.writing():
        pass
    assert place.taken == [b"c", b"d", b"e"]


def test_of_an_answer_without_an_end_so_much_is_kept_as_is_written() -> None:
    turn = Turn("chatcmpl-1", 0.0, 0, "c-1", 1, "parcel", cast("Any", None), 0.0)
    for _ in range(30):
        turn.came({"choices": [{"index": 0, "delta": {"content": "x" * 9_000}}]})
    assert len("".join(turn.text)) == 200_000 and len(turn.text) < 30
