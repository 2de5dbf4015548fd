"""How documents change in OpenSearch as one whole, though it has no transactions.

The ledger, index `<index>-ledger`, has one entry a document: its last `position`, a `generation` that only grows, the
`chunk_ids` it should have, the `leftover` ones that may be there besides, and whether all that is `complete`. Entries
change by scripts, which OpenSearch runs one after the other for each entry. A plan is written so:

1. The entry moves on to the plan (unless it stands later: stale), under a new generation. What it had becomes leftover.
   Where the plan keeps chunks, the script sees to it that the entry has them and that they were written.
2. The marks of the document's table are read. A plan below one is taken back, and is stale.
3. Chunks are written, moved and deleted, with the generation as their version: what a later one wrote stays.
4. The index is refreshed, and the entry is complete, if the generation is still its own.

Two writers of one document have two generations. What the later one wants, it wrote with its own version, or the
earlier one wanted too: so in whatever order their requests arrive, the later one's set stands. A deleted chunk refuses
late writes for an hour only (`gc_deletes`), and not across a restart: so a writer that finds itself passed in step 4
deletes what it wrote and the entry doesn't want. After a crash the entry names all that may be there, and the plan
comes again: an equal position is applied again as a whole, and a kept chunk counts once it was looked up.
To clear a table, its mark is raised first and the ledger read then; a writer moves its entry first and reads the mark
then: so one of the two sees the other. A writer that dies between leaves an entry below the mark with its chunks; its
plan comes again, and is taken back.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.opensearch import bodies
from connectors.opensearch.client import Cluster, item_reason
from connectors.opensearch.owner import Tenure
from connectors.opensearch.plans import Entry, Work, entry_of, parts
from core.change import BEGINNING, Position
from core.errors import StoreRejected
from core.plans import Outcome, Status, rejected, tables_of
from core.stores.fitting import lacking

_LISTED_AT_ONCE = 500
_MOVED_AT_ONCE = 200
_MOVED_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class _Claim:
    """A document that is ours to bring to its state, with `generation` as its chunks' version.

    `leftover` chunks are to be deleted; `moved` ones are kept, and may need another ordinal or other metadata.
    """

    document_id: str
    generation: int
    chunk_ids: tuple[str, ...]
    leftover: tuple[str, ...]
    moved: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Written:
    """How operations on a document's chunks ended: how many had a later version, and why one was refused."""

    passed: int = 0
    refused: str = ""


class Writer:
    """Writes to one index and its ledger."""

    def __init__(self, cluster: Cluster, index: str, tenure: Tenure) -> None:
        self._cluster = cluster
        self._tenure = tenure
        self._index = index
        self._ledger = f"{index}-ledger"

    def entries(self, document_ids: Sequence[str]) -> list[Entry]:
        """What the ledger says of each document now."""
        wanted = [{"_index": self._ledger, "_id": bodies.entry_id(each)} for each in document_ids]
        return [entry_of(each) for each in self._cluster.get(wanted)]

    def there(self, chunks: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of the chunks, each a document's id and its own, that are in the index now."""
        wanted = [{**self._place(*each), "_source": False} for each in chunks]
        found = self._cluster.get(wanted, at_once=2000)
        return {chunk for chunk, each in zip(chunks, found, strict=True) if each["found"]}

    def apply(self, batch: Sequence[Work]) -> dict[int, Outcome]:
        """Bring each document of the batch to its state, searchable; outcomes by the works' `at`."""
        self._tenure.hold()
        claims, outcomes = self._advance(batch)
        stale = {at for at, outcome in outcomes.items() if outcome.status is Status.STALE}
        late = self._take_back([work for work in batch if work.at not in stale])
        outcomes |= late
        claimed = [(work, claims[work.at]) for work in batch if work.at in claims and work.at not in late]
        written = self._write(claimed)
        if claimed:
            self.refresh(self._index)
        sound = [(work, claim) for work, claim in claimed if not written[work.at].refused]
        current = dict(zip((work.at for work, _ in sound), self._finish([claim for _, claim in sound]), strict=True))
        for work, _ in claimed:
            outcomes[work.at] = _outcome(work, written[work.at], current.get(work.at, False))
        return outcomes

    def _advance(self, batch: Sequence[Work]) -> tuple[dict[int, _Claim], dict[int, Outcome]]:
        """Step 1: whom we may write, and the outcomes of the others."""
        claims: dict[int, _Claim] = {}
        outcomes: dict[int, Outcome] = {}
        checked: dict[int, int] = {}
        left = list(batch)
        while left:
            now = _now_ms()
            moves = [
                bodies.advance(self._ledger, each.plan, each.plan.kept, each.digest, checked.get(each.at, -1), now)
                for each in left
            ]
            unsure: list[tuple[Work, Entry]] = []
            for work, answer in zip(left, self._cluster.bulk(self._ledger, moves), strict=True):
                entry = entry_of(answer.get("get", {}))
                missing = len(set(work.plan.kept) - entry.chunk_ids)
                if "error" in answer:
                    outcomes[work.at] = rejected(work.plan.document_id, StoreRejected(item_reason(answer)))
                elif answer["result"] != "noop":
                    of, chunk_ids = work.plan.document_id, work.plan.chunk_ids
                    claims[work.at] = _Claim(of, entry.generation, chunk_ids, entry.leftover, entry.moved)
                elif entry.position > work.plan.position:
                    outcomes[work.at] = Outcome(work.plan.document_id, Status.STALE)
                elif missing:
                    outcomes[work.at] = rejected(work.plan.document_id, lacking(work.plan, missing))
                else:
                    unsure.append((work, entry))
            left = self._look_up(unsure, checked, outcomes)
        return claims, outcomes

    def _look_up(
        self, unsure: Sequence[tuple[Work, Entry]], checked: dict[int, int], outcomes: dict[int, Outcome]
    ) -> list[Work]:
        """Those whose kept chunks are all there, with their generation in `checked`; the others are rejected."""
        wanted = [(work.plan.document_id, chunk_id) for work, _ in unsure for chunk_id in work.plan.kept]
        there = self.there(wanted)
        sound = []
        for work, entry in unsure:
            missing = sum((work.plan.document_id, chunk_id) not in there for chunk_id in work.plan.kept)
            if missing:
                outcomes[work.at] = rejected(work.plan.document_id, lacking(work.plan, missing))
            else:
                checked[work.at] = entry.generation
                sound.append(work)
        return sound

    def _take_back(self, batch: Sequence[Work]) -> dict[int, Outcome]:
        """Step 2: the outcomes of plans below a mark, whose documents are removed."""
        marks = self._marks({table for work in batch for table in tables_of(work.plan.document_id)})
        late: dict[str, list[Work]] = {}
        for work in batch:
            mark = max((marks.get(table, "") for table in tables_of(work.plan.document_id)), default="")
            if work.plan.position < mark:
                late.setdefault(mark, []).append(work)
        for mark, works in late.items():
            self.remove([work.plan.document_id for work in works], mark)
        return {work.at: Outcome(work.plan.document_id, Status.STALE) for works in late.values() for work in works}

    def _marks(self, tables: Iterable[str]) -> dict[str, str]:
        names = sorted(tables)
        wanted = [{"_index": self._ledger, "_id": bodies.mark_id(name), "_source": ["mark"]} for name in names]
        found = self._cluster.get([*wanted, *self._tenure.wanted()])
        # whoever took the index over meanwhile hasn't heard of our entries: nothing is written for them
        self._tenure.check(found[len(wanted) :])
        marks = zip(names, found, strict=False)
        return {name: each["_source"]["mark"] for name, each in marks if each["found"]}

    def _write(self, claimed: Sequence[tuple[Work, _Claim]]) -> dict[int, _Written]:
        """Step 3, for each document, by its work's `at`."""
        written = {work.at: _Written() for work, _ in claimed}
        for some in parts(self._operations(claimed)):
            answers = self._cluster.bulk(self._index, [operation for _, operation in some])
            for (at, _), answer in zip(some, answers, strict=True):
                written[at] = _and(written[at], answer)
        for work, claim in claimed:
            if claim.moved and not written[work.at].refused:
                written[work.at] = self._move(work, claim, written[work.at])
        return written

    def _operations(self, claimed: Sequence[tuple[Work, _Claim]]) -> Iterator[tuple[int, bytes]]:
        """By the work's `at`: made as they are sent, for a document's metadata may be long and its chunks many."""
        for work, claim in claimed:
            plan = work.plan
            for chunk, source in zip(plan.write, work.sources(), strict=True):
                yield work.at, bodies.write(self._index, chunk.chunk_id, plan.document_id, claim.generation, source)
            yield from ((work.at, each) for each in self._deletes(claim))

    def _deletes(self, claim: _Claim) -> list[bytes]:
        return [bodies.delete(self._index, each, claim.document_id, claim.generation) for each in claim.leftover]

    def _move(self, work: Work, claim: _Claim, written: _Written) -> _Written:
        """Gives kept chunks their place and metadata: read and written whole, as `update` knows no versions of ours."""
        ordinals = {chunk_id: ordinal for ordinal, chunk_id in enumerate(work.plan.chunk_ids)}
        at_once = max(1, min(_MOVED_AT_ONCE, _MOVED_BYTES // (len(work.encoded) + 1)))
        for start in range(0, len(claim.moved), at_once):
            some = claim.moved[start : start + at_once]
            found = self._cluster.get([self._place(claim.document_id, each) for each in some])
            missing = sum(not each["found"] for each in found)
            if missing:
                return _Written(refused=str(lacking(work.plan, missing)))
            operations = [
                bodies.write(
                    self._index,
                    chunk_id,
                    claim.document_id,
                    claim.generation,
                    bodies.moved(each["_source"], ordinals[chunk_id], work.encoded, work.filters),
                )
                for chunk_id, each in zip(some, found, strict=True)
                if not work.stands(each["_source"], ordinals[chunk_id])
            ]
            for answer in self._cluster.bulk(self._index, operations):
                written = _and(written, answer)
        return written

    def _finish(self, claims: Sequence[_Claim]) -> list[bool]:
        """Step 4: whether each document is still ours. Where not, what its new owner doesn't want is deleted."""
        finishing = [bodies.finish(self._ledger, each.document_id, each.generation) for each in claims]
        ours: list[bool] = []
        deletes: list[bytes] = []
        for claim, answer in zip(claims, self._cluster.bulk(self._ledger, finishing), strict=True):
            entry = entry_of(answer.get("get", {}))
            ours.append(answer.get("result") == "updated" or entry.generation == claim.generation)
            if not ours[-1] and entry.generation >= 0:
                unwanted = tuple(each for each in claim.chunk_ids if each not in entry.chunk_ids)
                deletes += self._deletes(_Claim(claim.document_id, entry.generation, (), unwanted))
        if deletes:
            self._cluster.bulk(self._index, deletes)
            self.refresh(self._index)
        return ours

    def remove(self, document_ids: Sequence[str], before: str) -> int:
        """Delete those documents that stand below a position; how many had chunks."""
        now = _now_ms()
        moves = [bodies.remove(self._ledger, each, before, now) for each in document_ids]
        claims = []
        for document_id, answer in zip(document_ids, self._cluster.bulk(self._ledger, moves), strict=True):
            if answer.get("result") == "updated":
                entry = entry_of(answer["get"])
                claims.append(_Claim(document_id, entry.generation, (), entry.leftover))
        deletes = [(claim.document_id, delete) for claim in claims for delete in self._deletes(claim)]
        answers = self._cluster.bulk(self._index, [delete for _, delete in deletes])
        had = {each for (each, _), answer in zip(deletes, answers, strict=True) if answer.get("result") == "deleted"}
        if claims:
            self.refresh(self._index)
            self._finish(claims)
        return len(had)

    def clear(self, table: str, before: str) -> int:
        """Raise the table's mark, and delete its documents that stand below; how many had chunks."""
        self._tenure.hold()
        self._cluster.bulk(self._ledger, [bodies.mark(self._ledger, table, before)])
        removed = 0
        while True:
            self.refresh(self._ledger)
            hits = self._search_ledger(bodies.alive_before(table, before, _LISTED_AT_ONCE))
            if not hits:
                return removed
            removed += self.remove([hit["_source"]["document_id"] for hit in hits], before)

    def latest(self, table: str) -> Position:
        """The latest position of a table's documents and of its mark; BEGINNING where none is."""
        self.refresh(self._ledger)
        found = self._cluster.patiently(lambda: self._cluster.search(self._ledger, bodies.latest(table)))
        stand = [hit["_source"].get("position") for hit in found["hits"]["hits"]]
        marks = [each["key"] for each in found["aggregations"]["marks"]["buckets"]]
        return Position(max((each for each in (*stand, *marks) if each), default=BEGINNING))

    def mark(self, table: str) -> Position:
        """The table's mark; BEGINNING where there is none."""
        return Position(self._marks([table]).get(table, BEGINNING))

    def forget(self, deleted_before_ms: int) -> None:
        """Drop the entries of documents deleted before a time, in milliseconds since 1970."""
        while True:
            self.refresh(self._ledger)
            hits = self._search_ledger(bodies.deleted_before(deleted_before_ms, _LISTED_AT_ONCE))
            self._cluster.bulk(self._ledger, [bodies.forget(self._ledger, hit) for hit in hits])
            if len(hits) < _LISTED_AT_ONCE:
                return

    def refresh(self, index: str) -> None:
        """Make all that was written searchable."""
        self._cluster.patiently(lambda: self._cluster.client.indices.refresh(index=index))

    def _search_ledger(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        found = self._cluster.patiently(lambda: self._cluster.search(self._ledger, body))
        hits: list[dict[str, Any]] = found["hits"]["hits"]
        return hits

    def _place(self, document_id: str, chunk_id: str) -> dict[str, Any]:
        return {"_index": self._index, "_id": chunk_id, "routing": document_id}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _and(written: _Written, answer: Mapping[str, Any]) -> _Written:
    if answer["status"] == 409:
        return _Written(written.passed + 1, written.refused)
    if "error" in answer:
        return _Written(written.passed, written.refused or item_reason(answer))
    return written


def _outcome(work: Work, written: _Written, current: bool) -> Outcome:
    if written.refused:
        return rejected(work.plan.document_id, StoreRejected(written.refused))
    if current and written.passed:
        why = f"{written.passed} of its chunks have a later version than the ledger knows: make the index anew"
        return rejected(work.plan.document_id, StoreRejected(why))
    return Outcome(work.plan.document_id, Status.APPLIED)
