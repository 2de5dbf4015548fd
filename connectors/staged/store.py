"""A log as a vector store: a record a document, for other systems to follow and for stores to be filled.

Who writes keeps in memory what the log has: each document's position, its chunks' ids, and where its record is. It
reads the log from its beginning when it begins, and up to its end before each batch. So a change that is late is stale,
as in every store; what two writers append in the wrong order is appended again by who notices. A log that lets records
go after a time says of which places; those documents are known, and not there any more.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from connectors.staged.contents import Contents
from connectors.staged.ledger import OWNER, PROGRESS, SHAPE, shape, table_key
from connectors.staged.log import Log
from core.change import BEGINNING, Position
from core.config.staging import Precision
from core.errors import ConfigError, StoreRejected
from core.plans import Chunk, Outcome, Plan, Status, rejected
from core.shards.progress import Progress, progress_from_text, progress_to_text
from core.stores.contract import Hit, Stood, Stored, Vectors, nobody_hears
from core.stores.filters.language import EVERYTHING, Filter
from core.stores.fingerprint import Owner
from core.stores.fitting import UNFIT, fit, lacking
from core.stores.ledger import claim
from core.stores.scanning import best, matching
from core.stores.staged import Known, Maker, Staged, maker, records

_LONGEST_ID = 32_766
_LET_GO = "this change keeps {} chunks whose records the log has let go, by its retention: replay the document"


class StagedStore:
    """A `VectorStore` in a log. One store is not for several threads."""

    def __init__(
        self,
        log: Log,
        dimension: int,
        model: str,
        owner: Owner | None = None,
        pipeline: str = "",
        precision: Precision = "float32",
    ) -> None:
        """With an `owner` the store is written to only while it is that run's; None: whoever's it is. Connects to
        nothing.
        """
        self._log, self._once, self._patiently = log, log.once, log.patiently
        self._by: Maker = maker(owner.pipeline if owner else pipeline, model, dimension, precision, owner)
        self._owner = owner
        self._contents = Contents(log, self._by)
        self._resting_until_s = 0.0

    def prepare(self) -> None:
        """Make the log where it is missing. Can be repeated. Doesn't wait for a server that is away.

        Raises Unavailable where it doesn't answer, ConfigError where the log doesn't fit, or has vectors of another
        dimension.
        """
        self._once(self._prepare)

    def _prepare(self) -> None:
        self._log.make()
        self._contents.catch_up()
        if self._contents.said.dimension is None:
            self._contents.tell(SHAPE, shape(self._by.dimension))
            self._contents.catch_up()
        self._check_shape()

    def look(self) -> bool:
        """Whether the log is there; see `VectorStore.look`. Doesn't wait either."""
        return self._once(self._look)

    def _look(self) -> bool:
        if not self._log.look():
            return False
        self._contents.catch_up()
        self._check_shape()
        return True

    def _check_shape(self) -> None:
        there = self._contents.said.dimension
        if there is not None and there != self._by.dimension:
            raise ConfigError(
                [
                    f"{self._log.place} has vector({there}), the model has vector({self._by.dimension}): name another "
                    "one, or choose the model that made it"
                ]
            )

    def held(self, plans: Sequence[Plan]) -> frozenset[str]:
        """The ids of chunks in `write` that need no vector; see `VectorStore.held`. Raises as `apply` does."""
        self._patiently(self._contents.catch_up)
        found: set[str] = set()
        readable = self._log.readable_at_once
        for plan in plans:
            known = self._contents.index.known.get(plan.document_id)
            if known is None:
                continue
            ids = {chunk.chunk_id for chunk in plan.write}
            if known.position > plan.position:
                found |= ids
            elif (kept := ids & set(known.chunk_ids)) and self._contents.is_kept(known):
                # their vectors are read again: where that takes longer than to make them anew they are made
                readable -= len(known.places)
                found |= kept if readable >= 0 else set()
        return frozenset(found)

    def apply(self, plans: Sequence[Plan], vectors: Sequence[Vectors]) -> list[Outcome]:
        """Bring each plan's document to its state; see `VectorStore.apply`.

        Each is written whole, the chunks that it keeps with the vectors that their last record has. Raises Unavailable
        where the server is away for longer than the store's patience, ConfigError where the log or rights are gone.
        """
        self._hold()
        outcomes: dict[int, Outcome] = {}
        ready: dict[int, tuple[Plan, Vectors, str]] = {}
        for at, (plan, rows) in enumerate(zip(plans, vectors, strict=True)):
            try:
                fitting = fit(plan, rows, self._by.dimension)
                if len(plan.document_id.encode()) > _LONGEST_ID:
                    raise ValueError(f"the document's id has more than {_LONGEST_ID:,} bytes")
                ready[at] = (plan, fitting.vectors, fitting.encoded)
            except UNFIT as error:
                outcomes[at] = rejected(plan.document_id, error)
        outcomes |= self._patiently(lambda: self._write(ready))
        return [outcomes[at] for at in range(len(plans))]

    def _write(self, ready: Mapping[int, tuple[Plan, Vectors, str]]) -> dict[int, Outcome]:
        outcomes: dict[int, Outcome] = {}
        for at, (plan, rows, metadata) in ready.items():
            known = self._contents.index.known.get(plan.document_id)
            if (known is not None and known.position > plan.position) or self._contents.said.is_below(plan):
                outcomes[at] = Outcome(plan.document_id, Status.STALE)
                continue
            outcomes[at] = self._send(plan, rows, metadata, known)
        self._log.flush()
        self._contents.catch_up()
        self._contents.mend()
        for at, (plan, *_) in ready.items():
            if outcomes[at].status is Status.APPLIED and self._contents.said.is_below(plan):
                self._contents.delete(plan.document_id, Stood(plan.position, plan.committed_ms))
                outcomes[at] = Outcome(plan.document_id, Status.STALE)
        self._log.flush()
        self._contents.catch_up()
        return outcomes

    def _send(self, plan: Plan, rows: Vectors, metadata: str, known: Known | None) -> Outcome:
        if not plan.chunk_ids:
            self._contents.delete(plan.document_id, Stood(plan.position, plan.committed_ms))
            return Outcome(plan.document_id, Status.APPLIED)
        written = {chunk.chunk_id: (chunk.text, row) for chunk, row in zip(plan.write, rows, strict=True)}
        if kept := plan.kept:
            there = set(() if known is None else known.chunk_ids)
            if missing := len(set(kept) - there):
                return rejected(plan.document_id, lacking(plan, missing))
            before = self._contents.documents({plan.document_id: known} if known else {}).get(plan.document_id)
            if before is None:
                return rejected(plan.document_id, StoreRejected(_LET_GO.format(len(kept))))
            of = zip(before.chunks, before.vectors, strict=True)
            written |= {chunk.chunk_id: (chunk.text, row) for chunk, row in of if chunk.chunk_id not in written}
        ids = list(dict.fromkeys(plan.chunk_ids))
        staged = Staged(
            plan.document_id,
            plan.position,
            plan.committed_ms,
            self._by.model,
            tuple(Chunk(each, ordinal, written[each][0]) for ordinal, each in enumerate(ids)),
            np.array([written[each][1] for each in ids], np.float32),
            metadata,
            plan.numbers,
        )
        try:
            made = records(staged, self._by, self._log.largest_record)
        except UNFIT as error:
            return rejected(plan.document_id, error)
        self._contents.append_records(staged.document_id, made)
        return Outcome(plan.document_id, Status.APPLIED)

    def clear(self, table: str, before: Position) -> int:
        """Delete the table's documents whose last change is older than `before`; see `VectorStore.clear`."""
        self._hold()
        return self._patiently(lambda: self._clear(table, before))

    def _clear(self, table: str, before: Position) -> int:
        self._contents.catch_up()
        if self._contents.said.mark(table) < before:
            self._contents.tell(table_key(table), before)
            self._contents.catch_up()
        older = [(each, known) for each, known in self._contents.index.of_table(table) if known.position < before]
        for document_id, known in older:
            self._contents.delete(document_id, Stood(known.position, known.committed_ms))
        self._log.flush()
        self._contents.catch_up()
        self._contents.mend()
        self._log.flush()
        return sum(bool(known.places) for _, known in older)

    def read(self, document_ids: Sequence[str]) -> dict[str, Stored]:
        """Those of the documents that have chunks, by id; see `VectorStore.read`. Raises as `apply` does."""
        self._patiently(self._contents.catch_up)
        wanted = {each: self._contents.index.known.get(each) for each in document_ids}
        there = {each: known for each, known in wanted.items() if known is not None and self._contents.is_kept(known)}
        found = self._patiently(lambda: self._contents.documents(there))
        return {each: self._stored(staged) for each, staged in found.items()}

    def _stored(self, staged: Staged) -> Stored:
        own = staged.model == self._by.model
        return Stored(
            staged.document_id,
            staged.position,
            staged.chunks if own else (),
            json.loads(staged.metadata),
            staged.vectors if own else np.zeros((0, self._by.dimension), np.float32),
            {} if own else {staged.model: len(staged.chunks)},
            staged.committed_ms,
        )

    def positions(self, document_ids: Sequence[str]) -> dict[str, Position]:
        """Where the log has the documents; see `VectorStore.positions`."""
        self._patiently(self._contents.catch_up)
        known = {each: self._contents.index.known.get(each) for each in document_ids}
        return {each: of.position for each, of in known.items() if of is not None}

    def stood(self, document_ids: Sequence[str]) -> dict[str, Stood]:
        """Where documents stand; see `VectorStore.stood`. A record is there as a whole."""
        self._once(self._contents.catch_up)
        known = {each: self._contents.index.known.get(each) for each in document_ids}
        return {each: Stood(of.position, of.committed_ms) for each, of in known.items() if of is not None}

    def keep(self, progress: Progress) -> None:
        """Keep what a run says of itself; see `VectorStore.keep`. Not where the log is to rest: it is said again."""
        if time.monotonic() < self._resting_until_s:
            return
        self._hold()
        self._once(lambda: self._contents.tell(PROGRESS, progress_to_text(progress)))
        self._resting_until_s = time.monotonic() + self._log.rest_s

    def progress(self) -> Progress | None:
        """What was kept last; see `VectorStore.progress`."""
        self._once(self._contents.catch_up)
        return None if self._contents.said.progress is None else progress_from_text(self._contents.said.progress)

    def latest(self, table: str) -> Position:
        """The latest position of a table's documents and mark; see `VectorStore.latest`."""
        self._patiently(self._contents.catch_up)
        stand = [known.position for _, known in self._contents.index.of_table(table)]
        return max([*stand, self._contents.said.mark(table)], default=BEGINNING)

    def mark(self, table: str) -> Position:
        """Below which a table's documents are refused; see `VectorStore.mark`."""
        self._patiently(self._contents.catch_up)
        return self._contents.said.mark(table)

    def drop(self, stood: Mapping[str, Position]) -> frozenset[str]:
        """Take documents out as if they had never been; see `VectorStore.drop`."""
        self._patiently(self._contents.catch_up)
        known = {each: self._contents.index.known.get(each) for each in stood}
        gone = [each for each, of in known.items() if of is not None and of.position == stood[each]]

        def drop() -> None:
            for each in gone:
                self._contents.delete(each, None)
            self._log.flush()
            self._contents.catch_up()

        self._patiently(drop)
        return frozenset(gone)

    def _hold(self) -> None:
        self._patiently(self._contents.catch_up)
        if self._owner is not None and self._contents.said.owner != self._owner:
            self.claim()
        self._patiently(self._contents.renew)

    def owner(self) -> Owner | None:
        """Whose the store is; None where nobody's yet. Doesn't wait for a server that is away."""
        self._once(self._contents.catch_up)
        return self._contents.said.owner

    def claim(self, say: Callable[[str], None] = nobody_hears) -> None:
        """Make the store its owner's; see `VectorStore.claim`. Raises as `apply` does."""
        if self._owner is not None:
            claim(
                self._owner,
                self._log.place,
                self.owner,
                lambda text: self._patiently(lambda: self._contents.tell(OWNER, text)),
            )

    def bereft(self) -> int:
        """0: what the ledger would say of documents, their records say themselves."""
        return 0

    def models(self) -> dict[str, int]:
        """How many chunks there are of each model. Doesn't wait for a server that is away."""
        self._once(self._contents.catch_up)
        found: dict[str, int] = {}
        for known in self._contents.living().values():
            found[known.model] = found.get(known.model, 0) + len(known.chunk_ids)
        return dict(sorted(found.items(), key=lambda each: -each[1]))

    def unindexed(self) -> int:
        """None: filters look into the metadata itself."""
        return 0

    def document_ids(self) -> Iterator[str]:
        """The id of every document that has chunks."""
        self._patiently(self._contents.catch_up)
        yield from list(self._contents.living())

    def search(self, vector: NDArray[np.float32], k: int, where: Filter = EVERYTHING) -> list[Hit]:
        """The `k` nearest chunks: every record is read and compared, as no log has an index of vectors."""
        if vector.shape != (self._by.dimension,):
            raise ValueError(f"a query vector of shape {vector.shape} for a store of {self._by.dimension} dimensions")
        return best(self.documents(), vector, k, where, self._by.model)

    def match(
        self, text: str, k: int, where: Filter = EVERYTHING, vector: NDArray[np.float32] | None = None
    ) -> list[Hit]:
        """The `k` best chunks by the words of `text`; every record is read, as in `search`."""
        return matching(self.documents(), text, k, where, self._by.model, vector)

    def documents(self) -> Iterator[Staged]:
        """Every document, read in one pass over the log; memory is bounded. Doesn't wait for a server away."""
        self._once(self._contents.catch_up)
        return self._contents.everything()

    def changed(self) -> frozenset[str]:
        """The ids of documents that changed, or were deleted, since this was asked last; at first of all."""
        self._patiently(self._contents.catch_up)
        changed, self._contents.changed = frozenset(self._contents.changed), set()
        return changed

    def staged(self, document_ids: Iterable[str]) -> Iterator[Staged]:
        """Those of the documents that have chunks."""
        known = self._contents.living()
        there = {each: known[each] for each in document_ids if each in known}
        yield from self._patiently(lambda: self._contents.documents(there)).values()

    def deleted(self) -> dict[str, Position]:
        """The documents of which the log says that they were deleted, and where."""
        self._patiently(self._contents.catch_up)
        return {each: known.position for each, known in self._contents.index.known.items() if not known.places}

    def marks(self) -> dict[str, Position]:
        """The marks of tables that were cleared."""
        self._patiently(self._contents.catch_up)
        return dict(self._contents.said.marks)

    def close(self) -> None:
        """Give connections back."""
        self._log.close()
        self._contents.begin()
