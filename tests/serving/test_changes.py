"""`GET /v1/changes` on real servers: who hears of what, from where on, and how a stream ends."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest
import yaml
from confluent_kafka import OFFSET_END, TopicPartition
from confluent_kafka.admin import AdminClient

from connectors.kafka.producer import ensure_topics
from connectors.opening.stores import open_stores, stores_of
from core.change import Position
from core.plans import Plan
from core.stores.outcomes import applied, cleared
from operations.pipeline_file import load
from serving import changes
from serving.asking import application
from serving.keys import add
from serving.offer import opened
from serving.problems import as_problem
from serving.server import served
from serving.settings import read
from stack.local import Stack
from tests.connectors.servers import new_schema
from tests.search_server import documents
from tests.topics import delivering

PARTITIONS = 2
PIPELINE = "articles"


@dataclass
class Feed:
    """A topic of outcomes, and a folder with the files of a server of its pipeline."""

    folder: Path
    servers: str
    topic: str
    number: int = 0

    def send(self, document: str, now: str | None, *earlier: str, store: str = "pgvector") -> str:
        """Say that a document is of this tenant now, or gone, and of which it was; its position."""
        self.number += 1
        position = Position(f"{self.number:016d}")
        plan = Plan(document, position, ("c",) if now else (), (), {"tenant": now, "secret": f"{now}-{self.number}"})
        self.write(document, applied(PIPELINE, plan, [store], [json.dumps({"tenant": each}) for each in earlier]))
        return position

    def write(self, key: str, value: bytes) -> None:
        with delivering(self.servers) as producer:
            producer.produce(self.topic, key=key.encode(), value=value)


@dataclass
class Heard:
    """What one who listens was sent so far."""

    events: list[tuple[str, Any]]
    ids: list[str]
    status: int = 0

    def wait(self, many: int) -> list[tuple[str, Any]]:
        until = time.monotonic() + 20
        while len(self.events) < many:
            assert time.monotonic() < until, self.events
            time.sleep(0.02)
        return self.events


@pytest.fixture(scope="module")
def feed(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Feed:
    folder, topic, servers = tmp_path_factory.mktemp("changes"), f"o{uuid4().hex[:8]}", stack.kafka.bootstrap_servers
    dsn = new_schema(stack.postgres.dsn)
    source = {"kafka": {"topic": "a", "properties.bootstrap.servers": servers}}
    stores = {"pgvector": {"dsn": dsn, "table": "manuals"}}
    more = {"source": source, "outcomes": {"kafka": {"topic": topic}}}
    pipeline = documents(stores, ["tenant", "secret"], **more)
    for name, text in {"manuals": pipeline, "silent": {**pipeline, "outcomes": None}}.items():
        given = {setting: value for setting, value in text.items() if value is not None}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    (store,) = open_stores(stores_of(load(folder / "manuals.yaml")), 384).values()
    store.prepare()
    store.close()
    ensure_topics(servers, {topic: PARTITIONS})
    settings = {
        "name": "helpdesk",
        "indexes": {name: {"pipeline": f"{name}.yaml", "connections": 1} for name in ("manuals", "silent")},
        "keys": "keys.yaml",
        "listeners": 3,
    }
    (folder / "serve.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return Feed(folder, servers, topic)


@pytest.fixture(scope="module")
def keys(feed: Feed) -> dict[str, str]:
    both = {"indexes": ["manuals", "silent"]}
    acme = {"indexes": ["manuals"], "filter": '{"tenant": "acme"}'}
    file = feed.folder / "keys.yaml"
    return {"all": add(file, "all", {**both, "filter": "{}", "metrics": True}), "acme": add(file, "acme", acme)}


@pytest.fixture(scope="module")
def url(feed: Feed, keys: dict[str, str]) -> Iterator[str]:
    over = threading.Event()
    with (
        opened(read(feed.folder / "serve.yaml")) as offer,
        served(application(offer, over), refusal=as_problem, over=over) as url,
    ):
        yield url


@contextmanager
def listening(url: str, key: str, last: str = "", **asked: str) -> Iterator[Heard]:
    """Listen in a thread, until the block ends."""
    found = Heard([], [])
    headers = {"Authorization": f"Bearer {key}", **({"Last-Event-ID": last} if last else {})}
    with (
        httpx.Client(timeout=30) as client,
        client.stream("GET", f"{url}/v1/changes", params={"index": "manuals", **asked}, headers=headers) as answer,
    ):
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        while not found.ids:
            _hear(next(lines), found)
        thread = threading.Thread(target=_listen, args=(lines, found))
        thread.start()
        try:
            yield found
        finally:
            # the server's side ends it: closing under a reading thread would not
            answer.extensions["network_stream"].get_extra_info("socket").shutdown(2)
            thread.join(10)


def _listen(lines: Iterator[str], found: Heard) -> None:
    try:
        for line in lines:
            _hear(line, found)
    except httpx.HTTPError:
        return


def _hear(line: str, found: Heard) -> None:
    name, _, value = line.partition(": ")
    if name == "event":
        found.events.append((value, None))
    elif name == "id":
        found.ids.append(value)
    elif name == "data":
        found.events[-1] = (found.events[-1][0], json.loads(value))


def refused(url: str, key: str, last: str = "", **asked: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}", **({"Last-Event-ID": last} if last else {})}
    answer = httpx.get(f"{url}/v1/changes", params={"index": "manuals", **asked}, headers=headers, timeout=30)
    assert (
        answer.headers["Content-Type"] == "application/problem+json" and answer.json()["status"] == answer.status_code
    )
    return answer


def test_each_hears_what_its_key_and_its_filter_let_it_see(feed: Feed, keys: dict[str, str], url: str) -> None:
    wide = json.dumps({"tenant": {"exists": True}})
    with (
        listening(url, keys["all"]) as everything,
        listening(url, keys["acme"], filter=wide) as acme,
        listening(url, keys["all"], filter='{"tenant": "beta"}') as beta,
    ):
        feed.send("a/1", "acme")
        feed.send("a/1", "beta", "acme")
        gone = feed.send("a/1", None, "beta", "beta")
        feed.send("a/2", "gamma", store="opensearch")
        feed.write("a/2", b"somebody else's")
        feed.write("a", cleared(PIPELINE, "a", Position("0000000000000009"), ["pgvector"]))
        shown = [(kind, each.get("document_id", each.get("table"))) for kind, each in everything.wait(4)]
        assert sorted(shown) == [("changed", "a/1"), ("changed", "a/1"), ("cleared", "a"), ("gone", "a/1")]
        said = dict(acme.wait(3))
        assert said["changed"]["metadata"] == {"tenant": "acme", "secret": "acme-1"} and said["cleared"] == {
            "table": "a",
            "before": "0000000000000009",
        }
        # nothing of what it became
        assert said["gone"] == {"document_id": "a/1", "position": "0000000000000002", "committed_ms": None}
        of_beta = [each for kind, each in beta.wait(3) if kind != "cleared"]
        assert [each.get("metadata", {}).get("tenant") for each in of_beta] == ["beta", None]
        assert of_beta[1]["position"] == gone
        # one too many
        full = refused(url, keys["all"])
        assert (full.status_code, full.headers["Retry-After"]) == (503, "30")
    until = time.monotonic() + 10
    while 'freshet_serve_listeners{index="manuals"} 0.0' not in _figures(url, keys["all"]):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert 'freshet_serve_changes_total{index="manuals"}' in _figures(url, keys["all"])


def test_who_sees_a_part_leaves_places_to_others(feed: Feed, keys: dict[str, str], url: str) -> None:
    with listening(url, keys["acme"]), listening(url, keys["acme"]):
        assert refused(url, keys["acme"]).status_code == 503
        with listening(url, keys["all"]):
            pass


def _figures(url: str, key: str) -> str:
    return httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {key}"}).text


def test_who_comes_back_hears_what_it_missed(feed: Feed, keys: dict[str, str], url: str) -> None:
    with listening(url, keys["acme"]) as first:
        feed.send("b/1", "acme")
        first.wait(1)
    for number in range(2, 40):
        feed.send(f"b/{number}", "beta" if number % 2 else "acme")
    with listening(url, keys["acme"], last=first.ids[-1]) as again:
        found = again.wait(19)
        assert sorted(each["document_id"] for _, each in found) == sorted(f"b/{n}" for n in range(2, 40, 2))
        middle = again.ids[-5]
    with listening(url, keys["acme"], last=middle) as rest:
        assert rest.wait(4) == found[-4:]


def test_what_cannot_be_gone_on_from_is_refused(feed: Feed, keys: dict[str, str], url: str) -> None:
    with listening(url, keys["all"]) as heard:
        log, _, places = heard.ids[0].partition(".")
    ahead = ",".join(f"{each.split('-')[0]}-999999" for each in places.split(","))
    for last in (f"{log}.{ahead}", f"0123456789ab.{places}", f"{log}.7-0"):
        assert refused(url, keys["all"], last).status_code == 410, last
    for last in ("nonsense", "a.b-c", log, f"{log}.0--1"):
        answer = refused(url, keys["all"], last)
        assert (answer.status_code, answer.json()["field"]) == (422, "Last-Event-ID"), last
    for asked, status, field in (
        ({"index": "nope"}, 404, "index"),
        ({"index": "silent"}, 404, "index"),
        ({"filter": '{"size": 1}'}, 422, "filter.size"),
        ({"filter": "["}, 422, "filter"),
    ):
        answer = refused(url, keys["all"], **asked)
        assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text
    assert refused(url, keys["acme"], index="silent").status_code == 404
    assert refused(url, "fsk_x").status_code == 401


def test_a_key_that_is_taken_back_hears_nothing_more(feed: Feed, keys: dict[str, str], url: str) -> None:
    file = feed.folder / "keys.yaml"
    key = add(file, f"passing-{os.getpid()}", {"indexes": ["manuals"], "filter": '{"tenant": "acme"}'})
    time.sleep(1.5)
    with listening(url, key) as heard:
        text = file.read_text(encoding="utf-8")
        file.write_text(text[: text.index("  passing-")], encoding="utf-8")
        assert heard.wait(1) == [("end", {"reason": "forbidden"})]


def test_one_who_does_not_read_is_ended_and_costs_no_memory(
    feed: Feed, keys: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "_SLOW_S", 1.0)
    headers = {"Authorization": f"Bearer {keys['all']}"}
    large, many = "x" * 20_000, 2_000
    with (
        httpx.Client(timeout=30) as client,
        client.stream("GET", f"{url}/v1/changes?index=manuals", headers=headers) as answer,
    ):
        lines = answer.iter_lines()
        while not next(lines).startswith("id: "):
            pass
        before = psutil.Process().memory_info().rss
        with delivering(feed.servers) as producer:
            for number in range(many):
                plan = Plan(f"c/{number}", Position(f"{number:016d}"), ("c",), (), {"tenant": large})
                producer.produce(feed.topic, key=str(number).encode(), value=applied(PIPELINE, plan, ["pgvector"], []))
                # what waits to be sent is of this process too, which is measured
                producer.flush(10) if number % 50 == 0 else None
        time.sleep(3)
        assert psutil.Process().memory_info().rss - before < 30 << 20
        rest = list(lines)
    assert rest[-2] == 'data: {"reason":"slow"}'
    assert 0 < sum(line == "event: changed" for line in rest) < many
    with listening(url, keys["all"], last=rest[-3].removeprefix("id: ")) as again:
        again.wait(many - sum(line == "event: changed" for line in rest))


def test_a_server_that_stops_ends_its_streams_at_once(feed: Feed, keys: dict[str, str]) -> None:
    over = threading.Event()
    with opened(read(feed.folder / "serve.yaml")) as offer:
        with served(application(offer, over), over=over) as url:
            headers = {"Authorization": f"Bearer {keys['all']}"}
            client = httpx.Client(timeout=30, headers=headers)
            stream = client.stream("GET", f"{url}/v1/changes?index=manuals")
            lines = stream.__enter__().iter_lines()
            assert next(lines) == "retry: 2000"
            began = time.monotonic()
        assert time.monotonic() - began < 5
        assert 'data: {"reason":"stopping"}' in list(lines)
        client.close()


def test_what_is_no_longer_kept_is_not_gone_on_from(feed: Feed, keys: dict[str, str], url: str) -> None:
    with listening(url, keys["all"]) as heard:
        last = heard.ids[0]
        feed.send("d/1", "acme")
        feed.send("d/2", "acme")
        heard.wait(2)
    admin = AdminClient({"bootstrap.servers": feed.servers})
    everything = [TopicPartition(feed.topic, partition, OFFSET_END) for partition in range(PARTITIONS)]
    for each in admin.delete_records(everything).values():
        each.result(10)
    # as where a topic's retention is over
    assert refused(url, keys["all"], last).status_code == 410
    with listening(url, keys["all"], last=heard.ids[-1]) as rest:
        assert rest.events == []
    last = heard.ids[-1]
    admin.delete_topics([feed.topic])[feed.topic].result(10)
    ensure_topics(feed.servers, {feed.topic: PARTITIONS})
    assert refused(url, keys["all"], last).status_code == 410
