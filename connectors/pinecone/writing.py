"""How documents change in Pinecone, which has neither transactions nor conditional writes, and shows writes later.

A plan is written so:

1. What the ledger knows of the documents, the marks of their tables and whose the store is are read, as they are after
   all that was written there. A plan below either is stale.
2. The chunks that are there are listed, and those that a plan keeps are read, with their vectors. A plan that keeps
   others is rejected.
3. The ledger's entry moves on to the plan, not complete yet.
4. All chunks of the document are written: each record says of which change it is. Then what is there besides is
   deleted. An index follows a namespace's writes in their order: so whoever searches meanwhile finds new chunks beside
   old ones, and no gap.
5. When queries show that, the entry is complete. Marks and owner are read again: a table may have been cleared since 1,
   whose mark was raised, for all to see, before it deleted what is below. So one of the two sees the other.

Between 1 and 3 another writer may do the same. A document has one subtask, but for what is settled of a changed key,
which comes by its table's: there two may write at once, and the earlier change may win. A run that was taken over
notices with its next batch. What a crash leaves half done is completed when the change comes again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from connectors.pinecone.client import Refused
from connectors.pinecone.ledger import Ledger
from connectors.pinecone.namespace import Namespace, Record, chunk_of, document_of, record_id
from connectors.pinecone.rows import Work
from core.errors import StoreRejected
from core.plans import Outcome, Status, rejected
from core.stores.batches import halving
from core.stores.fitting import lacking

_AT_ONCE = 500


class Writer:
    """Writes to one namespace and its ledger."""

    def __init__(self, chunks: Namespace, ledger: Ledger) -> None:
        self._chunks = chunks
        self._ledger = ledger

    def apply(self, batch: Sequence[Work]) -> dict[int, Outcome]:
        """Bring each document of the batch to its state; outcomes by the works' `at`."""
        outcomes = halving(batch, self._apply, _refused, (Refused,))
        return {each.at: outcome for each, outcome in zip(batch, outcomes, strict=True)}

    def _apply(self, batch: Sequence[Work]) -> list[Outcome]:
        known = self._ledger.known([each.plan.document_id for each in batch])
        outcomes = {each.at: _outcome(each, Status.STALE) for each in batch if known.is_late(each.plan)}
        current = [each for each in batch if each.at not in outcomes]
        there = self.chunk_ids([each.key for each in current])
        kept = self._kept(current)
        ready: dict[int, list[bytes]] = {}
        for each in current:
            try:
                if missing := sum(chunk_id not in kept for chunk_id in each.plan.kept):
                    raise lacking(each.plan, missing)
                ready[each.at] = list(each.records(kept))
            except StoreRejected as error:
                outcomes[each.at] = rejected(each.plan.document_id, error)
        sound = [each for each in current if each.at in ready]
        if sound:
            self._ledger.write([each.plan for each in sound], complete=False)
            self._write(sound, ready, there)
            self._ledger.write([each.plan for each in sound], complete=True)
            late = self._take_back(sound)
            outcomes |= {each.at: _outcome(each, Status.STALE if each in late else Status.APPLIED) for each in sound}
        return [outcomes[each.at] for each in batch]

    def chunk_ids(self, keys: Sequence[str]) -> dict[str, set[str]]:
        """The ids of the chunks that are there, by the documents' keys."""
        found: dict[str, set[str]] = {}
        for some in self._of(keys):
            for each in some:
                found.setdefault(document_of(each.id), set()).add(chunk_of(each.id))
        return found

    def _of(self, keys: Sequence[str]) -> Iterator[list[Record]]:
        for start in range(0, len(keys), _AT_ONCE):
            yield from self._chunks.ids({"document": {"$in": list(keys[start : start + _AT_ONCE])}})

    def _kept(self, works: Sequence[Work]) -> dict[str, Record]:
        """The chunks that works keep, of those that are there, by their ids."""
        wanted = {record_id(work.key, each): each for work in works for each in work.plan.kept}
        found = self._chunks.having("chunk", list(wanted.values()), vectors=True)
        return {wanted[each.id]: each for each in found if each.id in wanted}

    def _write(self, works: Sequence[Work], ready: Mapping[int, list[bytes]], there: Mapping[str, set[str]]) -> None:
        self._chunks.write(each for work in works for each in ready[work.at])
        left = [
            record_id(work.key, each) for work in works for each in there.get(work.key, set()) - {*work.plan.chunk_ids}
        ]
        self._chunks.delete(left)
        self._chunks.settle()

    def _take_back(self, works: Sequence[Work]) -> list[Work]:
        """Those of the works below a mark that was raised meanwhile: what was written of them is deleted."""
        known = self._ledger.known([each.plan.document_id for each in works])
        late = [each for each in works if known.is_below_mark(each.plan)]
        if late:
            self.delete([each.key for each in late])
            self._ledger.forget([each.plan.document_id for each in late])
        return late

    def delete(self, keys: Sequence[str]) -> None:
        """Delete all chunks of documents."""
        for some in self._of(keys):
            self._chunks.delete([each.id for each in some])
        self._chunks.settle()


def _outcome(work: Work, status: Status) -> Outcome:
    return Outcome(work.plan.document_id, status)


def _refused(work: Work, error: Exception) -> Outcome:
    why = error.why if isinstance(error, Refused) else str(error)
    return rejected(work.plan.document_id, StoreRejected(f"Pinecone refuses it: {why}"))
