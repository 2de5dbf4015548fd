"""How documents change in Milvus, which has neither transactions nor conditional writes.

A plan is written so:

1. What the ledger knows of the documents, the marks of their tables and whose the store is are read, strongly
   consistent. A plan below either is stale.
2. The chunks that are there are listed. A plan that keeps others is rejected.
3. The ledger's entry moves on to the plan, not complete yet.
4. All chunks of the document are written, the kept ones with the vectors that they have: each row says of which change
   it is. What is there besides is deleted: so whoever searches meanwhile finds new chunks beside old ones, and no gap.
5. The entry is complete. Marks and owner are read again: a table may have been cleared since 1, whose mark was raised
   before it deleted what is below. So one of the two sees the other.

Between 1 and 3 another writer may do the same. A document has one subtask, but for what is settled of a changed key,
which comes by its table's: there two may write at once, and the earlier change may win. A run that was taken over
notices with its next batch. What a crash leaves half done is completed when the change comes again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.milvus.client import Refused, Server, among
from connectors.milvus.ledger import Ledger
from connectors.milvus.rows import KEPT, Work, row_size
from core.errors import StoreRejected
from core.plans import Outcome, Status, rejected
from core.stores.batches import halving
from core.stores.fitting import lacking

_AT_ONCE = 200


class Writer:
    """Writes to one collection and its ledger."""

    def __init__(self, server: Server, collection: str, ledger: Ledger) -> None:
        self._server = server
        self._collection = collection
        self._ledger = ledger

    def apply(self, batch: Sequence[Work]) -> dict[int, Outcome]:
        """Bring each document of the batch to its state; outcomes by the works' `at`."""
        outcomes = halving(batch, self._apply, _refused, (Refused,))
        return {each.at: outcome for each, outcome in zip(batch, outcomes, strict=True)}

    def _apply(self, batch: Sequence[Work]) -> list[Outcome]:
        known = self._ledger.known([each.plan.document_id for each in batch])
        outcomes = {each.at: _outcome(each, Status.STALE) for each in batch if known.is_late(each.plan)}
        there = self.chunk_ids([each.key for each in batch if each.at not in outcomes])
        for each in batch:
            missing = len(set(each.plan.kept) - there.get(each.key, set()))
            if each.at not in outcomes and missing:
                outcomes[each.at] = rejected(each.plan.document_id, lacking(each.plan, missing))
        sound = [each for each in batch if each.at not in outcomes]
        if sound:
            self._ledger.write([each.plan for each in sound], complete=False)
            self._write(sound, there)
            self._ledger.write([each.plan for each in sound], complete=True)
            late = self._take_back(sound)
            outcomes |= {each.at: _outcome(each, Status.STALE if each in late else Status.APPLIED) for each in sound}
        return [outcomes[each.at] for each in batch]

    def chunk_ids(self, keys: Sequence[str]) -> dict[str, set[str]]:
        """The ids of the chunks that are there, by document."""
        found: dict[str, set[str]] = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = among("document", keys[start : start + _AT_ONCE])
            for row in self._server.rows(self._collection, some, ["document"]):
                found.setdefault(row["document"], set()).add(row["id"])
        return found

    def _write(self, works: Sequence[Work], there: Mapping[str, set[str]]) -> None:
        kept = self._server.by_ids(self._collection, [each for work in works for each in work.plan.kept], KEPT)
        rows = (row for work in works for row in _whole(work, kept))
        self._server.write(self._collection, rows, row_size)
        left = [each for work in works for each in there.get(work.key, set()) - set(work.plan.chunk_ids)]
        for start in range(0, len(left), _AT_ONCE):
            self._server.delete(self._collection, among("id", left[start : start + _AT_ONCE]))

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
        for start in range(0, len(keys), _AT_ONCE):
            self._server.delete(self._collection, among("document", keys[start : start + _AT_ONCE]))


def _whole(work: Work, kept: Mapping[str, Mapping[str, Any]]) -> Sequence[dict[str, Any]]:
    try:
        return list(work.rows(kept))
    except KeyError as error:
        # cleared since it was listed: the job goes back, and asks again
        raise Refused(f"chunk {error} is gone") from error


def _outcome(work: Work, status: Status) -> Outcome:
    return Outcome(work.plan.document_id, status)


def _refused(work: Work, error: Exception) -> Outcome:
    return rejected(work.plan.document_id, StoreRejected(f"Milvus refuses it: {error}"))
