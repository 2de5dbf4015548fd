"""One job, several stores: all end as the source, and one that is away for a while loses nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from connectors.opensearch.store import OpenSearchStore
from connectors.pinecone.store import PineconeStore
from core.config.pinecone import Pinecone
from core.config.store import OpenSearch
from core.stores.contract import VectorStore
from stack import kafka, postgres, process
from stack import local as local_stack
from stack.layout import layout_of
from stack.local import Stack
from tests.connectors import servers
from tests.connectors.pinecone_server import KEY, pinecone_service
from tests.connectors.servers import Server
from tests.flink_jobs.conftest import Workshop, eventually, workshop_in
from tests.flink_jobs.events import envelope, key, row
from tests.flink_jobs.test_recordings import DOCUMENTS, recording, true_texts
from tests.replay import StoredChunk, differences

DIMENSION = 384
OUTAGE_S = float(os.environ.get("FRESHET_OUTAGE_S", "8"))
"""The design promises a minute; a test run has no time for it: set FRESHET_OUTAGE_S=60 to see it."""


def target(server: Server) -> OpenSearch:
    return OpenSearch(hosts=(f"http://{server.address}",), index=f"test-{uuid4().hex[:12]}")


def both(workshop: Workshop, opensearch: OpenSearch) -> dict[str, object]:
    return {
        "pgvector": {"dsn": workshop.dsn, "table": "documents"},
        "opensearch": opensearch.model_dump(exclude_none=True, mode="json"),
    }


def chunks(store: VectorStore) -> list[StoredChunk]:
    stored = store.read(sorted(store.document_ids()))
    return [(each.document_id, chunk.ordinal, chunk.text) for each in stored.values() for chunk in each.chunks]


def test_every_kind_of_event_ends_in_each_store(workshop: Workshop, opensearch_server: Server) -> None:
    events = recording(workshop, 3)
    workshop.freshet("produce", "--bootstrap-servers", workshop.bootstrap_servers, "--recording", events)
    opensearch = target(opensearch_server)
    with pinecone_service() as service:
        settings = {"index": "documents", "namespace": "chunks", "api_key": KEY, "host": service.url}
        named = both(workshop, opensearch) | {"pinecone": settings}
        pipeline = workshop.pipeline(parallelism=2, documents=DOCUMENTS, store=named)
        workshop.freshet("run", pipeline)
        stores: dict[str, VectorStore] = {
            "opensearch": OpenSearchStore(opensearch, DIMENSION, "hash"),
            "pinecone": PineconeStore(Pinecone.model_validate(settings), DIMENSION, "hash"),
        }
        assert differences(workshop.rows(), true_texts()) == []
        for name, store in stores.items():
            assert differences(chunks(store), true_texts()) == []
            assert not any("unavailable_value" in text for at, _, text in chunks(store) if at != "public.toast/2")
            printed = workshop.freshet("search", pipeline, "truncate", "--store", name, "-k", "1")
            assert "public.items/1" in printed
            store.close()


@pytest.fixture
def own_opensearch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that the test may stop."""
    with servers.opensearch_server(tmp_path_factory.mktemp("opensearch")) as server:
        yield server


def test_a_store_that_is_away_for_a_while_loses_nothing(workshop: Workshop, own_opensearch: Server) -> None:
    opensearch = target(own_opensearch)
    pipeline = workshop.pipeline(bounded=False, store=both(workshop, opensearch))
    store = OpenSearchStore(opensearch, DIMENSION, "hash")
    workshop.send(key(1), envelope(1, row(1, "before")))
    with workshop.running(pipeline):
        eventually(lambda: workshop.prepared() and len(workshop.rows()) == 1, "the first row")
        own_opensearch.stop()
        try:
            for number in range(2, 30):
                workshop.send(key(number), envelope(number, row(number, f"during {number}")))
            workshop.send(key(1), envelope(40, None, op="d"))
            time.sleep(OUTAGE_S)
        finally:
            own_opensearch.start()
        truth = {f"public.documents/{number}": f"t\n\nduring {number}" for number in range(2, 30)}
        eventually(lambda: differences(workshop.rows(), truth) == [], "all in PostgreSQL")
        eventually(lambda: differences(chunks(store), truth) == [], "all in OpenSearch")
    assert not workshop.has_letters()
    store.close()


@pytest.mark.parametrize("server", ["postgres", "kafka"])
def test_a_server_that_is_away_for_a_while_loses_nothing(own_stack: Stack, tmp_path: Path, server: str) -> None:
    workshop = workshop_in(own_stack, tmp_path)
    services = {"postgres": postgres.service, "kafka": kafka.service}
    directory = own_stack.folder.parents[1]
    workshop.send(key(1), envelope(1, row(1, "before")))
    with workshop.running(workshop.pipeline(bounded=False)):
        eventually(lambda: workshop.prepared() and len(workshop.rows()) == 1, "the first row")
        if server == "postgres":
            process.stop(services[server](layout_of(directory)))
        for number in range(2, 30):
            workshop.send(key(number), envelope(number, row(number, f"during {number}")))
        workshop.send(key(1), envelope(40, None, op="d"))
        if server == "kafka":
            process.stop(services[server](layout_of(directory)))
        time.sleep(OUTAGE_S)
        local_stack.up(directory)
        workshop.send(key(2), envelope(50, row(2, "after")))
        truth = {f"public.documents/{number}": f"t\n\nduring {number}" for number in range(3, 30)}
        truth["public.documents/2"] = "t\n\nafter"
        eventually(lambda: differences(workshop.rows(), truth) == [], "all that was sent")
    assert not workshop.has_letters()
