"""Whose an OpenSearch index is: an entry of its ledger, looked at before and after a batch's documents are claimed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from connectors.opensearch.client import Cluster
from core.errors import Displaced
from core.stores.fingerprint import Owner, displaced, owner_from_text, owner_to_text

_ID = "o:"  # an id that no document's entry has, nor a table's mark

# In fields that a ledger of an earlier release has too: to add one takes a right that the user may lack.
_CLAIM = """
def s = ctx._source;
if (s.generation != null && s.generation >= params.epoch) { ctx.op = 'none'; return; }
s.generation = params.epoch;
s.digest = params.owner;
"""


class Tenure:
    """An index's ownership, of the owner that it was opened for; None: whoever's it is."""

    def __init__(self, cluster: Cluster, index: str, owner: Owner | None) -> None:
        self._cluster = cluster
        self._place = f"store.opensearch: index {index}"
        self._owner = owner
        self._entry: Mapping[str, Any] = {"_index": f"{index}-ledger", "_id": _ID, "_source": ["digest"]}

    def there(self) -> Owner | None:
        """Whose it is now; None where nobody's yet."""
        return _owner(self._cluster.get([self._entry]))

    def wanted(self) -> list[Mapping[str, Any]]:
        """What to get, beside other entries, for `check`."""
        return [] if self._owner is None else [self._entry]

    def check(self, found: Sequence[Mapping[str, Any]]) -> None:
        """Look at what was got. Raises Displaced where a later run has the index; makes it ours where nobody has."""
        if self._owner is not None and _owner(found) != self._owner:
            self.claim()

    def hold(self) -> None:
        """Raises Displaced where a later run has the index; makes it ours where it isn't."""
        if self._owner is not None:
            self.check(self._cluster.get([self._entry]))

    def claim(self) -> None:
        """Make it ours. Raises Displaced where a later run has it."""
        if self._owner is None:
            return
        parameters = {"epoch": self._owner.epoch, "owner": owner_to_text(self._owner)}
        action = {"update": {"_index": self._entry["_index"], "_id": _ID, "retry_on_conflict": 10}}
        body = {"script": {"source": _CLAIM, "params": parameters}, "scripted_upsert": True, "upsert": {}}
        body["_source"] = ["digest"]
        self._cluster.bulk(self._entry["_index"], [orjson.dumps(action) + b"\n" + orjson.dumps(body) + b"\n"])
        there = self.there()
        if there is not None and there != self._owner:
            raise Displaced(displaced(self._place, self._owner, there))


def _owner(found: Sequence[Mapping[str, Any]]) -> Owner | None:
    (entry,) = found
    return owner_from_text(entry["_source"]["digest"]) if entry["found"] else None
