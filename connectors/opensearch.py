"""OpenSearch with its k-NN plugin as a vector store: a document a chunk, and a ledger of the source's documents.

What makes writing safe is in `connectors.opensearch_writing`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from opensearchpy.exceptions import NotFoundError, RequestError

from connectors import opensearch_bodies as bodies
from connectors.opensearch_client import Cluster
from connectors.opensearch_plans import FAULTS, Work, batches, check_id, rejected, work
from connectors.opensearch_writing import Writer
from core.change import Position
from core.config_store import OpenSearch
from core.errors import ConfigError
from core.plans import Chunk, Outcome, Plan
from core.stores import Hit, Stored, Vectors

_SETTING = "store.opensearch"
_MOST_HITS = 10_000  # index.max_result_window, and the most that k-NN gives
_READ_AT_ONCE = 200
_LISTED_AT_ONCE = 1000
_RANK_CONSTANT = 60
_WEEK_S = 7 * 86_400.0
_FORGET_EVERY_S = 3600.0


class OpenSearchStore:
    """A `core.stores.VectorStore` in one index of an OpenSearch cluster, with its ledger in `<index>-ledger`.

    One store is not for several threads.
    """

    def __init__(
        self,
        target: OpenSearch,
        dimension: int,
        model: str,
        patience_s: float = 30.0,
        remember_deletes_s: float = _WEEK_S,
    ) -> None:
        """`patience_s`: how long to wait for a cluster that is away; `remember_deletes_s`: how long the position of a
        deleted document is kept, so that an older change of it, however it comes again, is known to be late.

        Raises ConfigError where certificates or AWS credentials can't be had. Connects to nothing.
        """
        self._cluster = Cluster(target, _SETTING, patience_s)
        self._writer = Writer(self._cluster, target.index)
        self._index = target.index
        self._dimension = dimension
        self._model = model
        self._remember_deletes_s = remember_deletes_s
        self._forget_at = time.monotonic()

    def prepare(self) -> None:
        """Make what is missing: the index, and its ledger. Can be repeated, also by many at once.

        Doesn't wait for a cluster that is away. Raises Unavailable where it doesn't answer, ConfigError where the index
        there has other fields or another dimension, or the user may not make what is missing.
        """
        self._cluster.once(self._prepare)

    def _prepare(self) -> None:
        ledger, fields = f"{self._index}-ledger", bodies.chunk_mapping(self._dimension)["properties"]
        # The ledger is looked for first: whoever makes both makes it last.
        known = self._fields(ledger)
        there = self._fields(self._index)
        if known is not None and there is None:
            raise ConfigError(
                [
                    f"{_SETTING}.index: {ledger} is there without {self._index}, and would refuse as late what "
                    f"{self._index} has lost: delete {ledger} too"
                ]
            )
        if there is None:
            there = self._create(self._index, bodies.CHUNK_SETTINGS, bodies.chunk_mapping(self._dimension))
        _check_fields(there, fields, self._index)
        if known is None:
            known = self._create(ledger, bodies.LEDGER_SETTINGS, bodies.LEDGER_MAPPING)
        _check_fields(known, bodies.LEDGER_MAPPING["properties"], ledger)

    def _fields(self, index: str) -> dict[str, Any] | None:
        try:
            (found,) = self._cluster.client.indices.get_mapping(index=index).values()
        except NotFoundError:
            return None
        return dict(found["mappings"].get("properties", {}))

    def _create(self, index: str, settings: Mapping[str, Any], mapping: Mapping[str, Any]) -> dict[str, Any]:
        try:
            self._cluster.client.indices.create(index=index, body={"settings": settings, "mappings": mapping})
        except RequestError as error:
            if error.error != "resource_already_exists_exception":
                raise
        return self._fields(index) or {}

    def held(self, plans: Sequence[Plan]) -> frozenset[str]:
        """The ids of chunks in `write` that need no vector; see `core.stores.VectorStore.held`.

        Chunks that no index can hold count as missing, so that `apply` rejects their plan. Raises as `apply` does.
        """
        fit = [plan for plan in plans if plan.write and _is_fit(plan)]
        found: set[str] = set()
        doubtful: list[tuple[str, str]] = []
        for plan, entry in zip(fit, self._writer.entries([plan.document_id for plan in fit]), strict=True):
            ids = {chunk.chunk_id for chunk in plan.write}
            if entry.position > plan.position:
                found |= ids
            elif entry.complete:
                found |= ids & entry.chunk_ids
            else:
                doubtful += [(plan.document_id, chunk_id) for chunk_id in ids & entry.chunk_ids]
        return frozenset(found | {chunk_id for _, chunk_id in self._writer.there(doubtful)})

    def apply(self, plans: Sequence[Plan], vectors: Sequence[Vectors]) -> list[Outcome]:
        """Bring each plan's document to its state; see `core.stores.VectorStore.apply`.

        The batch is searchable once this returns. A request has 8 MiB at most, or one chunk.
        Raises Unavailable where the cluster is away for longer than the store's patience, ConfigError where its indexes
        or rights are gone.
        """
        outcomes: dict[int, Outcome] = {}
        ready: list[Work] = []
        for at, (plan, rows) in enumerate(zip(plans, vectors, strict=True)):
            try:
                ready.append(work(at, plan, rows, self._dimension, self._model))
            except FAULTS as error:
                outcomes[at] = rejected(plan, error)
        for batch in batches(ready):
            outcomes |= self._writer.apply(batch)
        if time.monotonic() >= self._forget_at:
            self._writer.forget(int((time.time() - self._remember_deletes_s) * 1000))
            self._forget_at = time.monotonic() + _FORGET_EVERY_S
        return [outcomes[at] for at in range(len(plans))]

    def clear(self, table: str, before: Position) -> int:
        """Delete the table's documents whose last change is older than `before`; see `core.stores.VectorStore.clear`.

        Can be repeated, also after it failed. Marks are kept for ever. Raises as `apply` does.
        """
        return self._writer.clear(table, before)

    def read(self, document_ids: Sequence[str]) -> dict[str, Stored]:
        """Those of the documents that have chunks, by id, with their chunks of this store's model.

        Says what the index has, whatever the ledger says. Raises as `apply` does.
        """
        wanted = [each for each in dict.fromkeys(document_ids) if _is_id(each)]
        self._writer.refresh(self._index)
        chunks: dict[str, dict[str, Any]] = {}
        for start in range(0, len(wanted), _LISTED_AT_ONCE):
            for found in self._chunks(wanted[start : start + _LISTED_AT_ONCE]):
                chunks.setdefault(found["document_id"], {})[found["chunk_id"]] = found
        entries = self._writer.entries(list(chunks))
        return {
            document_id: _stored(document_id, entry.position, list(found.values()))
            for (document_id, found), entry in zip(chunks.items(), entries, strict=True)
        }

    def _chunks(self, document_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
        after: list[Any] | None = None
        while True:
            hits = self._ask(bodies.chunks_of(document_ids, self._model, _READ_AT_ONCE, after), self._cluster.patiently)
            yield from (hit["_source"] for hit in hits)
            if len(hits) < _READ_AT_ONCE:
                return
            after = hits[-1]["sort"]

    def document_ids(self) -> Iterator[str]:
        """The id of every document that has chunks, in the order of their bytes. Raises as `apply` does."""
        self._writer.refresh(self._index)
        after: Mapping[str, Any] | None = None
        while True:
            body = bodies.documents(_LISTED_AT_ONCE, after)
            found = self._cluster.patiently(lambda body=body: self._cluster.search(self._index, body))  # type: ignore[misc]
            page = found["aggregations"]["documents"]
            yield from (bucket["key"]["document_id"] for bucket in page["buckets"])
            after = page.get("after_key")
            if after is None:
                return

    def search(
        self, vector: NDArray[np.float32], k: int, where: Mapping[str, str], text: str | None = None
    ) -> list[Hit]:
        """The `k` nearest chunks of this store's model whose metadata has each value of `where`, nearest first.

        Equal distances are ordered by document, ordinal and chunk id. The HNSW graph answers; where it gives fewer than
        k, every chunk that passes the filters is compared: k come back wherever k exist.
        With `text`, the best by vector and the best by its words (BM25) are merged by reciprocal rank fusion (Cormack
        and others, 2009): it needs ranks only, where BM25's scores have no scale that fits a cosine. Scores are
        cosines all the same.
        `vector` has shape (dimension,), `k` is 10,000 at most. Doesn't wait for a cluster that is away; raises as
        `prepare` does.
        """
        if vector.shape != (self._dimension,):
            raise ValueError(f"a query vector of shape {vector.shape} for a store of {self._dimension} dimensions")
        if k > _MOST_HITS:
            raise ValueError(f"k is {k}, OpenSearch gives {_MOST_HITS} at most")
        if k <= 0:
            return []
        among = bodies.conditions(self._model, where)
        if text is None:
            return self._nearest(vector, k, among)
        reach = min(_MOST_HITS, max(50, 2 * k))
        worded = [_worded(hit, vector) for hit in self._ask(bodies.worded(text, reach, among), self._cluster.once)]
        return _fused([self._nearest(vector, reach, among), worded])[:k]

    def _nearest(self, vector: NDArray[np.float32], k: int, among: Sequence[Mapping[str, Any]]) -> list[Hit]:
        hits = self._ask(bodies.nearest(vector, k, among), self._cluster.once)
        if len(hits) == k:
            return [_hit(hit, 2 * hit["_score"] - 1) for hit in hits]
        hits = self._ask(bodies.compared(vector, k, among), self._cluster.once)
        return [_hit(hit, hit["_score"] - 1) for hit in hits]

    def _ask(
        self, body: Mapping[str, Any], how: Callable[[Callable[[], dict[str, Any]]], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        hits: list[dict[str, Any]] = how(lambda: self._cluster.search(self._index, body))["hits"]["hits"]
        return hits

    def close(self) -> None:
        """Give connections back."""
        self._cluster.client.close()


def _is_id(document_id: str) -> bool:
    try:
        check_id(document_id)
    except FAULTS:
        return False
    return True


def _is_fit(plan: Plan) -> bool:
    try:
        for chunk_id in plan.chunk_ids:
            chunk_id.encode()
    except UnicodeError:
        return False
    return _is_id(plan.document_id)


def _check_fields(seen: Mapping[str, Any], expected: Mapping[str, Any], index: str) -> None:
    vector, wanted = seen.get("embedding", {}), expected.get("embedding", {})
    if vector.get("type") == "knn_vector" and vector.get("dimension") != wanted.get("dimension"):
        raise ConfigError(
            [
                f"{_SETTING}.index: {index} has embedding vector({vector.get('dimension')}), the model has "
                f"vector({wanted.get('dimension')}): name another index, delete this one, or choose the model "
                "that made it"
            ]
        )
    wrong = [
        f"{name} {_kind(seen.get(name))} (needed: {_kind(field)})"
        for name, field in expected.items()
        if _kind(seen.get(name)) != _kind(field)
    ]
    if wrong:
        raise ConfigError(
            [f"{_SETTING}.index: {index} is not an index of Freshet's: {', '.join(wrong)}: name another index"]
        )


def _kind(field: Mapping[str, Any] | None) -> str:
    if field is None:
        return "missing"
    method = field.get("method", {})
    parts = (field.get("type", "object"), method.get("engine"), method.get("name"), method.get("space_type"))
    return " ".join(part for part in parts if part)


def _stored(document_id: str, position: Position, found: Sequence[Mapping[str, Any]]) -> Stored:
    chunks = tuple(Chunk(each["chunk_id"], each["ordinal"], each["text"]) for each in found)
    vectors = np.array([each["embedding"] for each in found], np.float32)
    return Stored(document_id, position, chunks, found[0]["metadata"], vectors)


def _hit(hit: Mapping[str, Any], score: float) -> Hit:
    of = hit["_source"]
    return Hit(score, of["document_id"], of["chunk_id"], of["ordinal"], of["text"], of["metadata"])


def _worded(hit: Mapping[str, Any], vector: NDArray[np.float32]) -> Hit:
    there = np.array(hit["_source"]["embedding"], np.float32)
    return _hit(hit, float(vector @ there / (np.linalg.norm(vector) * np.linalg.norm(there))))


def _fused(rankings: Sequence[Sequence[Hit]]) -> list[Hit]:
    """One ranking of several: each adds 1 / (60 + rank) to a chunk it has."""
    worth: dict[str, float] = {}
    for ranking in rankings:
        for rank, hit in enumerate(ranking, start=1):
            worth[hit.chunk_id] = worth.get(hit.chunk_id, 0.0) + 1 / (_RANK_CONSTANT + rank)
    hits = {hit.chunk_id: hit for ranking in rankings for hit in ranking}.values()
    return sorted(hits, key=lambda hit: (-worth[hit.chunk_id], hit.document_id, hit.ordinal, hit.chunk_id))
