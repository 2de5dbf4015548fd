"""`freshet serve` in a process of its own, as a user starts it, and documents for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from connectors.opening.stores import open_stores, stores_of
from core.change import Position
from core.config.documents import Chunk as ChunkSettings
from core.config.pipeline import Pipeline
from core.plans import Plan, chunks
from operations.pipeline_file import load
from udfs.embedding.embedder import embedder
from udfs.embedding.tokenizing import document_chunker

TENANTS = ("acme", "beta", 'it\'s "quoted"')
LANGUAGES = ("en", "de")


@dataclass
class Serving:
    """A server that runs, and its keys by name."""

    url: str
    keys: dict[str, str]
    process: subprocess.Popen[str]
    log: Path
    client: httpx.Client

    def ask(self, method: str, path: str, key: str = "all", **given: Any) -> httpx.Response:
        known = {"Authorization": f"Bearer {self.keys[key]}"} if key in self.keys else {}
        return self.client.request(method, f"{self.url}{path}", headers={**known, **given.pop("headers", {})}, **given)

    def search(self, index: str = "manuals", key: str = "all", **body: Any) -> httpx.Response:
        return self.ask("POST", f"/v1/indexes/{index}/search", key, json=body)


def documents(store: dict[str, Any], columns: list[str], **more: Any) -> dict[str, Any]:
    return {
        "name": "articles",
        "source": {"kafka": {"topic": "a", "properties.bootstrap.servers": "127.0.0.1:1"}},
        "format": "debezium",
        "documents": {"public.articles": {"text": "{body}", "metadata": columns, "chunk": {"tokens": 8, "overlap": 0}}},
        "embedding": {"model": "hash"},
        "store": store,
        "dead_letters": {"kafka": {"topic": "d"}},
        **more,
    }


def plan_of(pipeline: Pipeline, document_id: str, text: str, metadata: dict[str, Any]) -> Plan:
    cut = document_chunker("hash", ChunkSettings(tokens=8, overlap=0))
    made = chunks(document_id, text, cut.ranges(text), "hash", cut.name)
    return Plan(document_id, Position("7"), tuple(each.chunk_id for each in made), made, metadata)


def written(file: Path) -> None:
    """Sixty documents of three tenants, and one with a hostile id."""
    pipeline, model = load(file), embedder("hash")
    (store,) = open_stores(stores_of(pipeline), model.dimension).values()
    store.prepare()
    plans = [
        plan_of(
            pipeline,
            f"public.articles/{number}",
            f"Article {number} of shipping. " + f"It tells of parcel {number % 7} and how it is sent home. " * 3,
            {"tenant": TENANTS[number % 3], "lang": LANGUAGES[number % 2], "number": number},
        )
        for number in range(60)
    ]
    plans.append(plan_of(pipeline, "public.articles/a%2Fb/ü?#", "An odd id", {"tenant": "acme", "lang": None}))
    store.apply(plans, [model.embed([chunk.text for chunk in each.write]) for each in plans])
    store.close()


@contextmanager
def serving(folder: Path, file: Path, keys: dict[str, str]) -> Iterator[Serving]:
    log = folder / "serve.log"
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "serve", str(file), "--port", "0"],
            cwd=Path(__file__).parents[1],
            env={**os.environ, "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.match(r"serving at (http\S+?)(, without keys)?$", line)
        assert found, f"{line}\n{log.read_text(encoding='utf-8')}"
        with httpx.Client(timeout=60) as client:
            yield Serving(found[1], keys, process, log, client)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
