"""What OpenSearch doesn't take, and whose fault that is: the index's, the document's, or that of too much at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from connectors.opensearch import bodies
from connectors.opensearch.plans import parts, work
from connectors.opensearch.store import OpenSearchStore
from core.change import Position
from core.config.store import OpenSearch
from core.errors import ConfigError, Unavailable
from tests.connectors.proxy import Proxy
from tests.connectors.test_store_contract import APPLIED, REJECTED, apply, plan, texts, vectors_of


@pytest.fixture
def chunks(target: OpenSearch) -> Iterator[OpenSearchStore]:
    store = OpenSearchStore(target, 4, "m", patience_s=0.3)
    store.prepare()
    yield store
    store.close()


def through(way: Proxy, target: OpenSearch, patience_s: float = 5.0) -> OpenSearchStore:
    store = OpenSearchStore(target.model_copy(update={"hosts": (way.url,)}), 4, "m", patience_s)
    store.prepare()
    return store


# in this order: where one is cut off the ledger says what the next one finds
WRITING: dict[str, Callable[[OpenSearchStore], Any]] = {
    "kept": lambda store: apply(store, plan("t/1", "2", "one", new=[], metadata={"lang": "en"})),
    "changed": lambda store: apply(store, plan("t/1", "3", "two"), plan("t/2", "3", "three")),
    "deleted": lambda store: apply(store, plan("t/1", "4")),
    "cleared": lambda store: store.clear("t", Position("9")),
}


@pytest.mark.parametrize("lost", ["", "-ledger"], ids=["index", "ledger"])
def test_an_index_that_was_deleted_is_not_made_by_writing(
    chunks: OpenSearchStore, url: str, target: OpenSearch, lost: str
) -> None:
    apply(chunks, plan("t/1", "1", "one"))
    httpx.delete(f"{url}/{target.index}{lost}").raise_for_status()
    for kind, write in WRITING.items():
        with pytest.raises(ConfigError, match="no such index"):
            write(chunks)
        assert httpx.head(f"{url}/{target.index}{lost}").status_code == 404, kind
    assert httpx.put(f"{url}/{target.index}-unguarded/_doc/1", json={}).status_code == 201, "others' writing makes one"


def test_what_is_gone_is_named_with_what_to_do(chunks: OpenSearchStore, url: str, target: OpenSearch) -> None:
    httpx.delete(f"{url}/{target.index}").raise_for_status()
    with pytest.raises(
        ConfigError, match=rf"store\.opensearch\.index: OpenSearch at .* has no {target.index} \(.*delete"
    ):
        apply(chunks, plan("t/1", "1", "one"))


def test_an_alias_is_an_index_as_long_as_it_is_of_one(chunks: OpenSearchStore, url: str, target: OpenSearch) -> None:
    name = f"{target.index}-alias"

    def stand_for(index: str) -> None:
        action = {"add": {"index": index, "alias": name}}
        httpx.post(f"{url}/_aliases", json={"actions": [action]}).raise_for_status()

    stand_for(target.index)
    aliased = OpenSearchStore(target.model_copy(update={"index": name}), 4, "m", patience_s=0.3)
    aliased.prepare()
    first = plan("t/1", "1", "one", "two")
    assert apply(aliased, first, plan("t/2", "1")) == [APPLIED] * 2
    httpx.put(f"{url}/{target.index}-other").raise_for_status()
    stand_for(f"{target.index}-other")
    message = rf"alias of {target.index} and {target.index}-other: name one"
    for call in (aliased.prepare, aliased.look):
        with pytest.raises(ConfigError, match=message):
            call()
    for change in (plan("t/1", "2", "two"), plan("t/1", "2", "two", new=[])):
        with pytest.raises(Unavailable, match=rf"{name} at .* can't be used, whatever .*put its settings"):
            apply(aliased, change)
    httpx.delete(f"{url}/{target.index}-other").raise_for_status()
    assert apply(aliased, plan("t/1", "2", "two")) == [APPLIED]
    aliased.close()


@pytest.mark.parametrize("which", ["", "-ledger"], ids=["index", "ledger"])
def test_a_pipeline_that_is_not_there_is_the_indexs_fault(
    chunks: OpenSearchStore, url: str, target: OpenSearch, which: str
) -> None:
    def pipeline(name: str) -> None:
        settings = {"index.default_pipeline": name}
        httpx.put(f"{url}/{target.index}{which}/_settings", json=settings).raise_for_status()

    pipeline("nosuch")
    for plans in ([plan("t/1", "1", "one"), plan("t/2", "1", "two")], [plan("t/3", "1", "three")]):
        with pytest.raises(Unavailable, match=r"can't be used.*pipeline with id \[nosuch\] does not exist"):
            apply(chunks, *plans)
    pipeline("_none")
    assert apply(chunks, plan("t/1", "1", "one"), plan("t/2", "1", "two")) == [APPLIED] * 2


def test_a_closed_index_is_named_as_one(chunks: OpenSearchStore, url: str, target: OpenSearch) -> None:
    httpx.post(f"{url}/{target.index}/_close").raise_for_status()
    with pytest.raises((Unavailable, ConfigError), match="closed"):
        apply(chunks, plan("t/1", "1", "one"))
    httpx.post(f"{url}/{target.index}/_open").raise_for_status()


def test_a_document_that_the_index_refuses_is_rejected_alone(url: str, target: OpenSearch) -> None:
    mapping = bodies.chunk_mapping(4)
    mapping["properties"] |= {"text": {"type": "text", "copy_to": "number"}, "number": {"type": "long"}}
    httpx.put(f"{url}/{target.index}", json={"settings": bodies.CHUNK_SETTINGS, "mappings": mapping}).raise_for_status()
    store = OpenSearchStore(target, 4, "m", patience_s=0.3)
    store.prepare()
    plans = [plan("t/1", "1", "12"), plan("t/2", "1", "words"), plan("t/3", "1", "13")]
    outcomes = store.apply(plans, vectors_of(plans))
    assert [each.status for each in outcomes] == [APPLIED, REJECTED, APPLIED]
    assert "mapper_parsing_exception" in outcomes[1].reason
    assert apply(store, plan("t/4", "1", "alone")) == [REJECTED]
    assert texts(store) == [("t/1", "12"), ("t/3", "13")]
    assert httpx.get(f"{url}/{target.index}/_count").json()["count"] == 2, "no sample is left"
    store.close()


def test_a_document_that_is_too_large_is_rejected_alone(way: Proxy, target: OpenSearch) -> None:
    store = through(way, target)
    way.most = 100_000
    large = plan("t/2", "1", "first", "x" * 200_000, "last")
    assert apply(store, plan("t/1", "1", "one"), large, plan("t/3", "1", "three")) == [APPLIED, REJECTED, APPLIED]
    longest = plan("t/4", "1", *(f"chunk {number}" for number in range(20)), metadata={"payload": "x" * 20_000})
    assert apply(store, longest) == [APPLIED], "each chunk is small enough"
    store.close()


def test_a_request_that_is_too_much_at_once_is_sent_in_smaller_ones(way: Proxy, target: OpenSearch) -> None:
    store = through(way, target, patience_s=20)
    way.most, way.too_long = 600_000, 429
    long = plan("t/1", "1", *(f"{number} {'x' * 100_000}" for number in range(20)))
    assert apply(store, long, plan("t/2", "1", "two")) == [APPLIED] * 2
    store.close()


def test_metadata_is_in_memory_for_few_chunks_at_a_time() -> None:
    long = plan("t/1", "1", *(f"chunk {number}" for number in range(40)), metadata={"payload": "m" * 2_000_000})
    ready = work(0, long, vectors_of([long])[0], 4, "m")
    assert ready.size() > 80_000_000
    sizes = [sum(len(source) for _, source in some) for some in parts((0, each) for each in ready.sources())]
    assert len(sizes) == 3 and max(sizes) <= 32 * 2**20
