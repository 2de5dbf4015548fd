"""How an OpenSearch index keeps and finds its vectors, as the pipeline file says it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from connectors.opensearch import bodies, queries
from connectors.opensearch.store import OpenSearchStore
from core.config.store import IndexSettings, Method, OpenSearch
from core.errors import ConfigError
from tests.connectors.test_store_contract import APPLIED, apply, plan, vector_of

TEXTS = [f"text {at}" for at in range(50)]


@pytest.fixture
def opened(target: OpenSearch) -> Iterator[Any]:
    """Makes prepared stores of one index, by their settings."""
    there: list[OpenSearchStore] = []

    def opened(**settings: Any) -> OpenSearchStore:
        there.append(OpenSearchStore(target.model_copy(update=settings), 4, "m", patience_s=5))
        there[-1].prepare()
        return there[-1]

    yield opened
    for each in there:
        each.close()


def method_of(url: str, index: str) -> dict[str, Any]:
    found = httpx.get(f"{url}/{index}/_mapping").raise_for_status().json()[index]
    return dict(found["mappings"]["properties"]["embedding"]["method"])


def settings_of(url: str, index: str) -> dict[str, Any]:
    found = httpx.get(f"{url}/{index}/_settings?flat_settings=true").raise_for_status().json()[index]
    return dict(found["settings"])


def test_a_graph_is_made_as_the_file_says_and_finds_the_nearest(opened: Any, url: str, target: OpenSearch) -> None:
    store = opened(method=Method(m=8, ef_construction=64, ef_search=500))
    there = method_of(url, target.index)
    assert (there["engine"], there["parameters"]) == ("lucene", {"m": 8, "ef_construction": 64})
    assert apply(store, plan("d", "1", *TEXTS, metadata={"lang": "en"})) == [APPLIED]
    asked = vector_of("anything")
    cosines = {text: float(vector_of(text) @ asked) for text in TEXTS}
    nearest = sorted(cosines, key=lambda text: -cosines[text])[:10]
    hits = store.search(asked, 10)
    assert [hit.text for hit in hits] == nearest
    assert [hit.score for hit in hits] == pytest.approx([cosines[text] for text in nearest], abs=1e-5)


def test_faiss_is_asked_for_as_the_plugin_has_it() -> None:
    # the OpenSearch of these tests has no native libraries, and ends where an index asks for them
    method = bodies.chunk_mapping(4, Method(engine="faiss"))["properties"]["embedding"]["method"]
    assert method == {
        "name": "hnsw",
        "engine": "faiss",
        "space_type": "cosinesimil",
        "parameters": {"m": 16, "ef_construction": 100},
    }


def test_a_graph_that_is_not_as_the_file_says_is_named(opened: Any) -> None:
    opened(method=Method())
    assert opened(method=Method()).look()
    problem = r"store\.opensearch\.method\.m is 32, and test-\w+ has 16, which can't be changed: write in the file"
    with pytest.raises(ConfigError, match=problem):
        opened(method=Method(m=32))
    with pytest.raises(ConfigError, match=r"embedding knn_vector lucene hnsw cosinesimil \(needed: knn_vector faiss"):
        opened(method=Method(engine="faiss"))
    opened(method=Method(m=16, ef_search=1000))


def test_an_index_gets_the_settings_that_the_file_states(opened: Any, url: str, target: OpenSearch) -> None:
    opened(settings=IndexSettings(number_of_shards=2, refresh_interval="30s"))
    for index in (target.index, f"{target.index}-ledger"):
        there = settings_of(url, index)
        assert (there["index.number_of_shards"], there["index.refresh_interval"]) == ("2", "30s")
        assert there["index.auto_expand_replicas"] == "0-1"
    # what can be changed is; what isn't stated stays
    store = opened(settings=IndexSettings(number_of_replicas=0))
    assert settings_of(url, target.index)["index.refresh_interval"] == "30s"
    assert settings_of(url, target.index)["index.auto_expand_replicas"] == "false"
    assert apply(store, plan("d", "1", "one")) == [APPLIED]
    assert [hit.text for hit in store.search(vector_of("one"), 1)] == ["one"], "searchable though none refreshes it"
    problem = r"settings\.number_of_shards is 3, and test-\w+ has 2, which can't be changed"
    with pytest.raises(ConfigError, match=problem):
        opened(settings=IndexSettings(number_of_shards=3))


@pytest.mark.parametrize(
    ("k", "ef_search", "looked_at"), [(10, None, 200), (500, None, 1040), (10, 40, 40), (10, 20, 30)]
)
def test_a_search_looks_at_as_many_as_the_file_says(k: int, ef_search: int | None, looked_at: int) -> None:
    knn = queries.nearest(vector_of("one"), k, [], ef_search)["query"]["knn"]["embedding"]
    assert knn["method_parameters"]["ef_search"] == looked_at
