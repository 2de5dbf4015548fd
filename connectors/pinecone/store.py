"""Pinecone as a vector store: a record a chunk, and a ledger of the source's documents in a namespace beside.

What it can promise, and what not, is said in `connectors.pinecone.writing`; what is read after a write, in
`connectors.pinecone.namespace`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from connectors.pinecone.client import SETTING, Service
from connectors.pinecone.indexes import Index
from connectors.pinecone.ledger import Ledger
from connectors.pinecone.namespace import Condition, Namespace, Record, chunk_of, document_of
from connectors.pinecone.rows import Work, is_id, of_table, stored_of, work
from connectors.pinecone.searching import Searcher
from connectors.pinecone.writing import Writer
from core.change import BEGINNING, Position
from core.config.pinecone import Pinecone
from core.errors import ConfigError, brief
from core.plans import Outcome, Plan, rejected
from core.shards.progress import Progress, progress_from_text, progress_to_text
from core.stores.batches import sized
from core.stores.contract import Hit, Stood, Stored, Vectors, nobody_hears
from core.stores.filters.language import EVERYTHING, Filter
from core.stores.fingerprint import Owner
from core.stores.fitting import UNFIT
from core.stores.ledger import key_of

_BYTES_A_BATCH = 32 * 2**20
_READ_AT_ONCE = 500
_DROPPED_AT_ONCE = 500
_WEEK_S = 7 * 86_400.0
_FORGET_EVERY_S = 3600.0


class PineconeStore:
    """A `VectorStore` in one namespace of an index of Pinecone's, with its ledger in `<namespace>_ledger`.

    One store is not for several threads.
    """

    def __init__(
        self,
        target: Pinecone,
        dimension: int,
        model: str,
        patience_s: float = 30.0,
        remember_deletes_s: float = _WEEK_S,
        owner: Owner | None = None,
    ) -> None:
        """`patience_s`: how long to wait for a service that is away; `remember_deletes_s`: how long the position of a
        deleted document is kept, so that an older change of it is known to be late. With an `owner` the store is
        written to only while it is that run's; None: whoever's it is. Connects to nothing.
        """
        self._service = Service(target, patience_s)
        self._index = Index(self._service, target, dimension)
        self._namespace = target.namespace
        self._chunks = Namespace(self._service, target.namespace, dimension)
        of_ledger = Namespace(self._service, target.ledger, dimension)
        self._ledger = Ledger(of_ledger, target.place(""), dimension, owner)
        self._writer = Writer(self._chunks, self._ledger)
        self._searcher = Searcher(self._chunks, dimension, model)
        self._dimension = dimension
        self._model = model
        self._remember_deletes_s = remember_deletes_s
        self._forget_at = time.monotonic()

    def prepare(self) -> None:
        """Make the index where it is missing; namespaces come with what is written. Can be repeated.

        Doesn't wait for a service that is away. Raises Unavailable where it doesn't answer, ConfigError where the index
        has another dimension or metric, is made of pods, or the namespace has records of someone else's.
        """
        self._index.prepare()
        self._check()

    def look(self) -> bool:
        """Whether the index is there; see `VectorStore.look`. Doesn't wait either."""
        if not self._index.is_there():
            return False
        self._check()
        return True

    def _check(self) -> None:
        for other in self._chunks.query({"document_id": {"$exists": False}}, 1, fresh=False):
            raise ConfigError(
                [
                    f"{SETTING}.namespace: {self._namespace} of {self._service.name} has records that are none of "
                    f"Freshet's, as {brief(other.id)}: name another namespace"
                ]
            )

    def held(self, plans: Sequence[Plan]) -> frozenset[str]:
        """The ids of chunks in `write` that need no vector; see `VectorStore.held`.

        Chunks that no record can hold count as missing, so that `apply` rejects their plan. Raises as `apply` does.
        """
        fit = [plan for plan in plans if plan.write and is_id(plan.document_id)]
        if not fit:
            return frozenset()
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
        """Bring each plan's document to its state, and wait until queries show it; see `VectorStore.apply`.

        A request has 1,000 records and 1.9 MB at most. Raises Unavailable where the index is away for longer than the
        store's patience, or behind for longer than a minute, ConfigError where it or the key's rights are gone.
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
        if plans and time.monotonic() >= self._forget_at:
            self._ledger.forget_deleted(int((time.time() - self._remember_deletes_s) * 1000))
            self._forget_at = time.monotonic() + _FORGET_EVERY_S
        return [outcomes[at] for at in range(len(plans))]

    def clear(self, table: str, before: Position) -> int:
        """Delete the table's documents whose last change is older than `before`; see `VectorStore.clear`.

        By the positions that the chunks themselves have, until none is found. Can be repeated, also after it failed.
        Marks are kept for ever. Raises as `apply` does.
        """
        self._ledger.hold()
        self._ledger.raise_mark(table, before)
        # who didn't see the mark had written its chunks before
        self._begin()
        had: set[str] = set()
        while found := [each.id for some in self._chunks.ids(of_table(table, before)) for each in some]:
            had.update(map(document_of, found))
            self._chunks.delete(found)
        self._ledger.clear(table, before)
        return len(had)

    def read(self, document_ids: Sequence[str]) -> dict[str, Stored]:
        """Those of the documents that have chunks, by id; see `VectorStore.read`. Raises as `apply` does."""
        wanted = {key_of(each): each for each in document_ids if is_id(each)}
        keys, found = list(wanted), dict[str, list[Record]]()
        for start in range(0, len(keys), _READ_AT_ONCE):
            there = self._writer.chunk_ids(keys[start : start + _READ_AT_ONCE])
            ids = [each for some in there.values() for each in some]
            for each in self._chunks.having("chunk", ids, vectors=True):
                if chunk_of(each.id) in there.get(document_of(each.id), ()):
                    found.setdefault(wanted[document_of(each.id)], []).append(each)
        entries = self._ledger.entries(list(found))
        nowhere = Stood(BEGINNING)
        return {
            each: stored_of(each, of, entries[each].stood if each in entries else nowhere, self._model, self._dimension)
            for each, of in found.items()
        }

    def positions(self, document_ids: Sequence[str]) -> dict[str, Position]:
        """Where the ledger has the documents; see `VectorStore.positions`."""
        entries = self._ledger.entries([each for each in document_ids if is_id(each)])
        return {each: entry.stood.position for each, entry in entries.items()}

    def stood(self, document_ids: Sequence[str]) -> dict[str, Stood]:
        """Where documents stand whose chunks are all written; see `VectorStore.stood`."""
        entries = self._ledger.entries([each for each in document_ids if is_id(each)], fresh=False)
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
        self._begin()
        return max(self._ledger.latest(table), self._ledger.mark(table))

    def _begin(self) -> None:
        """Read what others have written by now, too."""
        self._chunks.begin()
        self._ledger.begin()

    def mark(self, table: str) -> Position:
        """Below which a table's documents are refused; see `VectorStore.mark`."""
        return self._ledger.mark(table)

    def drop(self, stood: Mapping[str, Position]) -> frozenset[str]:
        """Take documents out as if they had never been; see `VectorStore.drop`.

        The entry goes first: whoever writes the document then writes it whole.
        """
        self._begin()
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
        """Whose the store is; None where nobody's yet. Doesn't wait for a service that is away."""
        return self._ledger.owner()

    def claim(self, say: Callable[[str], None] = nobody_hears) -> None:
        """Make the store its owner's; see `VectorStore.claim`. Raises as `apply` does."""
        self._ledger.claim()

    def bereft(self) -> int:
        """How many documents have lost all chunks; see `VectorStore.bereft`."""
        if not self._index.is_there() or self._chunks.query({}, 1, fresh=False):
            return 0
        return self._ledger.living()

    def models(self) -> dict[str, int]:
        """How many chunks there are of each model. Doesn't wait for a service that is away."""
        found: dict[str, int] = {}
        asked: Condition = {}
        while some := self._chunks.query(asked, 1, metadata=True, fresh=False):
            model = str(some[0].metadata["model"])
            found[model] = sum(len(each) for each in self._chunks.ids({"model": {"$eq": model}}, fresh=False))
            asked = {"model": {"$nin": list(found)}}
        return dict(sorted(found.items(), key=lambda each: -each[1]))

    def unindexed(self) -> int:
        """None: no earlier release wrote here."""
        return 0

    def document_ids(self) -> Iterator[str]:
        """The id of every document that has chunks, by ranges of their hashes, so that memory is bounded."""
        for some in self._chunks.ids({}):
            keys = list(dict.fromkeys(document_of(each.id) for each in some))
            names = self._ledger.names(keys)
            yield from names.values()
            # what the ledger doesn't know says itself who it is
            for key in keys:
                if key not in names:
                    found = self._chunks.query({"document": {"$eq": key}}, 1, metadata=True)
                    yield from (str(each.metadata["document_id"]) for each in found)

    def search(self, vector: NDArray[np.float32], k: int, where: Filter = EVERYTHING) -> list[Hit]:
        """The `k` nearest chunks of this store's model whose metadata passes `where`, nearest first.

        Equal ones are ordered by document, ordinal and chunk id. The index answers, and what comes is looked through;
        where that leaves fewer than k, more is asked for: k come back wherever k exist. `vector` has shape
        (dimension,), `k` is 10,000 at most. Doesn't wait for a service that is away; raises as `prepare` does.
        """
        return self._searcher.search(vector, k, where)

    def match(
        self, text: str, k: int, where: Filter = EVERYTHING, vector: NDArray[np.float32] | None = None
    ) -> list[Hit]:
        """Raises ConfigError: an index of dense vectors has no words."""
        raise ConfigError([_WORDLESS])

    def close(self) -> None:
        """Give connections back."""
        self._service.close()


_WORDLESS = f"{SETTING}: an index of dense vectors finds nothing by words: search by vector, or in another store"
