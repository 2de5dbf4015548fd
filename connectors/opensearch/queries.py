"""What the OpenSearch store asks of its chunks: searches, lists and counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from connectors.opensearch.filters import FIELD, query_of, without_terms
from core.stores.filters.language import EVERYTHING, Filter


def conditions(model: str, where: Filter) -> list[dict[str, Any]]:
    """Chunks of the model that pass the filter."""
    return [{"term": {"model": model}}, *([] if where == EVERYTHING else [query_of(where)])]


_FOUND = {"excludes": ["embedding", FIELD, "model"]}
_ORDER = [{"_score": "desc"}, {"document_id": "asc"}, {"ordinal": "asc"}, {"chunk_id": "asc"}]


def nearest(vector: NDArray[Any], k: int, among: Sequence[Mapping[str, Any]], ef_search: int | None) -> dict[str, Any]:
    """The nearest by the graph, of `ef_search` looked at, or as many as fit `k`. `_score` is (1 + cosine) / 2."""
    # More than k, so that which of several equally near ones are let in doesn't depend on the graph.
    reach = min(k + 20, 10_000)
    looked_at = max(200, 2 * reach) if ef_search is None else max(ef_search, reach)
    knn = {
        "vector": vector.tolist(),
        "k": reach,
        "method_parameters": {"ef_search": min(10_000, looked_at)},
        "filter": {"bool": {"filter": among}},
    }
    return {"size": k, "query": {"knn": {"embedding": knn}}, "_source": _FOUND, "sort": _ORDER, "track_scores": True}


def compared(vector: NDArray[Any], k: int, among: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The nearest, each compared. `_score` is 1 + cosine."""
    # In Painless: what the plugin's own script `knn_score` gives for a cosine changed from version to version.
    source = "1.0 + cosineSimilarity(params.vector, doc['embedding'])"
    script = {"source": source, "params": {"vector": vector.tolist()}}
    query = {"script_score": {"query": {"bool": {"filter": among}}, "script": script}}
    return {"size": k, "query": query, "_source": _FOUND, "sort": _ORDER, "track_scores": True}


def worded(text: str, k: int, among: Sequence[Mapping[str, Any]], with_vectors: bool) -> dict[str, Any]:
    """The best by BM25."""
    query = {"bool": {"must": {"match": {"text": text}}, "filter": among}}
    found = {} if with_vectors else {"_source": _FOUND}
    return {"size": k, "query": query, "sort": _ORDER, "track_scores": True, **found}


def chunks_of(document_ids: Sequence[str], size: int, after: Sequence[Any] | None) -> dict[str, Any]:
    """Chunks of documents, of all models, by document and ordinal."""
    query = {"bool": {"filter": [{"terms": {"document_id": document_ids}}]}}
    order = [{"document_id": "asc"}, {"ordinal": "asc"}, {"chunk_id": "asc"}]
    return {"size": size, "query": query, "sort": order} | ({} if after is None else {"search_after": after})


def documents(size: int, after: Mapping[str, Any] | None) -> dict[str, Any]:
    """The ids of documents, in order, after one."""
    composite: dict[str, Any] = {"size": size, "sources": [{"document_id": {"terms": {"field": "document_id"}}}]}
    if after is not None:
        composite["after"] = after
    return {"size": 0, "track_total_hits": False, "aggs": {"documents": {"composite": composite}}}


def models(most: int) -> dict[str, Any]:
    """How many chunks each model made, the most first."""
    return {"size": 0, "track_total_hits": False, "aggs": {"models": {"terms": {"field": "model", "size": most}}}}


def there(document_ids: Sequence[str], size: int, after: Sequence[Any] | None) -> dict[str, Any]:
    """Where chunks of documents are, and in which version."""
    return chunks_of(document_ids, size, after) | {"_source": False, "version": True}


ANY = {"size": 1, "_source": False, "track_total_hits": False, "terminate_after": 1}
"""Whether there is a chunk."""

UNINDEXED = {"size": 0, "track_total_hits": True, "query": without_terms()}
"""How many chunks have none of the terms that filters ask for."""

LIVING = {
    "size": 0,
    "track_total_hits": True,
    "query": {
        "bool": {
            "filter": [{"exists": {"field": "document_id"}}, {"term": {"complete": True}}],
            "must_not": [{"exists": {"field": "deleted_at"}}],
        }
    },
}
"""Of a ledger: how many documents have chunks that were all written."""
