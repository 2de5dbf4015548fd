"""Milvus as a vector store: a row a chunk, and a ledger of the source's documents in a collection beside.

What it can promise, and what not, is said in `connectors.milvus.writing`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

from connectors.milvus.client import SETTING, WIDE_PAGE, Server, among, quoted
from connectors.milvus.collections import Collections
from connectors.milvus.ledger import Ledger
from connectors.milvus.rows import WHOLE, Work, is_id, stored_of, work
from connectors.milvus.searching import Searcher
from connectors.milvus.writing import Writer
from connectors.rotation import Key
from core.change import BEGINNING, Position
from core.config.store import Milvus
from core.plans import Outcome, Plan, rejected
from core.shards.progress import Progress, progress_from_text, progress_to_text
from core.stores.batches import sized
from core.stores.contract import Hit, Stood, Stored, Vectors, nobody_hears
from core.stores.filters.language import EVERYTHING, Filter
from core.stores.fingerprint import Owner
from core.stores.fitting import UNFIT
from core.stores.ledger import key_of

_BYTES_A_BATCH = 32 * 2**20
_READ_AT_ONCE = 200
_DROPPED_AT_ONCE = 200
_IN_MEMORY = 100_000
_WEEK_S = 7 * 86_400.0
_FORGET_EVERY_S = 3600.0


class MilvusStore:
    """A `VectorStore` in one collection of Milvus, with its ledger in `<collection>_ledger`.

    One store is not for several threads.
    """

    def __init__(
        self,
        target: Milvus,
        dimension: int,
        model: str,
        patience_s: float = 30.0,
        remember_deletes_s: float = _WEEK_S,
        owner: Owner | None = None,
    ) -> None:
        """`patience_s`: how long to wait for a server that is away; `remember_deletes_s`: how long the position of a
        deleted document is kept, so that an older change of it is known to be late. With an `owner` the store is
        written to only while it is that run's; None: whoever's it is. Connects to nothing.
        """
        token = Key(target.token or "", target.references("token"), f"{SETTING}.token")
        self._server = Server(target.uri, token, patience_s, (target.collection, target.ledger))
        self._collections = Collections(target, dimension)
        self._ledger = Ledger(self._server, target.ledger, target.collection, owner)
        self._writer = Writer(self._server, target.collection, self._ledger)
        self._searcher = Searcher(self._server, target, dimension, model)
        self._collection = target.collection
        self._dimension = dimension
        self._model = model
        self._remember_deletes_s = remember_deletes_s
        self._forget_at = time.monotonic()

    def prepare(self) -> None:
        """Make what is missing: the collection, its indexes and its ledger. Can be repeated, also by many at once.

        Doesn't wait for a server that is away. Raises Unavailable where it doesn't answer, ConfigError where the
        collection there has other fields, another dimension or metric, or the token may not make what is missing.
        """
        self._server.once(lambda client: self._collections.prepare(client, make=True))

    def look(self) -> bool:
        """Whether both collections are there; see `VectorStore.look`. Doesn't wait either."""
        return self._server.once(lambda client: self._collections.prepare(client, make=False))

    def held(self, plans: Sequence[Plan]) -> frozenset[str]:
        """The ids of chunks in `write` that need no vector; see `VectorStore.held`.

        Chunks that no row can hold count as missing, so that `apply` rejects their plan. Raises as `apply` does.
        """
        fit = [plan for plan in plans if plan.write and is_id(plan.document_id)]
        entries = self._ledger.entries([plan.document_id for plan in fit])
        there = self._writer.chunk_ids([key_of(plan.document_id) for plan in fit])
        found: set[str] = set()
        for plan in fit:
            ids = {chunk.chunk_id for chunk in plan.write}
            entry = entries.get(plan.document_id)
            is_late = entry is not None and entry.stood.position > plan.position
            found |= ids if is_late else ids & there.get(key_of(plan.document_id), set())
        return frozenset(found)

    def apply(self, plans: Sequence[Plan], vectors: Sequence[Vectors]) -> list[Outcome]:
        """Bring each plan's document to its state; see `VectorStore.apply`.

        A request has 8 MiB at most, or one chunk. Raises Unavailable where the server is away for longer than the
        store's patience, ConfigError where its collections or rights are gone.
        """
        outcomes: dict[int, Outcome] = {}
        ready: list[Work] = []
        for at, (plan, rows) in enumerate(zip(plans, vectors, strict=True)):
            try:
                ready.append(work(at, plan, rows, self._dimension, self._model))
            except UNFIT as error:
                outcomes[at] = rejected(plan.document_id, error)
        for batch in sized(ready, Work.size, _BYTES_A_BATCH):
            outcomes |= self._writer.apply(batch)
        if time.monotonic() >= self._forget_at:
            self._ledger.forget_deleted(int((time.time() - self._remember_deletes_s) * 1000))
            self._forget_at = time.monotonic() + _FORGET_EVERY_S
        return [outcomes[at] for at in range(len(plans))]

    def clear(self, table: str, before: Position) -> int:
        """Delete the table's documents whose last change is older than `before`; see `VectorStore.clear`.

        By the positions that the chunks themselves have. Can be repeated, also after it failed. Marks are kept for
        ever. Raises as `apply` does.
        """
        self._ledger.hold()
        self._ledger.raise_mark(table, before)
        condition = f'array_contains(tables, "{key_of(table)}") and position < {quoted(before)}'
        had = {row["document"] for row in self._server.rows(self._collection, condition, ["document"])}
        if had:
            self._server.delete(self._collection, condition)
        self._ledger.clear(table, before, condition)
        return len(had)

    def read(self, document_ids: Sequence[str]) -> dict[str, Stored]:
        """Those of the documents that have chunks, by id; see `VectorStore.read`. Raises as `apply` does."""
        wanted = {key_of(each): each for each in document_ids if is_id(each)}
        rows: dict[str, list[dict[str, object]]] = {}
        keys = list(wanted)
        for start in range(0, len(keys), _READ_AT_ONCE):
            some = among("document", keys[start : start + _READ_AT_ONCE])
            for row in self._server.rows(self._collection, some, ["document", *WHOLE], page=WIDE_PAGE):
                rows.setdefault(wanted[row["document"]], []).append(row)
        entries = self._ledger.entries(list(rows))
        nowhere = Stood(BEGINNING)
        return {
            each: stored_of(each, of, entries[each].stood if each in entries else nowhere, self._model, self._dimension)
            for each, of in rows.items()
        }

    def positions(self, document_ids: Sequence[str]) -> dict[str, Position]:
        """Where the ledger has the documents; see `VectorStore.positions`."""
        entries = self._ledger.entries([each for each in document_ids if is_id(each)])
        return {each: entry.stood.position for each, entry in entries.items()}

    def stood(self, document_ids: Sequence[str]) -> dict[str, Stood]:
        """Where documents stand whose chunks are all written; see `VectorStore.stood`."""
        entries = self._ledger.entries([each for each in document_ids if is_id(each)], once=True)
        return {each: entry.stood for each, entry in entries.items() if entry.complete}

    def keep(self, progress: Progress) -> None:
        """Keep what a run says of itself; see `VectorStore.keep`."""
        self._ledger.keep(progress_to_text(progress))

    def progress(self) -> Progress | None:
        """What was kept last; see `VectorStore.progress`."""
        said = self._ledger.progress()
        return None if said is None else progress_from_text(said)

    def latest(self, table: str) -> Position:
        """The latest position of a table's documents and mark; see `VectorStore.latest`."""
        return max(self._ledger.latest(table), self._ledger.mark(table))

    def mark(self, table: str) -> Position:
        """Below which a table's documents are refused; see `VectorStore.mark`."""
        return self._ledger.mark(table)

    def drop(self, stood: Mapping[str, Position]) -> frozenset[str]:
        """Take documents out as if they had never been; see `VectorStore.drop`.

        The entry goes first: whoever writes the document then writes it whole.
        """
        dropped: set[str] = set()
        ids = [each for each in stood if is_id(each)]
        for start in range(0, len(ids), _DROPPED_AT_ONCE):
            some = ids[start : start + _DROPPED_AT_ONCE]
            entries = self._ledger.entries(some)
            at = {each: entries[each].stood.position if each in entries else BEGINNING for each in some}
            gone = [each for each in some if at[each] == stood[each]]
            if gone:
                self._ledger.forget(gone)
                self._writer.delete([key_of(each) for each in gone])
            dropped.update(gone)
        return frozenset(dropped)

    def owner(self) -> Owner | None:
        """Whose the store is; None where nobody's yet. Doesn't wait for a server that is away."""
        return self._ledger.owner()

    def claim(self, say: Callable[[str], None] = nobody_hears) -> None:
        """Make the store its owner's; see `VectorStore.claim`. Raises as `apply` does."""
        self._ledger.claim()

    def bereft(self) -> int:
        """How many documents have lost all chunks; see `VectorStore.bereft`."""
        if not self.look():
            return 0
        return 0 if self._server.count(self._collection, "") else self._ledger.living()

    def models(self) -> dict[str, int]:
        """How many chunks there are of each model: reads that of each. Doesn't wait for a server that is away."""
        found = Counter(row["model"] for row in self._server.rows(self._collection, "", ["model"], once=True))
        return dict(found.most_common())

    def unindexed(self) -> int:
        """None: no earlier release wrote here."""
        return 0

    def document_ids(self) -> Iterator[str]:
        """The id of every document that has chunks, by hashes of them, so that memory is bounded. Raises as `apply`."""
        parts = min(16**4, max(1, ceil(self._server.count(self._collection, "") / _IN_MEMORY)))
        ends = [f"{at * 16**4 // parts:04x}" for at in range(1, parts)]
        for low, high in zip(["", *ends], [*ends, "g"], strict=True):
            condition = f'document >= "{low}" and document < "{high}"' if parts > 1 else ""
            rows = self._server.rows(self._collection, condition, ["document_id"])
            yield from {row["document_id"] for row in rows}

    def search(self, vector: NDArray[np.float32], k: int, where: Filter = EVERYTHING) -> list[Hit]:
        """The `k` nearest chunks of this store's model whose metadata passes `where`, nearest first.

        Equal distances are ordered by document, ordinal and chunk id. The index answers; where it gives fewer than k,
        every chunk that passes is compared: k come back wherever k exist. `vector` has shape (dimension,), `k` is
        10,000 at most. Doesn't wait for a server that is away; raises as `prepare` does.
        """
        return self._searcher.search(vector, k, where)

    def match(
        self, text: str, k: int, where: Filter = EVERYTHING, vector: NDArray[np.float32] | None = None
    ) -> list[Hit]:
        """The `k` best chunks by the words of `text`; see `VectorStore.match`. Raises as `search` does."""
        return self._searcher.match(text, k, where, vector)

    def close(self) -> None:
        """Give the connection back."""
        self._server.close()
