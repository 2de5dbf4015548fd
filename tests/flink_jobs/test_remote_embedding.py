"""The real job with an endpoint that refuses, fails and lies for a while: the true table in the end, and no letters."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import psycopg
import pytest
from pgvector.psycopg import register_vector

from tests.embedding_endpoint import Asked, Endpoint, Reply, endpoint, openai_body, rows_of
from tests.flink_jobs.conftest import Workshop, eventually
from tests.flink_jobs.events import envelope, key, row
from tests.flink_jobs.test_secrets import SECRET, files_with
from udfs.embedding.embedder import HashEmbedder

DOCUMENTS = 40
BUSY_S = 60


@pytest.fixture
def server() -> Iterator[Endpoint]:
    with endpoint() as running:
        yield running


def stored(workshop: Workshop) -> dict[str, np.ndarray]:
    with psycopg.connect(workshop.dsn) as connection:
        register_vector(connection)
        found = connection.execute("SELECT text, embedding FROM documents").fetchall()
    return {text: vector.to_numpy() for text, vector in found}


@pytest.mark.timeout(600)
def test_an_endpoint_that_refuses_for_a_minute_loses_nothing(workshop: Workshop, server: Endpoint) -> None:
    busy = Reply(429, {"error": "slow down"}, {"Retry-After": "1"})
    lies = [
        Reply(500, b"oops"),
        Reply(200, openai_body(rows_of(["one too many"] * 50))),
        Reply(200, openai_body([[float("nan")] * 384])),
        Reply(after_s=3),
    ]
    begun: list[float] = []
    lied_to: set[str] = set()

    def fault(asked: Asked) -> Reply | None:
        if "poison" in " ".join(asked.texts):
            return Reply(400, {"error": "this text is too long"})
        if not begun:
            begun.append(time.monotonic())
        if time.monotonic() < begun[0] + BUSY_S:
            return busy
        # a text whose vectors are refused twice becomes a dead letter: none is lied to twice
        if lies and any("body" in each for each in asked.texts) and lied_to.isdisjoint(asked.texts):
            lied_to.update(asked.texts)
            return lies.pop(0)
        return None

    pipeline = workshop.pipeline(
        bounded=False,
        embedding={
            "model": "hash",
            "openai": {"url": server.openai, "api_key": SECRET},
            "dimension": 384,
            "max_texts": 4,
            "timeout": 1,
        },
    )
    with workshop.running(pipeline):
        eventually(workshop.prepared, "the store")
        server.fault = fault
        for number in range(DOCUMENTS):
            workshop.send(key(number), envelope(number + 1, row(number, f"body {number}"), op="c"))
        workshop.send(key(99), envelope(99, row(99, "poison"), op="c"))
        eventually(lambda: len(stored(workshop)) >= DOCUMENTS, "all documents")
        eventually(workshop.has_letters, "the dead letter")
    found = stored(workshop)
    assert set(found) == {f"t\n\nbody {number}" for number in range(DOCUMENTS)}
    vectors = HashEmbedder().embed(list(found))
    assert np.abs(np.stack(list(found.values())) - vectors).max() < 1e-6
    (letter,) = workshop.letters()
    assert b"this text is too long" in letter[2]["freshet.reason"]
    assert lies == []
    assert {asked.headers["Authorization"] for asked in server.asked} == {f"Bearer {SECRET}"}
    assert SECRET not in workshop.printed()
    assert files_with(workshop.folder, SECRET) == []


def test_check_names_what_an_endpoint_refuses_and_what_counts_tokens(workshop: Workshop, server: Endpoint) -> None:
    pipeline = workshop.pipeline(embedding={"model": "m", "tei": {"url": server.address, "api_key": SECRET}})
    # its topic isn't there yet, which is another step
    assert "m at http://127.0.0.1" in (printed := workshop.freshet("check", pipeline, ok=False))
    assert "384 dimensions; letters4 counts a chunk's tokens" in printed
    server.fault = lambda asked: Reply(403, {"error": "no"})
    printed = workshop.freshet("check", pipeline, ok=False)
    assert "embedding.tei.api_key: http://127.0.0.1" in printed
    assert "403 Forbidden: set a key that may use this model" in printed
    assert SECRET not in printed
