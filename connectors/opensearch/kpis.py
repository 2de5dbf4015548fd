"""KPIs of conversations in OpenSearch: an index each, `<index>_<kpi>`, in which a row is a document by its key.

A row that is written has the time at which it was as its version, so that a request which comes late, though it was
given up and sent again, can't overwrite a newer row.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import orjson
from opensearchpy.exceptions import NotFoundError, RequestError

from connectors.opensearch import bodies
from connectors.opensearch.client import Cluster, item_reason
from core.config.store import OpenSearch
from core.errors import ConfigError, StoreRejected
from core.plans import Outcome, Status, rejected
from core.stores.kpi_json import json_row
from core.stores.kpis import ColumnType, KpiChange, KpiTable, last_of, row_name

_SETTING = "store.opensearch"
_LONGEST_ID = 512  # bytes
_SAMPLE = "s:"  # an id that no row has
_AT_ONCE = 5_000
_DAY_MS = 86_400_000
_CONFLICT, _NOT_FOUND = 409, 404
_SETTINGS = {"auto_expand_replicas": "0-1", "gc_deletes": "1h"}
# a longer text is kept, and not found by its value: Lucene takes 32,766 bytes
_TEXT = {"type": "keyword", "ignore_above": 8191}
_TYPES: Mapping[ColumnType, Mapping[str, Any]] = {
    ColumnType.TEXT: _TEXT,
    ColumnType.BOOLEAN: {"type": "boolean"},
    ColumnType.INTEGER: {"type": "integer"},
    ColumnType.BIGINT: {"type": "long"},
    ColumnType.DOUBLE: {"type": "double"},
    ColumnType.DECIMAL: {"type": "double"},
    ColumnType.TIMESTAMP: {"type": "date"},
    ColumnType.DATE: {"type": "date"},
    ColumnType.TIME: {"type": "keyword"},
}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class OpenSearchKpis:
    """A `KpiStore`. The mapping of an index says in `_meta` whose it is, and which columns are its rows' key."""

    def __init__(
        self,
        target: OpenSearch,
        pipeline: str,
        tables: Mapping[str, KpiTable],
        patience_s: float = 30.0,
        now_ms: Callable[[], int] = _now_ms,
    ) -> None:
        """As `connectors.postgres.kpis.store.PostgresKpis`.

        Raises ConfigError where certificates or AWS credentials can't be had.
        """
        self._target, self._pipeline, self._tables, self._now_ms = target, pipeline, tables, now_ms
        self._names = {name: f"{target.index}_{name}" for name in tables}
        samples = {index: _sample(index) for index in self._names.values()}
        self._cluster = Cluster(target, _SETTING, patience_s, samples)
        self._version = 0

    @property
    def place(self) -> str:
        """See `KpiStore.place`."""
        return f"indexes {self._target.index}_…"

    def prepare(self) -> None:
        """See `KpiStore.prepare`. Doesn't wait for a cluster that is away."""
        self._cluster.once(self._prepare)

    def look(self) -> bool:
        """See `KpiStore.look`."""
        return self._cluster.once(lambda: not self._missing())

    def _prepare(self) -> None:
        settings = {**_SETTINGS, **bodies.stated(self._target.settings)}
        for kpi in self._missing():
            body = {"settings": {"index": settings}, "mappings": self._mapping(kpi)}
            try:
                self._cluster.client.indices.create(index=self._names[kpi], body=body)
            except RequestError as error:
                if error.error != "resource_already_exists_exception":
                    raise

    def _mapping(self, kpi: str) -> dict[str, Any]:
        table = self._tables[kpi]
        meta = {"pipeline": self._pipeline, "key": list(table.key)}
        fields = {column: dict(_TYPES[kind]) for column, kind in table.columns.items()}
        return {"dynamic": "strict", "_meta": {"freshet": meta}, "properties": fields}

    def _missing(self) -> list[str]:
        """The KPIs whose indexes aren't there. Raises ConfigError where one is there and is another."""
        missing = []
        for kpi in self._names:
            there = self._there(kpi)
            if not there:
                missing.append(kpi)
            for found in there:
                self._check(kpi, found, self._own(kpi, found))
        return missing

    def _there(self, kpi: str) -> list[Mapping[str, Any]]:
        """The mapping of its index, or of each of an alias's; nothing where there is none."""
        try:
            found = self._cluster.client.indices.get_mapping(index=self._names[kpi])
        except NotFoundError:
            return []
        return [each["mappings"] for each in found.values()]

    def _own(self, kpi: str, there: Mapping[str, Any]) -> Mapping[str, Any]:
        """What an index says of itself. Raises ConfigError where it isn't this pipeline's."""
        meta: Mapping[str, Any] = there.get("_meta", {}).get("freshet", {})
        owner = meta.get("pipeline")
        if owner != self._pipeline:
            whose = f"has rows of the pipeline {owner}" if owner else "is no index of KPIs"
            raise ConfigError([f"{_SETTING}.index: {self._names[kpi]} {whose}: name another index, or delete it"])
        return meta

    def _check(self, kpi: str, there: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        index = self._names[kpi]
        wanted, key = self._mapping(kpi)["properties"], list(self._tables[kpi].key)
        if there.get("properties", {}) != wanted or set(meta["key"]) != set(key):
            now, should = _shown(there.get("properties", {}), meta["key"]), _shown(wanted, key)
            raise ConfigError(
                [
                    f"{_SETTING}.index: {index} has {now}; feedback.kpis.{kpi} makes {should}: delete the index, or "
                    "give the KPI another name"
                ]
            )

    def empty(self) -> None:
        """See `KpiStore.empty`. Doesn't wait for a cluster that is away."""
        self._cluster.once(self._empty)

    def _empty(self) -> None:
        for kpi, index in self._names.items():
            there = self._there(kpi)
            for found in there:
                self._own(kpi, found)
            # not by _delete_by_query, which is a module that a cluster may lack
            while there and (ids := self._some(index)):
                deletes = [orjson.dumps({"delete": {"_index": index, "_id": each}}) + b"\n" for each in ids]
                self._cluster.bulk(index, deletes)

    def _some(self, index: str) -> list[str]:
        """The ids of some rows that are there; none where there are none."""
        self._cluster.client.indices.refresh(index=index)
        hits = self._cluster.search(index, {"size": _AT_ONCE, "_source": False})["hits"]["hits"]
        return [hit["_id"] for hit in hits]

    def apply(self, changes: Sequence[KpiChange]) -> list[Outcome]:
        """See `KpiStore.apply`: row by row, and what is sent again comes to the same rows."""
        last = last_of(self._tables, changes)
        outcomes: dict[int, Outcome] = {}
        for kpi in dict.fromkeys(each.kpi for each in last):
            outcomes |= self._follow(kpi, {at: each for at, each in enumerate(last) if each.kpi == kpi})
        return [outcomes[at] for at in range(len(last))]

    def _follow(self, kpi: str, changes: Mapping[int, KpiChange]) -> dict[int, Outcome]:
        """The outcomes of one KPI's changes, by their places in the batch."""
        self._version = max(self._now_ms(), self._version + 1)
        outcomes: dict[int, Outcome] = {}
        left = dict(changes)
        while left:
            ready: dict[int, bytes] = {}
            for at, each in left.items():
                try:
                    ready[at] = self._operation(each)
                except ValueError as error:
                    outcomes[at] = rejected(self._row(each), error)
            answers = dict(zip(ready, self._cluster.bulk(self._names[kpi], list(ready.values())), strict=True))
            left = {at: left[at] for at, answer in answers.items() if answer["status"] == _CONFLICT}
            outcomes |= {at: self._outcome(changes[at], answers[at]) for at in ready if at not in left}
            if left:
                # an earlier process had a clock that is ahead of this one's
                there = max(_version_there(answers[at]) for at in left)
                self._version = max(there, self._version if there else self._version + _DAY_MS) + 1
        return outcomes

    def _operation(self, change: KpiChange) -> bytes:
        made = json_row(self._tables[change.kpi], change)
        place = {
            "_index": self._names[change.kpi],
            "_id": _id(made.key),
            "version": self._version,
            "version_type": "external_gte",
        }
        if change.gone:
            return orjson.dumps({"delete": place}) + b"\n"
        return orjson.dumps({"index": place}) + b"\n" + made.row + b"\n"

    def _outcome(self, change: KpiChange, answer: Mapping[str, Any]) -> Outcome:
        if "error" in answer and answer["status"] != _NOT_FOUND:
            return rejected(self._row(change), StoreRejected(item_reason(answer)))
        return Outcome(self._row(change), Status.APPLIED)

    def _row(self, change: KpiChange) -> str:
        return row_name(self._tables[change.kpi], change)

    def close(self) -> None:
        """Give the connections back."""
        self._cluster.client.close()


def _sample(index: str) -> tuple[bytes, ...]:
    """Operations on a row that isn't there, and won't be afterwards."""
    place = {"_index": index, "_id": _SAMPLE}
    return orjson.dumps({"index": place}) + b"\n{}\n", orjson.dumps({"delete": place}) + b"\n"


def _id(key: bytes) -> str:
    return key.decode() if len(key) <= _LONGEST_ID else f"h:{sha256(key).hexdigest()}"


def _version_there(answer: Mapping[str, Any]) -> int:
    """The version that a row has which refused an older one; 0 where the answer doesn't say it."""
    said = str(answer["error"].get("reason")).partition("current version [")[2].partition("]")[0]
    return int(said) if said.isdecimal() else 0


def _shown(fields: Mapping[str, Any], key: Sequence[str]) -> str:
    columns = ", ".join(f"{name} {each.get('type', 'object')}" for name, each in fields.items())
    return f"{columns or 'no fields'}, keyed by {', '.join(sorted(key))}"
