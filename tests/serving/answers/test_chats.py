"""`POST /v1/chat/completions` by OpenAI's own client, before a model's server: what it is asked, what is cited."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event
from typing import Any

import httpx
import openai
import pytest
import yaml

from serving.asking import application
from serving.keys import add
from serving.offer import opened
from serving.problems import as_problem
from serving.server import served
from serving.settings import read
from stack.local import Stack
from tests.answering_model import Fault, Model, answering_model
from tests.connectors.servers import new_schema
from tests.pages import ROOT, blocks
from tests.search_server import documents, written

SAID = "From the passages [1]."
OF_ITS_KEY = "answer.openai.api_key in the server's file"
PROMPT = "Say what is true.\n{profile}\n{sources}\n{passages}\n{question}"


@dataclass(frozen=True)
class Server:
    """A server, the model behind it, and OpenAI's clients by what their keys see."""

    url: str
    model: Model
    of: dict[str, openai.OpenAI]

    def post(self, content: bytes, key: str = "all") -> httpx.Response:
        known = {"Authorization": f"Bearer {self.of[key].api_key}"}
        return httpx.post(f"{self.url}/v1/chat/completions", content=content, headers=known, timeout=60)


@pytest.fixture(scope="module")
def server(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("chats")
    dsn = new_schema(stack.postgres.dsn)
    pipeline = documents({"pgvector": {"dsn": dsn, "table": "manuals"}}, ["tenant", "lang", "number"])
    (folder / "manuals.yaml").write_text(yaml.safe_dump(pipeline), encoding="utf-8")
    (folder / "prompt.md").write_text(PROMPT, encoding="utf-8")
    written(folder / "manuals.yaml")
    with answering_model() as model:
        answer = {
            "openai": {"url": f"{model.address}/v1", "model": "small", "api_key": "sk-model"},
            "temperature": 0.2,
            "max_tokens": 300,
            "prompt": "prompt.md",
            "timeout": 1,
            "k": 5,
        }
        file = {"name": "helpdesk", "indexes": {"manuals": {"pipeline": "manuals.yaml"}}, "keys": "keys.yaml"}
        (folder / "serve.yaml").write_text(yaml.safe_dump({**file, "answer": answer}), encoding="utf-8")
        given = {"all": {"filter": "{}"}, "acme": {"filter": '{"tenant": "acme"}'}}
        keys = {name: add(folder / "keys.yaml", name, {"indexes": ["manuals"], **each}) for name, each in given.items()}
        with (
            opened(read(folder / "serve.yaml")) as offer,
            served(application(offer, Event()), refusal=as_problem) as url,
        ):
            of = {
                name: openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=30)
                for name, key in keys.items()
            }
            yield Server(url, model, of)


@pytest.fixture(autouse=True)
def fresh(server: Server) -> None:
    server.model.fault = Fault()
    server.model.asked.clear()
    server.model.left.clear()


def ask(server: Server, question: str = "parcel 3", key: str = "all", **more: Any) -> Any:
    earlier = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    messages = [*earlier, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": question}]
    return server.of[key].chat.completions.create(model="small", messages=messages, **more)


def freshet(answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = answer.model_extra["freshet"]
    return found


def test_an_answer_is_the_models_with_what_it_was_made_of(server: Server) -> None:
    asked = {"customer": None, "k": 3, "conversation": "c-17"}
    answer = ask(server, seed=7, top_p=0.5, extra_body={"freshet": asked})
    assert answer.choices[0].message.content == SAID and answer.usage.completion_tokens == 4
    assert answer.id.startswith("chatcmpl-") and answer.id != "chatcmpl-1" and answer.model == "small"
    whole = freshet(answer)
    hits = httpx.post(
        f"{server.url}/v1/indexes/manuals/search", json={"query": "parcel 3", "k": 3},
        headers={"Authorization": f"Bearer {server.of['all'].api_key}"},
    ).json()["hits"]  # fmt: skip
    cited = {(each["document_id"], ordinal) for each in whole["citations"] for ordinal in each["ordinals"]}
    assert cited == {(hit["document_id"], hit["ordinal"]) for hit in hits}
    assert (whole["conversation"], whole["turn"], whole["profile"]) == ("c-17", 2, None)
    times = whole["latency_ms"]
    assert 0 < times["retrieve"] <= times["first_token"] <= times["total"] and whole["as_of"].keys() == {"manuals"}
    (sent,) = server.model.asked
    assert sent.headers["Authorization"] == "Bearer sk-model" and "freshet" not in sent.body
    assert {name: sent.body[name] for name in ("seed", "top_p", "temperature", "max_tokens")} == {
        "seed": 7, "top_p": 0.5, "temperature": 0.2, "max_tokens": 300,
    }  # fmt: skip
    *before, last = sent.body["messages"]
    assert [each["content"] for each in before] == ["Be kind.", "Hi", "Hello"] and last["role"] == "user"
    assert last["content"].startswith("Say what is true.\n") and last["content"].endswith("\nparcel 3")
    for each in whole["citations"]:
        assert f"[{each['mark']}] manuals {each['document_id']}\n| {each['text'].splitlines()[0]}" in last["content"]


def test_it_streams_and_cites_in_the_first_and_last_chunks(server: Server) -> None:
    with_usage = {"stream_options": {"include_usage": True}}
    chunks = list(ask(server, stream=True, **with_usage))
    assert "".join(each.choices[0].delta.content or "" for each in chunks if each.choices) == SAID
    assert len({each.id for each in chunks}) == 1 and chunks[-1].usage.total_tokens == 11
    has = [each.model_extra is not None and "freshet" in each.model_extra for each in chunks]
    assert has == [True, *[False] * (len(chunks) - 3), True, True]
    first, last = freshet(chunks[0]), freshet(chunks[-1])
    assert first["citations"] == last["citations"] and len(first["citations"]) >= 1
    assert first["latency_ms"]["total"] is None and last["latency_ms"]["total"] >= last["latency_ms"]["first_token"] > 0
    assert first["conversation"] == last["conversation"] and len(first["conversation"]) == 32


def test_tokens_go_on_as_they_come(server: Server) -> None:
    server.model.fault = Fault(between_s=0.2)
    came = [(time.monotonic(), each.choices[0].delta.content) for each in ask(server, stream=True) if each.choices]
    words = [at for at, text in came if text]
    assert len(words) == 4 and words[-1] - words[0] > 0.4


def test_who_stops_listening_has_the_model_stop(server: Server) -> None:
    server.model.fault, says = Fault(between_s=0.1), server.model.says
    server.model.says, server.model.sent = ["word "] * 200, 0
    try:
        stream = ask(server, stream=True)
        next(iter(stream))
        stream.close()
        assert server.model.left.wait(10) and server.model.sent < 100
    finally:
        server.model.says = says


def test_a_client_that_knows_nothing_of_it_is_answered(server: Server) -> None:
    assert [each.id for each in server.of["all"].models.list()] == ["small"]
    plain = server.post(b'{"messages": [{"role": "user", "content": "parcel"}]}').json()
    assert plain["choices"][0]["message"]["content"] == SAID and plain["object"] == "chat.completion"
    parts = [{"type": "text", "text": "parcel"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    server.of["all"].chat.completions.create(model="small", messages=[{"role": "user", "content": parts}])
    content = server.model.asked[-1].body["messages"][0]["content"]
    assert [each["type"] for each in content] == ["text", "image_url"] and content[0]["text"].endswith("\nparcel")


def test_a_key_is_answered_from_its_own_documents_alone(server: Server) -> None:
    for stream in (False, True):
        answer = ask(server, "Article 1 of shipping", "acme", stream=stream, extra_body={"freshet": {"k": 100}})
        whole = freshet(next(iter(answer)) if stream else answer)
        assert {each["metadata"]["tenant"] for each in whole["citations"]} == {"acme"}
        prompt = server.model.prompt
        assert "Article 1 of" not in prompt.replace("Article 1 of shipping", "", prompt.count("\nArticle 1 of"))
    server.model.fault = Fault(503, {"message": "away"})
    with pytest.raises(openai.InternalServerError) as failed:
        ask(server, "Article 1 of shipping", "acme")
    cited = failed.value.response.json()["freshet"]["citations"]
    assert cited and {each["metadata"]["tenant"] for each in cited} == {"acme"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        (Fault(500, {"message": "oh"}), 503, "the answering model fails: ask again"),
        (Fault(401, {"message": "sk-model"}), 502, f"the answering model doesn't let this server in: see {OF_ITS_KEY}"),
        (Fault(400, {"error": {"message": "too long"}}), 400, "the answering model refuses the request: too long"),
        (Fault(429, {"message": "busy"}), 429, "the answering model is busy: ask again"),
        (Fault(before_s=1.6), 504, "the answering model doesn't answer in time"),
    ],
)
def test_a_model_that_fails_is_an_error_with_citations(
    server: Server, fault: Fault, status: int, said: str, stream: bool
) -> None:
    server.model.fault = fault
    with pytest.raises(openai.APIStatusError) as failed:
        ask(server, stream=stream)
    answer = failed.value.response
    assert (failed.value.status_code, answer.json()["error"]["message"]) == (status, said)
    assert answer.json()["freshet"]["citations"] and "sk-model" not in answer.text


def test_a_model_that_cuts_off_is_an_error_within_the_stream(server: Server) -> None:
    server.model.fault = Fault(cut_after=3)
    body = {"messages": [{"role": "user", "content": "parcel"}], "stream": True}
    answer = server.post(json.dumps(body).encode())
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert answer.status_code == 200 and events[-1] == "[DONE]"
    last = json.loads(events[-2])
    assert last["error"]["message"] == "the answering model's answer was cut off" and last["freshet"]["citations"]
    text = [json.loads(each)["choices"][0]["delta"].get("content") for each in events[:-2]]
    assert "".join(filter(None, text)) == "From the"
    with pytest.raises(openai.APIError, match="cut off"):
        list(ask(server, stream=True))


REFUSED: dict[str, tuple[Any, int, str | None]] = {
    "no JSON": (b"{", 400, None),
    "a list": (b"[]", 400, None),
    "no messages": ({}, 400, "messages"),
    "no message": ({"messages": []}, 400, "messages"),
    "a message that is none": ({"messages": ["Hi"]}, 400, "messages[0]"),
    "nobody asks": ({"messages": [{"role": "system", "content": "Hi"}]}, 400, "messages"),
    "no question": ({"messages": [{"role": "user", "content": " "}]}, 400, "messages[0].content"),
    "a question with NUL": ({"messages": [{"role": "user", "content": "a\x00"}]}, 400, "question"),
    "a long question": ({"messages": [{"role": "user", "content": "a" * 40_000}]}, 400, "question"),
    "another model": ({"messages": [{"role": "user", "content": "a"}], "model": "gpt-9"}, 404, "model"),
    "an unknown field": ({"messages": [{"role": "user", "content": "a"}], "freshet": {"x": 1}}, 400, "freshet.x"),
    "a conversation with NUL": (
        {"messages": [{"role": "user", "content": "a"}], "freshet": {"conversation": "a\x00"}},
        400,
        "freshet.conversation",
    ),
    "a number beyond any": (b'{"messages": [{"role": "user", "content": "a"}], "seed": 1e999}', 400, "seed"),
    "what is no UTF-8": (b'{"messages": [{"role": "user", "content": "a"}], "user": "\xff"}', 400, None),
    "an index": ({"messages": [{"role": "user", "content": "a"}], "freshet": {"indexes": ["b"]}}, 404, "index"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_asked_is_refused_as_openai_does(server: Server, what: str) -> None:
    body, status, param = REFUSED[what]
    answer = server.post(body if isinstance(body, bytes) else json.dumps(body).encode())
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["type"]) == (status, param, "invalid_request_error"), answer.text
    assert server.model.asked == []


def test_what_is_quoted_of_a_request_has_an_end(server: Server) -> None:
    asked = {"messages": [{"role": "user", "content": "a"}], "freshet": {"filter": {"x" * 100_000: 1}}}
    answer = server.post(json.dumps(asked).encode())
    assert answer.status_code == 400 and answer.json()["error"]["param"].startswith("filter.xx")
    assert len(answer.content) < 2_000


def test_what_is_nested_as_deep_as_is_read_fails_nothing(server: Server) -> None:
    for deep in range(950, 980):
        content = b"[" * deep + b"]" * deep
        answer = server.post(b'{"messages": [{"role": "user", "content": "parcel"}], "x": ' + content + b"}")
        assert answer.status_code != 500, (deep, answer.text)


def test_the_chatbot_of_the_page_answers_and_sends_what_was_said(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    (text,) = (each.text for each in blocks(ROOT / "docs" / "answers.md") if each.title == "chatbot.py")
    here = text.replace("http://127.0.0.1:8090", server.url).replace('"none"', repr(server.of["all"].api_key))
    typed = iter(["How is parcel 3 sent home?", "And parcel 4?", ""])
    exec(compile(here, "chatbot.py", "exec"), {"input": lambda prompt: next(typed)})
    printed = capsys.readouterr().out.splitlines()
    assert printed[::2] == [SAID, SAID] and len(printed) == 4
    assert all(line.startswith("[1] public.articles/") for line in printed[1::2])
    asked = server.model.asked[-1].body["messages"]
    assert [each["role"] for each in asked] == ["user", "assistant", "user"] and asked[0]["content"].endswith("home?")
    assert asked[1]["content"] == SAID and "| " in asked[2]["content"] and "And parcel 4?" in asked[2]["content"]


def test_a_model_does_not_say_what_is_cited(server: Server) -> None:
    server.model.extra = {"freshet": {"citations": "forged"}}
    try:
        first, *middle, last = list(ask(server, stream=True))
        assert freshet(first)["citations"] == freshet(last)["citations"] != "forged"
        assert middle and all("freshet" not in (each.model_extra or {}) for each in middle)
        assert freshet(ask(server))["citations"] != "forged"
    finally:
        server.model.extra = {}


def test_who_has_no_key_is_refused_as_openai_does(server: Server) -> None:
    with pytest.raises(openai.AuthenticationError) as refused:
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="fsk_x", max_retries=0).chat.completions.create(
            model="small", messages=[{"role": "user", "content": "a"}]
        )
    assert refused.value.code == "invalid_api_key"


VALUES: tuple[Any, ...] = (
    None, 0, -1, 1e308, True, "", "a", [], {}, [None], {"role": "user"}, "\u0000", "\u202e", 10**40, [[]], {"text": 3},
    {"type": "text", "text": "a"}, [{"type": "text", "text": "parcel"}], "x" * 3_000, {"tokens": 64},
)  # fmt: skip


def fuzzed(chance: random.Random) -> bytes:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "parcel"}], "stream": chance.random() < 0.3}
    for _ in range(chance.randrange(1, 4)):
        name = chance.choice(["messages", "model", "stream", "freshet", "max_tokens", "n", "stop", "tools", "x"])
        body[name] = chance.choice(VALUES)
    if chance.random() < 0.6:
        roles = ["user", "system", "tool", "", "developer", 3]
        contents = [*VALUES, "parcel", "parcel"]
        body["messages"] = [
            {"role": chance.choice(roles), "content": chance.choice(contents), "name": chance.choice(VALUES)}
            for _ in range(chance.randrange(4))
        ]
    if chance.random() < 0.5:
        fields = [
            "customer",
            "indexes",
            "filter",
            "k",
            "mode",
            "budget",
            "order",
            "wait_for",
            "conversation",
            "min_score",
        ]
        body["freshet"] = {chance.choice(fields): chance.choice(VALUES) for _ in range(chance.randrange(3))}
    raw = json.dumps(body).encode()
    return raw[: chance.randrange(len(raw))] if chance.random() < 0.1 else raw


def test_no_body_by_chance_fails_the_server(server: Server) -> None:
    statuses = set()
    for seed in range(300):
        answer = server.post(fuzzed(random.Random(seed)), "acme")
        assert answer.status_code < 500, (seed, answer.text)
        statuses.add(answer.status_code)
        if answer.status_code >= 400:
            assert answer.json()["error"]["message"]
    assert statuses >= {200, 400, 404}
