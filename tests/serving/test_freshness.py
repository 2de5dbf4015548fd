"""How fresh answers are, and requests that wait for a change, over HTTP and on real stores."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from connectors.opening.stores import open_stores, stores_of
from core.change import Position
from core.config.pipeline import Pipeline
from core.shards.progress import Progress, Reached
from core.stores.contract import VectorStore
from core.stores.filters.language import parse
from operations import index as asked_index
from operations.pipeline_file import load
from serving.keys import add
from serving.waiting import Waiting
from stack.local import Stack
from tests.connectors.servers import Server, new_schema
from tests.search_server import Serving, documents, plan_of, serving, written
from udfs.embedding.embedder import embedder

STORES = ("pgvector", "opensearch")
PARTITION = "shop.public.articles/0"


def hexed(*halves: int) -> str:
    return ".".join(f"{half:016x}" for half in halves)


@dataclass
class Index:
    """An index that is served, and its store, written to by the test as a job would."""

    name: str
    server: Serving
    store: VectorStore
    pipeline: Pipeline

    def search(self, key: str = "all", **asked: Any) -> httpx.Response:
        return self.server.search(self.name, key, query="parcel 3", **asked)

    def as_of(self) -> dict[str, Any]:
        found: dict[str, Any] = self.search().json()["as_of"]
        return found

    def write(self, number: int, position: str, committed_ms: int | None = None) -> None:
        metadata = {"tenant": ("acme", "beta")[number % 2], "lang": "en", "number": number}
        plan = plan_of(self.pipeline, f"public.articles/{number}", f"Change {position} of {number}", metadata)
        plan = replace(plan, position=Position(position), committed_ms=committed_ms)
        model = embedder("hash")
        self.store.apply([plan], [model.embed([chunk.text for chunk in plan.write])])

    def tell(self, lsn: int, committed_ms: int, written_ms: int) -> None:
        self.store.keep(Progress(1, written_ms, {PARTITION: Reached(9, hexed(lsn), committed_ms)}))
        time.sleep(0.11)  # what the server knows of it may be a tenth of a second old


@pytest.fixture(scope="module")
def served(
    stack: Stack, opensearch_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Serving, Path]]:
    folder = tmp_path_factory.mktemp("fresh")
    hosts = [f"http://{opensearch_server.address}"]
    at = {
        "pgvector": {"pgvector": {"dsn": new_schema(stack.postgres.dsn), "table": "manuals"}},
        "opensearch": {"opensearch": {"hosts": hosts, "index": f"fresh-{os.getpid()}"}},
    }
    for name in STORES:
        text = yaml.safe_dump(documents(at[name], ["tenant", "lang", "number"]))
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        written(folder / f"{name}.yaml")
    file = {"name": "fresh", "keys": "keys.yaml", "indexes": {name: {"pipeline": f"{name}.yaml"} for name in STORES}}
    (folder / "serve.yaml").write_text(yaml.safe_dump(file), encoding="utf-8")
    given = {
        "all": {"indexes": list(STORES), "filter": "{}"},
        "acme": {"indexes": list(STORES), "filter": '{"tenant": "acme"}'},
    }
    keys = {name: add(folder / "keys.yaml", name, settings) for name, settings in given.items()}
    with serving(folder, folder / "serve.yaml", keys) as running:
        yield running, folder


@pytest.fixture(params=STORES)
def index(served: tuple[Serving, Path], request: pytest.FixtureRequest) -> Iterator[Index]:
    server, folder = served
    pipeline = load(folder / f"{request.param}.yaml")
    (store,) = open_stores(stores_of(pipeline), embedder("hash").dimension).values()
    yield Index(request.param, server, store, pipeline)
    store.close()


@pytest.fixture
def waiting() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def answered(asked: Future[httpx.Response]) -> dict[str, Any]:
    answer = asked.result(20)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_an_answer_says_how_fresh_it_is(index: Index) -> None:
    nothing = {"position": None, "committed_at": None, "lag_seconds": None, "stale": True, "stale_since": None}
    assert index.as_of() == nothing
    now = time.time_ns() // 1_000_000
    index.tell(0x16B3748, now - 2_000, now)
    fresh = index.as_of()
    assert (fresh["position"], fresh["stale"], fresh["stale_since"]) == ("0/16B3748", False, None)
    assert 2 <= fresh["lag_seconds"] < 10 and fresh["committed_at"].endswith("Z")
    index.tell(0x16B3748, 1_700_000_000_123, 1_700_000_001_000)
    stale = index.as_of()
    assert (stale["committed_at"], stale["stale"], stale["stale_since"]) == (
        "2023-11-14T22:13:20.123Z",
        True,
        "2023-11-14T22:13:21.000Z",
    )
    index.write(101, hexed(3, 5), 1_700_000_000_123)
    hit = next(hit for hit in index.search(k=400).json()["hits"] if hit["document_id"] == "public.articles/101")
    assert (hit["position"], hit["committed_at"]) == (hexed(3, 5), "2023-11-14T22:13:20.123Z")
    document = index.server.ask("GET", f"/v1/indexes/{index.name}/documents/public.articles/101").json()
    assert (document["position"], document["committed_at"]) == (hexed(3, 5), "2023-11-14T22:13:20.123Z")
    assert document["as_of"] == {**stale, "lag_seconds": document["as_of"]["lag_seconds"]}


@pytest.mark.parametrize("as_lsn", [False, True])
def test_a_search_waits_for_one_document(index: Index, waiting: ThreadPoolExecutor, as_lsn: bool) -> None:
    # behind all that the whole index is at in this file
    number, later = 102 + as_lsn, 2**32
    index.write(number, hexed(later + 100, later + 200))
    position = "1/12C" if as_lsn else hexed(later + 200, later + 300)
    wanted = {"document_id": f"public.articles/{number}", "position": position}
    asked = waiting.submit(index.search, k=400, wait_for=wanted)
    time.sleep(0.3)
    assert not asked.done()
    index.write(number, hexed(later + 200, later + 300))
    assert hexed(later + 200, later + 300) in [hit["position"] for hit in answered(asked)["hits"]]


def test_a_search_waits_for_all_that_was_committed(index: Index, waiting: ThreadPoolExecutor) -> None:
    now = time.time_ns() // 1_000_000
    index.tell(0x500, now, now)
    of_index = waiting.submit(index.search, wait_for={"position": "0/600"})
    # no change of the document has to follow, once the whole index is as far
    of_document = waiting.submit(index.search, wait_for={"document_id": "public.articles/none", "position": "0/600"})
    time.sleep(0.3)
    assert not of_index.done() and not of_document.done()
    index.tell(0x600, now, now)
    assert answered(of_index)["as_of"]["position"] == answered(of_document)["as_of"]["position"] == "0/600"


def test_who_waits_too_long_hears_how_far_it_is(index: Index) -> None:
    now = time.time_ns() // 1_000_000
    index.tell(0x700, 1_700_000_000_123, now)
    late = index.search(wait_for={"position": "0/FFFFFF", "timeout_seconds": 0.3})
    assert (late.status_code, late.json()["field"]) == (504, "wait_for")
    stands = f"index {index.name} is at 0/700, committed at 2023-11-14T22:13:20.123Z"
    assert late.json()["detail"] == f"after 0.3 s 0/FFFFFF isn't there: {stands}"


def test_a_key_hears_nothing_of_documents_that_it_may_not_see(index: Index, waiting: ThreadPoolExecutor) -> None:
    now = time.time_ns() // 1_000_000
    index.tell(0x800, now, now)
    for number in (111, 112):
        index.write(number, hexed(0x900, 0x900))
    wait_for = {"position": "0/900", "timeout_seconds": 0.5}
    own = index.search("acme", wait_for={"document_id": "public.articles/112", **wait_for})
    foreign = index.search("acme", wait_for={"document_id": "public.articles/111", **wait_for})
    missing = index.search("acme", wait_for={"document_id": "public.articles/none", **wait_for})
    assert (own.status_code, foreign.status_code, missing.status_code) == (200, 504, 504)
    assert foreign.json()["detail"].replace("/111'", "/none'") == missing.json()["detail"]
    asked = waiting.submit(index.search, "acme", wait_for={"document_id": "public.articles/111", "position": "0/900"})
    time.sleep(0.2)
    index.tell(0x900, now, now)
    assert json.dumps(answered(asked)["hits"]).count('"beta"') == 0


def test_the_store_is_asked_no_more_where_a_foreign_document_is_there(index: Index) -> None:
    now = time.time_ns() // 1_000_000
    index.tell(0x900, now, now)
    index.write(113, hexed(0x100, 0x100))
    opened = asked_index.Index(index.pipeline, index.name, 1)
    opened.connect()

    async def asks(number: str) -> int:
        asks: list[Callable[[], Any]] = []

        async def of_store(ask: Callable[[], Any]) -> Any:
            asks.append(ask)
            return ask()

        wanted = opened.wanted("0/50", f"public.articles/{number}")
        own = parse({"tenant": "acme"}, opened.columns)
        await Waiting(index.name, opened, of_store).until(wanted, own, 5)
        return len(asks)

    try:
        assert asyncio.run(asks("113")) == asyncio.run(asks("none")) == 1
    finally:
        opened.close()


@pytest.mark.parametrize(
    ("wait_for", "field"),
    [
        ({"position": "16B3748"}, "wait_for.position"),
        ({"position": "3E11FA47-71CA-11E1-9E33-C80AA9429562:23"}, "wait_for.position"),
        ({"position": hexed(1, 2)}, "wait_for.position"),
        ({"position": "binlog.000003:40"}, "wait_for.position"),
        ({"position": ""}, "wait_for.position"),
        ({"position": "0/1", "document_id": "a\x00"}, "wait_for.document_id"),
        ({"position": "0/1", "timeout_seconds": 0}, "wait_for.timeout_seconds"),
        ({"position": "0/1", "timeout_seconds": 26}, "wait_for.timeout_seconds"),
        ({"document_id": "a"}, "wait_for.position"),
        ({"position": "0/1", "for": 1}, "wait_for.for"),
    ],
)
def test_what_nobody_can_wait_for_is_refused(index: Index, wait_for: dict[str, Any], field: str) -> None:
    now = time.time_ns() // 1_000_000
    index.tell(0x800, now, now)
    answer = index.search(wait_for=wait_for)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
