"""The tools by MCP, driven by the official SDK's client: over HTTP and over stdio, for whoever's key it is."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, TypeVar
from uuid import uuid4

import httpx
import httpx2
import jsonschema
import pytest
import yaml
from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from connectors.kafka.producer import ensure_topics
from core.change import Position
from core.errors import Unavailable
from core.plans import Plan
from core.stores.filters.language import EVERYTHING
from core.stores.outcomes import applied, cleared
from operations.pipeline_file import load
from serving.asking import application
from serving.keys import add
from serving.offer import opened
from serving.problems import Refused, as_problem
from serving.server import served
from serving.settings import read
from serving.tools.recent import RecentChanges
from serving.tools.shapes import ChangesAsked
from stack.local import Stack
from tests.cli.test_profile import HISTORY, fill
from tests.connectors.servers import new_schema
from tests.flink_jobs.people import PROFILES, TEXT, change_of
from tests.search_server import documents, written
from tests.topics import delivering

TOOLS = ["search", "get_document", "get_profile", "context", "recent_changes"]
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Server:
    folder: Path
    url: str
    keys: dict[str, str]
    topic: str
    kafka: str

    def session(self, work: Callable[[ClientSession], Awaitable[Answer]], key: str = "all") -> Answer:
        async def run() -> Answer:
            known = {"Authorization": f"Bearer {self.keys.get(key, key)}"}
            async with (
                httpx2.AsyncClient(headers=known, timeout=60) as client,
                streamable_http_client(f"{self.url}/mcp", http_client=client) as streams,
                ClientSession(streams[0], streams[1]) as session,
            ):
                await session.initialize()
                return await work(session)

        return asyncio.run(run())

    def call(self, tool: str, key: str = "all", **arguments: Any) -> dict[str, Any]:
        found = self.session(lambda session: session.call_tool(tool, arguments), key)
        assert not found.is_error, found
        said: dict[str, Any] = json.loads(found.content[0].text)
        assert said == found.structured_content
        return said

    def refused(self, tool: str, key: str = "all", **arguments: Any) -> str:
        found = self.session(lambda session: session.call_tool(tool, arguments), key)
        assert found.is_error and found.structured_content is None, found
        return str(found.content[0].text)

    def change(self, document: str, number: int, now: str | None, *earlier: str) -> None:
        plan = Plan(
            document, Position(f"{number:016d}"), ("c",) if now else (), (), {"tenant": now}, committed_ms=10**12
        )
        said = applied("articles", plan, ["pgvector"], [json.dumps({"tenant": each}) for each in earlier])
        with delivering(self.kafka) as producer:
            producer.produce(self.topic, key=document.encode(), value=said, partition=0)


@pytest.fixture(scope="module")
def server(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, kafka, topic = tmp_path_factory.mktemp("tools"), stack.kafka.bootstrap_servers, f"o{uuid4().hex[:8]}"
    dsn, columns = new_schema(stack.postgres.dsn), ["tenant", "lang", "number"]
    source = {"kafka": {"topic": "a", "properties.bootstrap.servers": kafka}}
    people = {"profiles": PROFILES, "embedding": {"model": "hash", "text": TEXT}}
    of_people = {"postgres": {"dsn": new_schema(stack.postgres.dsn)}, "pgvector": {"dsn": dsn, "table": "people"}}
    profiles = {**documents(of_people, columns, **people), "name": "people"}
    del profiles["documents"]
    store = {"pgvector": {"dsn": dsn, "table": "manuals"}}
    texts = {
        "manuals": documents(store, columns, source=source, outcomes={"kafka": {"topic": topic}}),
        "silent": documents(store, columns),
        "people": profiles,
    }
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")
    written(folder / "manuals.yaml")
    rules = load(folder / "people.yaml")
    fill(rules, [change_of(each, rules) for each in HISTORY])
    ensure_topics(kafka, {topic: 1})
    file = {
        "name": "helpdesk",
        "indexes": {name: {"pipeline": f"{name}.yaml", "connections": 2} for name in ("manuals", "silent")},
        "profiles": {"pipeline": "people.yaml", "connections": 2},
        "keys": "keys.yaml",
    }
    (folder / "serve.yaml").write_text(yaml.safe_dump(file), encoding="utf-8")
    given = {
        "all": {"indexes": ["manuals", "silent"], "profiles": True, "filter": "{}"},
        "acme": {"indexes": ["manuals"], "filter": '{"tenant": "acme"}'},
        "bergen": {"profiles": True, "filter": '{"city": "Bergen"}'},
        "slow": {"indexes": ["manuals"], "filter": "{}", "per_minute": 4},
    }
    keys = {name: add(folder / "keys.yaml", name, each) for name, each in given.items()}
    with (
        opened(read(folder / "serve.yaml")) as offer,
        served(application(offer, Event()), refusal=as_problem) as url,
    ):
        yield Server(folder, url, keys, topic, kafka)


def test_tools_are_listed_and_answer_as_they_say(server: Server) -> None:
    listed = server.session(lambda session: session.list_tools()).tools
    assert [each.name for each in listed] == TOOLS and all(each.description for each in listed)
    calls: dict[str, dict[str, Any]] = {
        "search": {"query": "parcel 3", "index": "manuals", "k": 3, "filter": {"lang": "de"}},
        "get_document": {"document_id": "public.articles/5", "index": "manuals", "around": 1},
        "get_profile": {"customer": "email/kari@x.no", "explain": True},
        "context": {"question": "parcel 3", "customer": "email/kari@x.no", "k": 3},
        "recent_changes": {"index": "manuals"},
    }
    for tool in listed:
        jsonschema.Draft202012Validator(tool.input_schema).validate(calls[tool.name])
        jsonschema.Draft202012Validator(tool.output_schema).validate(server.call(tool.name, **calls[tool.name]))


def test_they_answer_what_is_answered_over_http(server: Server) -> None:
    known = {"Authorization": f"Bearer {server.keys['all']}"}
    with httpx.Client(base_url=server.url, headers=known, timeout=60) as client:
        body = {"query": "parcel 3", "k": 3, "mode": "hybrid"}
        found = client.post("/v1/indexes/manuals/search", json=body).json()
        assert server.call("search", index="manuals", **body)["hits"] == found["hits"]
        document = client.get("/v1/indexes/manuals/documents/public.articles/5?around=2&neighbours=1").json()
        same = server.call("get_document", document_id="public.articles/5", index="manuals", around=2)
        assert same["chunks"] == document["chunks"] and len(same["chunks"]) == 3
        beyond = client.get("/v1/indexes/manuals/documents/public.articles/5?around=999").json()
        said = server.refused("get_document", document_id="public.articles/5", index="manuals", around=999)
        assert said == f"around: {beyond['detail']}" == "around: document 'public.articles/5' has no chunk 999"
        kari = client.get("/v1/profiles/email/kari@x.no").json()
        assert server.call("get_profile", customer="record/public.customers/1") == kari
        assert server.call("get_profile", customer=kari["profile_id"]) == kari
        made = client.post("/v1/context", json={"question": "parcel 3", "indexes": ["manuals"]}).json()
        assert server.call("context", question="parcel 3", indexes=["manuals"])["prompt"] == made["prompt"]


def test_a_key_decides_what_is_seen(server: Server) -> None:
    for hit in server.call("search", "acme", query="Article 1 of shipping", k=100)["hits"]:
        assert hit["metadata"]["tenant"] == "acme"
    theirs, none = (server.refused("get_document", "acme", document_id=f"public.articles/{each}") for each in (1, 999))
    assert theirs == none.replace("999", "1") == "id: index manuals has no document 'public.articles/1'"
    assert "silent" not in server.refused("search", "acme", query="a", index="silent").partition(";")[2]
    assert server.refused("get_profile", "acme", customer="email/kari@x.no") == "no profiles may be asked for here"
    assert server.call("get_profile", "bergen", customer="customer_id/1")["values"]["city"] == "Bergen"
    ola, nobody = (server.refused("get_profile", "bergen", customer=f"customer_id/{each}") for each in (2, 3))
    assert ola == nobody.replace("3", "2")
    for hit in server.call("context", "acme", question="Article 1 of shipping", k=100)["citations"]:
        assert hit["metadata"]["tenant"] == "acme"


def test_recent_changes_are_those_that_a_key_may_know_of(server: Server) -> None:
    begin = server.call("recent_changes", index="manuals")["next"]
    server.change("public.articles/0", 1, "acme")
    server.change("public.articles/1", 2, "beta")
    server.change("public.articles/2", 3, "beta", "acme")
    server.change("public.articles/4", 4, None, "beta")
    with delivering(server.kafka) as producer:
        said = cleared("articles", "public.articles", Position("5"), ["pgvector"])
        producer.produce(server.topic, key=b"t", value=said, partition=0)
    whole = server.call("recent_changes", index="manuals", after=begin)["changes"]
    assert [(each["event"], each.get("document_id", each.get("table"))) for each in whole] == [
        ("changed", "public.articles/0"), ("changed", "public.articles/1"), ("changed", "public.articles/2"),
        ("gone", "public.articles/4"), ("cleared", "public.articles"),
    ]  # fmt: skip
    assert whole[0]["metadata"] == {"tenant": "acme"} and whole[0]["committed_at"] == "2001-09-09T01:46:40.000Z"
    part = server.call("recent_changes", "acme")["changes"]
    assert [(each["event"], each.get("document_id")) for each in part] == [
        ("changed", "public.articles/0"), ("gone", "public.articles/2"), ("cleared", None),
    ]  # fmt: skip
    assert "beta" not in json.dumps(part)
    # by parts, each from where the one before ended
    seen, after = [], begin
    for _ in range(3):
        page = server.call("recent_changes", index="manuals", after=after, limit=2)
        seen += page["changes"]
        after = page["next"]
    assert seen == whole and server.call("recent_changes", index="manuals", after=after)["changes"] == []
    assert server.call("recent_changes", index="manuals", limit=1)["changes"] == whole[-1:]
    only = server.call("recent_changes", index="manuals", filter={"tenant": "beta"}, after=begin)["changes"]
    assert [each.get("document_id") for each in only] == [f"public.articles/{each}" for each in (1, 2, 4)] + [None]
    assert server.refused("recent_changes", index="silent").startswith("index: the pipeline of index silent tells no")
    assert server.refused("recent_changes", index="manuals", after="x").startswith("after: after is no next")
    assert server.refused("recent_changes", index="manuals", after="other.0-1").startswith("after: what changed since")


def test_changes_are_asked_for_again_where_their_topic_is_away(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise Unavailable("kafka: it doesn't answer")

    monkeypatch.setattr("serving.tools.recent.look_back", away)
    with opened(read(server.folder / "serve.yaml")) as offer, pytest.raises(Refused) as refused:
        asyncio.run(RecentChanges().of("manuals", offer.indexes["manuals"], EVERYTHING, ChangesAsked()))
    assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
    assert "kafka" not in str(refused.value)


def test_what_cannot_be_called_is_said(server: Server) -> None:
    assert server.refused("searching").startswith("name: there is no tool 'searching'; there are search, get_document")
    assert len(server.refused("search" * 1_000)) < 600
    far = server.refused("search", query="a", index="manuals", filter={"x" * 9_000: 1})
    assert far.startswith("filter.xx") and len(far) < 1_100
    assert server.refused("search") == "query: query is missing"
    assert server.refused("search", query="a").startswith("index: name the index: there are manuals, silent")
    assert server.refused("search", query="a", index="none").startswith("index: 'none' is no index that may be asked")
    assert server.refused("search", query="a", index="manuals", tenant="acme").startswith(
        "tenant: tenant is no field of"
    )
    assert server.refused("search", query="a", index="manuals", filter={"price": 1}).startswith("filter.price: ")
    assert server.refused("search", query="a\x00", index="manuals").startswith("query: query has a NUL")
    assert server.refused("context", question="a", budget={"tokens": 16}).startswith("budget: the prompt has ")


def test_who_has_no_key_gets_no_session(server: Server) -> None:
    ask = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    kind = {"Accept": "application/json, text/event-stream"}
    for headers in ({}, {"Authorization": "Bearer fsk_x"}):
        answer = httpx.post(f"{server.url}/mcp", json=ask, headers={**kind, **headers})
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    with pytest.raises(BaseException) as refused:
        server.session(lambda session: session.list_tools(), "fsk_x")
    assert "401" in repr(refused.value) or isinstance(refused.value, BaseExceptionGroup)
    known = {**kind, "Authorization": f"Bearer {server.keys['slow']}"}
    statuses = [httpx.post(f"{server.url}/mcp", json=ask, headers=known).status_code for _ in range(6)]
    assert statuses[-1] == 429 and statuses[0] == 200
    assert httpx.get(f"{server.url}/mcp", headers=known).status_code == 405


def test_a_body_that_is_not_whole_or_too_large_fails_nothing(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    known = {"Authorization": f"Bearer {server.keys['all']}", "Accept": "application/json, text/event-stream"}
    large = httpx.post(f"{server.url}/mcp", content=iter([b" " * (1 << 20)] * 40), headers=known)
    assert (large.status_code, large.headers["Content-Type"]) == (413, "application/problem+json")
    host, port = server.url.removeprefix("http://").split(":")
    head = "".join(f"{name}: {value}\r\n" for name, value in {"Host": host, "Content-Length": "99", **known}.items())
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(f"POST /mcp HTTP/1.1\r\nContent-Type: application/json\r\n{head}\r\n{{".encode())
    assert server.call("search", query="parcel", index="manuals")["hits"]
    assert not [each for each in caplog.records if each.exc_info]


VALUES: tuple[Any, ...] = (
    None,
    0,
    -1,
    1e308,
    True,
    "",
    "a",
    [],
    {},
    [None],
    {"a": [[]]},
    "\u0000",
    10**40,
    "x" * 3_000,
)


def fuzzed(chance: random.Random) -> bytes:
    tool = chance.choice([*TOOLS, "none", 3, None])
    names = ["query", "index", "k", "filter", "mode", "question", "document_id", "customer", "limit", "after", "x"]
    arguments: Any = {chance.choice(names): chance.choice(VALUES) for _ in range(chance.randrange(4))}
    if chance.random() < 0.5:
        arguments |= {"query": "parcel", "question": "parcel", "index": "manuals"}
    body: Any = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    if chance.random() < 0.4:
        body[chance.choice(["jsonrpc", "id", "method", "params"])] = chance.choice(
            [*VALUES, "tools/list", "initialize"]
        )
    if chance.random() < 0.1:
        body = chance.choice([body, [body, body], *VALUES])
    raw = json.dumps(body).encode()
    return raw[: chance.randrange(len(raw))] if chance.random() < 0.1 else raw


def test_no_session_by_chance_fails_the_server(server: Server) -> None:
    versions = ["2025-06-18", "2024-11-05", "2026-07-28", "x", ""]
    statuses = set()
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for seed in range(300):
            chance = random.Random(seed)
            headers = {
                "Authorization": f"Bearer {server.keys['acme']}",
                "Accept": chance.choice(["application/json, text/event-stream"] * 5 + ["application/json", "*/*", ""]),
                "Content-Type": chance.choice(["application/json"] * 6 + ["text/plain"]),
            }
            if chance.random() < 0.5:
                headers["MCP-Protocol-Version"] = chance.choice(versions)
            answer = client.post("/mcp", content=fuzzed(chance), headers=headers)
            statuses.add(answer.status_code)
            assert answer.status_code < 500, (seed, answer.status_code, answer.text)
            assert '"tenant":"beta"' not in answer.text.replace("\\", "")
    assert 200 in statuses and 400 in statuses


def test_the_same_over_stdio(server: Server) -> None:
    async def ask(key: str) -> tuple[list[str], Any, Any]:
        environment = {**os.environ, "FRESHET_KEY": server.keys[key], "PYTHONPATH": os.pathsep.join(sys.path)}
        command = ["-m", "cli", "mcp", str(server.folder / "serve.yaml")]
        parameters = StdioServerParameters(command=sys.executable, args=command, env=environment)
        async with stdio_client(parameters) as streams, ClientSession(*streams) as session:
            await session.initialize()
            tools = [each.name for each in (await session.list_tools()).tools]
            found = await session.call_tool("search", {"query": "Article 1 of shipping", "k": 100})
            return tools, found, await session.call_tool("get_document", {"document_id": "public.articles/1"})

    tools, found, theirs = asyncio.run(ask("acme"))
    hits = found.structured_content["hits"]
    assert tools == TOOLS and {each["metadata"]["tenant"] for each in hits} == {"acme"} and theirs.is_error
