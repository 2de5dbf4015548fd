"""What the OpenSearch ledger doesn't know of, or knows wrongly: found in the index itself, and taken out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from connectors.opensearch import bodies, queries
from connectors.opensearch.client import Cluster
from connectors.opensearch.writing import Writer
from core.change import BEGINNING, Position

_LISTED_AT_ONCE = 1000
_DROPPED_AT_ONCE = 200


class Strays:
    """Chunks by what the index says, not by what the ledger does."""

    def __init__(self, cluster: Cluster, writer: Writer, index: str) -> None:
        self._cluster = cluster
        self._writer = writer
        self._index = index
        self._ledger = f"{index}-ledger"

    def pages(self, table: str | None) -> Iterator[list[str]]:
        """The ids of all documents that have searchable chunks, or of those of a table."""
        # by their order, as no query takes a name of any length; a full stop is right before the slash
        after: Mapping[str, Any] | None = None if table is None else {"document_id": f"{table}.\U0010ffff"}
        while True:
            body = queries.documents(_LISTED_AT_ONCE, after)
            found = self._cluster.patiently(lambda body=body: self._cluster.search(self._index, body))  # type: ignore[misc]
            page = found["aggregations"]["documents"]
            ids = [bucket["key"]["document_id"] for bucket in page["buckets"]]
            of_table = ids if table is None else [each for each in ids if each.startswith(f"{table}/")]
            yield of_table
            after = page.get("after_key")
            if after is None or len(of_table) < len(ids):
                return

    def clear(self, table: str) -> int:
        """Delete the table's chunks that the ledger doesn't know of; of how many documents they were.

        A writer moves its ledger's entry first and writes chunks then, so those that are seen here have none coming.
        """
        self._writer.refresh(self._index)
        removed = 0
        for page in self.pages(table):
            unknown = [
                each for each, known in zip(page, self._writer.entries(page), strict=True) if known.generation < 0
            ]
            removed += len(unknown)
            for some in _parts(unknown):
                self._delete(some)
        if removed:
            self._writer.refresh(self._index)
        return removed

    def drop(self, stood: Mapping[str, Position]) -> frozenset[str]:
        """Delete documents with all that the ledger knows of them, where it has them at the position given.

        The entry goes first: whoever writes the document then writes it whole, in a version later than those deleted.
        """
        self._writer.refresh(self._index)
        dropped: set[str] = set()
        for some in _parts(list(stood)):
            wanted = [{"_index": self._ledger, "_id": bodies.entry_id(each), "_source": ["position"]} for each in some]
            found = dict(zip(some, self._cluster.get(wanted), strict=True))
            known = [each for each in some if found[each]["found"]]
            at = [each for each in known if found[each]["_source"].get("position") == stood[each]]
            answers = self._cluster.bulk(self._ledger, [bodies.forget(self._ledger, found[each]) for each in at])
            gone = [each for each, answer in zip(at, answers, strict=True) if answer.get("result") == "deleted"]
            gone += [each for each in some if not found[each]["found"] and stood[each] == BEGINNING]
            self._delete(gone)
            dropped.update(gone)
        self._writer.refresh(self._index)
        return frozenset(dropped)

    def _delete(self, document_ids: Sequence[str]) -> None:
        after: list[Any] | None = None
        while document_ids:
            body = queries.there(document_ids, _LISTED_AT_ONCE, after)
            found = self._cluster.patiently(lambda body=body: self._cluster.search(self._index, body))  # type: ignore[misc]
            hits: list[dict[str, Any]] = found["hits"]["hits"]
            self._cluster.bulk(self._index, [bodies.delete_seen(self._index, hit) for hit in hits])
            if len(hits) < _LISTED_AT_ONCE:
                return
            after = hits[-1]["sort"]


def _parts(document_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(document_ids), _DROPPED_AT_ONCE):
        yield document_ids[at : at + _DROPPED_AT_ONCE]
