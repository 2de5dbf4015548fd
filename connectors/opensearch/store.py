"""OpenSearch with its k-NN plugin as a vector store: a document a chunk, and a ledger of the source's documents.

What makes writing safe is in `connectors.opensearch.writing`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.opensearch import bodies, queries
from connectors.opensearch.client import Cluster
from connectors.opensearch.hits import cosine_of, entry_stood, hit_of, stood_of, stored_of
from connectors.opensearch.indexes import SETTING, Indexes
from connectors.opensearch.owner import Tenure
from connectors.opensearch.plans import Work, batches, is_id, work
from connectors.opensearch.strays import Strays
from connectors.opensearch.writing import Writer
from core.change import Position
from core.config.store import OpenSearch
from core.errors import ConfigError
from core.plans import Outcome, Plan, rejected
from core.shards.progress import Progress, progress_from_text, progress_to_text
from core.stores.contract import Hit, Stood, Stored, Vectors, nobody_hears
from core.stores.filters.language import EVERYTHING, Filter
from core.stores.fingerprint import Owner
from core.stores.fitting import UNFIT
from core.stores.ranking import words_of

_MOST_HITS = 10_000  # index.max_result_window, and the most that k-NN gives
_READ_AT_ONCE = 200
_LISTED_AT_ONCE = 1000
_MOST_MODELS = 100
_WEEK_S = 7 * 86_400.0
_FORGET_EVERY_S = 3600.0


class OpenSearchStore:
    """A `VectorStore` in one index of an OpenSearch cluster, with its ledger in `<index>-ledger`.

    One store is not for several threads.
    """

    def __init__(
        self,
        target: OpenSearch,
        dimension: int,
        model: str,
        patience_s: float = 30.0,
        remember_deletes_s: float = _WEEK_S,
        owner: Owner | None = None,
    ) -> None:
        """`patience_s`: how long to wait for a cluster that is away; `remember_deletes_s`: how long the position of a
        deleted document is kept, so that an older change of it, however it comes again, is known to be late. With an
        `owner` the store is written to only while it is that run's; None: whoever's it is.

        Raises ConfigError where certificates or AWS credentials can't be had. Connects to nothing.
        """
        ledger = f"{target.index}-ledger"
        samples = {target.index: bodies.sample_chunk(target.index, dimension), ledger: bodies.sample_entry(ledger)}
        self._cluster = Cluster(target, SETTING, patience_s, samples)
        self._tenure = Tenure(self._cluster, target.index, owner)
        self._indexes = Indexes(self._cluster.client, target, dimension)
        self._writer = Writer(self._cluster, target.index, self._tenure)
        self._strays = Strays(self._cluster, self._writer, target.index)
        self._index = target.index
        self._ef_search = target.method.ef_search
        self._dimension = dimension
        self._model = model
        self._remember_deletes_s = remember_deletes_s
        self._forget_at = time.monotonic()

    def prepare(self) -> None:
        """Make what is missing: the index, and its ledger. Can be repeated, also by many at once.

        Doesn't wait for a cluster that is away. Raises Unavailable where it doesn't answer, ConfigError where the index
        there has other fields or another dimension, or the user may not make what is missing.
        """
        self._cluster.once(lambda: self._indexes.prepare(make=True))

    def look(self) -> bool:
        """Whether both indexes are there; see `VectorStore.look`. Doesn't wait either."""
        return self._cluster.once(lambda: self._indexes.prepare(make=False))

    def held(self, plans: Sequence[Plan]) -> frozenset[str]:
        """The ids of chunks in `write` that need no vector; see `VectorStore.held`.

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
        """Bring each plan's document to its state; see `VectorStore.apply`.

        The batch is searchable once this returns. A request has 8 MiB at most, or one chunk.
        Raises Unavailable where the cluster is away for longer than the store's patience, ConfigError where its indexes
        or rights are gone.
        """
        outcomes: dict[int, Outcome] = {}
        ready: list[Work] = []
        for at, (plan, rows) in enumerate(zip(plans, vectors, strict=True)):
            try:
                ready.append(work(at, plan, rows, self._dimension, self._model))
            except UNFIT as error:
                outcomes[at] = rejected(plan.document_id, error)
        for batch in batches(ready):
            outcomes |= self._writer.apply(batch)
        if time.monotonic() >= self._forget_at:
            self._writer.forget(int((time.time() - self._remember_deletes_s) * 1000))
            self._forget_at = time.monotonic() + _FORGET_EVERY_S
        return [outcomes[at] for at in range(len(plans))]

    def clear(self, table: str, before: Position) -> int:
        """Delete the table's documents whose last change is older than `before`; see `VectorStore.clear`.

        Can be repeated, also after it failed. Marks are kept for ever. Raises as `apply` does.
        """
        cleared = self._writer.clear(table, before)
        return cleared + self._strays.clear(table)

    def positions(self, document_ids: Sequence[str]) -> dict[str, Position]:
        """Where the ledger has the documents; see `VectorStore.positions`."""
        wanted = [each for each in dict.fromkeys(document_ids) if is_id(each)]
        entries = zip(wanted, self._writer.entries(wanted), strict=True)
        return {document_id: entry.position for document_id, entry in entries if entry.generation >= 0}

    def stood(self, document_ids: Sequence[str]) -> dict[str, Stood]:
        """Where documents stand whose chunks are all written and searchable; see `VectorStore.stood`."""
        wanted = [each for each in dict.fromkeys(document_ids) if is_id(each)]
        found = self._entries(wanted, ["position", "digest", "complete"])
        return {each: entry_stood(entry) for each, entry in found.items() if entry.get("complete")}

    def keep(self, progress: Progress) -> None:
        """Keep what a run says of itself; see `VectorStore.keep`."""
        self._tenure.hold()
        kept = bodies.keep(f"{self._index}-ledger", progress.epoch, progress_to_text(progress))
        self._cluster.bulk(f"{self._index}-ledger", [kept])

    def progress(self) -> Progress | None:
        """What was kept last; see `VectorStore.progress`."""
        place = {"_index": f"{self._index}-ledger", "_id": bodies.PROGRESS, "_source": ["digest"]}
        (found,) = self._cluster.get([place])
        return progress_from_text(found["_source"]["digest"]) if found["found"] else None

    def _entries(self, document_ids: Sequence[str], fields: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Those fields of the documents' entries, where there are any."""
        place = {"_index": f"{self._index}-ledger", "_source": list(fields)}
        found = self._cluster.get([{**place, "_id": bodies.entry_id(each)} for each in document_ids])
        return {name: each["_source"] for name, each in zip(document_ids, found, strict=True) if each["found"]}

    def latest(self, table: str) -> Position:
        """The latest position of a table's documents and mark; see `VectorStore.latest`."""
        return self._writer.latest(table)

    def mark(self, table: str) -> Position:
        """Below which a table's documents are refused; see `VectorStore.mark`."""
        return self._writer.mark(table)

    def drop(self, stood: Mapping[str, Position]) -> frozenset[str]:
        """Take documents out as if they had never been; see `VectorStore.drop`."""
        return self._strays.drop({each: position for each, position in stood.items() if is_id(each)})

    def owner(self) -> Owner | None:
        """Whose the store is; None where nobody's yet. Raises as `apply` does."""
        return self._tenure.there()

    def claim(self, say: Callable[[str], None] = nobody_hears) -> None:
        """Make the store its owner's; see `VectorStore.claim`. Raises as `apply` does."""
        self._tenure.claim()

    def models(self) -> dict[str, int]:
        """How many chunks there are of each model, of a hundred at most. Doesn't wait for a cluster that is away."""
        found = self._cluster.once(lambda: self._cluster.search(self._index, queries.models(_MOST_MODELS)))
        return {each["key"]: each["doc_count"] for each in found["aggregations"]["models"]["buckets"]}

    def unindexed(self) -> int:
        """How many chunks no filter finds; see `VectorStore.unindexed`. Raises ConfigError where the index is gone."""
        found = self._cluster.once(lambda: self._cluster.search(self._index, queries.UNINDEXED))
        return int(found["hits"]["total"]["value"])

    def bereft(self) -> int:
        """How many documents have lost all chunks; see `VectorStore.bereft`."""
        return self._cluster.once(self._bereft)

    def _bereft(self) -> int:
        if not self._indexes.prepare(make=False):
            return 0
        # a search sees what a refresh has shown, which takes a second by itself
        self._cluster.client.indices.refresh(index=f"{self._index},{self._index}-ledger")
        if self._cluster.search(self._index, queries.ANY)["hits"]["hits"]:
            return 0
        return int(self._cluster.search(f"{self._index}-ledger", queries.LIVING)["hits"]["total"]["value"])

    def read(self, document_ids: Sequence[str]) -> dict[str, Stored]:
        """Those of the documents that have chunks, by id; see `VectorStore.read`.

        Says what the index has, whatever the ledger says. Raises as `apply` does.
        """
        wanted = [each for each in dict.fromkeys(document_ids) if is_id(each)]
        self._writer.refresh(self._index)
        chunks: dict[str, dict[str, Any]] = {}
        for start in range(0, len(wanted), _LISTED_AT_ONCE):
            for found in self._chunks(wanted[start : start + _LISTED_AT_ONCE]):
                chunks.setdefault(found["document_id"], {})[found["chunk_id"]] = found
        entries = self._entries(list(chunks), ["position", "digest"])
        return {
            each: stored_of(each, entry_stood(entries.get(each, {})), list(of.values()), self._model, self._dimension)
            for each, of in chunks.items()
        }

    def _chunks(self, document_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
        after: list[Any] | None = None
        while True:
            hits = self._ask(queries.chunks_of(document_ids, _READ_AT_ONCE, after), self._cluster.patiently)
            yield from (hit["_source"] for hit in hits)
            if len(hits) < _READ_AT_ONCE:
                return
            after = hits[-1]["sort"]

    def document_ids(self) -> Iterator[str]:
        """The id of every document that has chunks, in the order of their bytes. Raises as `apply` does."""
        self._writer.refresh(self._index)
        for page in self._strays.pages(None):
            yield from page

    def search(self, vector: NDArray[np.float32], k: int, where: Filter = EVERYTHING) -> list[Hit]:
        """The `k` nearest chunks of this store's model whose metadata passes `where`, nearest first.

        Equal distances are ordered by document, ordinal and chunk id. The HNSW graph answers; where it gives fewer than
        k, every chunk that passes the filters is compared: k come back wherever k exist.
        `vector` has shape (dimension,), `k` is 10,000 at most. Doesn't wait for a cluster that is away; raises as
        `prepare` does.
        """
        self._check(vector, k)
        return self._standing(self._nearest(vector, k, queries.conditions(self._model, where))) if k > 0 else []

    def _standing(self, hits: Sequence[Hit]) -> list[Hit]:
        """With what they show, as far as the ledger, which may be closed to who asks, can tell."""
        wanted = list(dict.fromkeys(hit.document_id for hit in hits))
        try:
            entries = self._entries(wanted, ["position", "digest", "chunk_ids"])
        except ConfigError:
            return list(hits)
        return [replace(hit, stood=stood_of(hit, entries.get(hit.document_id, {}))) for hit in hits]

    def match(
        self, text: str, k: int, where: Filter = EVERYTHING, vector: NDArray[np.float32] | None = None
    ) -> list[Hit]:
        """The `k` best chunks by the words of `text`; see `VectorStore.match`. Raises as `search` does."""
        self._check(vector, k)
        if k <= 0:
            return []
        among = queries.conditions(self._model, where)
        found = self._ask(queries.worded(words_of(text), k, among, vector is not None), self._cluster.once)
        return self._standing(
            [hit_of(hit, hit["_score"], None if vector is None else cosine_of(hit, vector)) for hit in found]
        )

    def _check(self, vector: NDArray[np.float32] | None, k: int) -> None:
        if vector is not None and vector.shape != (self._dimension,):
            raise ValueError(f"a query vector of shape {vector.shape} for a store of {self._dimension} dimensions")
        if k > _MOST_HITS:
            raise ValueError(f"k is {k}, OpenSearch gives {_MOST_HITS} at most")

    def _nearest(self, vector: NDArray[np.float32], k: int, among: Sequence[Mapping[str, Any]]) -> list[Hit]:
        hits = self._ask(queries.nearest(vector, k, among, self._ef_search), self._cluster.once)
        if len(hits) == k:
            return [hit_of(hit, cosine := 2 * hit["_score"] - 1, cosine) for hit in hits]
        hits = self._ask(queries.compared(vector, k, among), self._cluster.once)
        return [hit_of(hit, cosine := hit["_score"] - 1, cosine) for hit in hits]

    def _ask(
        self, body: Mapping[str, Any], how: Callable[[Callable[[], dict[str, Any]]], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        hits: list[dict[str, Any]] = how(lambda: self._cluster.search(self._index, body))["hits"]["hits"]
        return hits

    def close(self) -> None:
        """Give connections back."""
        self._cluster.client.close()


def _is_fit(plan: Plan) -> bool:
    try:
        for chunk_id in plan.chunk_ids:
            chunk_id.encode()
    except UnicodeError:
        return False
    return is_id(plan.document_id)
