"""A namespace of an index: what is written to it, and what it holds, read after what was written.

Pinecone is eventually consistent. A write's answer has its LSN, which only goes up in a namespace, and a query's up to
which LSN it shows what was written ("Check data freshness" in its documentation); fetches and lists don't say. So all
that is read is read by queries, and one that is behind what it must show is asked again. Who hasn't written yet begins
with a deletion of nothing: its LSN is later than that of all that anybody wrote before.

With a filter a query gives exactly as many of the nearest that pass as it is asked for ("Filtering with metadata"): so
one of more than there are gives all. Where there may be more than a query gives, ranges of a field part them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
import numpy as np
import tenacity
from numpy.typing import NDArray

from connectors.patience import patiently
from connectors.pinecone.client import SETTING, NoNamespace, Refused, Said, Service
from core.errors import ConfigError, Unavailable
from core.stores.batches import sized

MOST_HITS = 10_000
"""What a query gives ("Limits" in Pinecone's documentation)."""
MOST_WITH_METADATA = 90
"""Of records that may have 40 kB each, what fits into an answer of 4 MB."""
SLOTS = 2**48
"""The field `slot` of every record is a whole number below this."""

_MARK = "#"
_ORDINALS = MOST_HITS // 4
_BYTES_A_REQUEST = 1_900_000
_RECORDS_A_REQUEST = 1_000
_BYTES_A_PAGE = 3_000_000
_BYTES_A_RECORD = 4_000
_RECORDS_A_PAGE = 500
_INDEXED_WITHIN_S = 60.0
_LOOK_S = (0.05, 1.0)

Condition = Mapping[str, Any]


class Behind(Unavailable):
    """An answer doesn't show yet what was written before."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a query gives of a record; `metadata` and `values` where they were asked for."""

    id: str
    score: float = 0.0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    values: Sequence[float] = ()


Ask = Callable[[Condition], list[Record]]


class Namespace:
    """A namespace, for who writes to it and who reads it. Its records have a field `slot`."""

    def __init__(self, service: Service, name: str, dimension: int) -> None:
        self._service = service
        self._name = name
        self._somewhere = [1.0] + [0.0] * (dimension - 1)
        self._page = max(1, min(_RECORDS_A_PAGE, _BYTES_A_PAGE // (_BYTES_A_RECORD + 12 * dimension)))
        self._floor: int | None = None

    def query(
        self,
        condition: Condition,
        most: int,
        *,
        vector: NDArray[np.float32] | None = None,
        metadata: bool = False,
        values: bool = False,
        fresh: bool = True,
    ) -> list[Record]:
        """The `most` records that a condition holds for, nearest to `vector` first.

        fresh  they are as after all that anybody had written when this object read first, or began anew, and after all
               that it wrote since; else whatever the index shows, and who is away is asked only once more

        Raises Unavailable where the index is away for the patience or behind for a minute, Refused where it refuses.
        """
        body = msgspec.json.encode(
            {
                "namespace": self._name,
                "topK": most,
                "vector": self._somewhere if vector is None else shortest(vector),
                "includeMetadata": metadata,
                "includeValues": values,
                **({"filter": condition} if condition else {}),
            }
        )

        def ask() -> Said:
            return self._service.asked("/query", body)

        try:
            said = self._caught_up(ask) if fresh else self._service.once(ask)
        except NoNamespace:
            self._see_index()
            return []
        return [
            Record(each["id"], each.get("score", 0.0), each.get("metadata") or {}, each.get("values") or ())
            for each in said.body.get("matches", ())
        ]

    def _caught_up(self, ask: Callable[[], Said]) -> Said:
        floor = self._begun()

        def look() -> Said:
            said = self._service.patiently(ask)
            if (said.indexed or 0) < floor:
                raise Behind(
                    f"{SETTING}: namespace {self._name} in {self._service.name} shows what was written up to LSN "
                    f"{said.indexed or 0} of {floor}, after {_INDEXED_WITHIN_S:.0f} s: look at its state"
                )
            return said

        return patiently(look, tenacity.stop_after_delay(_INDEXED_WITHIN_S), _is_behind, waits_s=_LOOK_S)

    def _begun(self) -> int:
        """The LSN that answers must show. Who may only read sees what the index shows."""
        if self._floor is None:
            try:
                self._floor = self._service.patiently(partial(self._deleted, {"ids": ["-"]})).written or 0
            except NoNamespace:
                self._see_index()
                return 0
            except ConfigError:
                self._floor = 0
        return self._floor

    def _see_index(self) -> None:
        if (why := self._service.patiently(self._service.gone)) is not None:
            raise why

    def begin(self) -> None:
        """Have what is read from now on be as after all that anybody has written by now."""
        self._floor = None

    def settle(self) -> None:
        """Wait until queries show all that was written. Raises Unavailable where that takes longer than a minute."""
        self.query({}, 1)

    def ids(
        self, condition: Condition, vector: NDArray[np.float32] | None = None, fresh: bool = True
    ) -> Iterator[list[Record]]:
        """All records that a condition holds for, without their metadata, as one list for each of several ranges of
        `slot`, in whose order they come. `vector` and `fresh` as of `query`.
        """

        def ask(here: Condition) -> list[Record]:
            return self.query(here, MOST_HITS, vector=vector, fresh=fresh)

        yield from _within(ask, condition, 0, SLOTS)

    def having(
        self, name: str, values: Sequence[str], *, vectors: bool = False, fresh: bool = True
    ) -> Iterator[Record]:
        """The records that have one of these values in a field, with their metadata. At most one has each.

        As many at once as an answer holds: where it is refused, half as many from then on.
        """
        start = 0
        while start < len(values):
            some = list(values[start : start + self._page])
            try:
                found = self.query({name: {"$in": some}}, len(some), metadata=True, values=vectors, fresh=fresh)
            except Refused:
                if self._page == 1:
                    raise
                self._page = max(1, self._page // 2)
                continue
            yield from found
            start += len(some)

    def write(self, records: Iterable[bytes]) -> None:
        """Insert records, or put them in the place of those of their ids. Raises Refused."""
        for some in sized(records, lambda each: len(each) + 1, _BYTES_A_REQUEST, _RECORDS_A_REQUEST):
            name = msgspec.json.encode(self._name)
            body = b'{"namespace":%s,"vectors":[%s]}' % (name, b",".join(some))
            self._wrote(self._service.patiently(partial(self._service.asked, "/vectors/upsert", body)))

    def delete(self, ids: Sequence[str]) -> None:
        """Delete the records of these ids. Raises as `query`."""
        for start in range(0, len(ids), _RECORDS_A_REQUEST):
            some = list(ids[start : start + _RECORDS_A_REQUEST])
            try:
                self._wrote(self._service.patiently(partial(self._deleted, {"ids": some})))
            except NoNamespace:
                self._see_index()

    def _deleted(self, which: Mapping[str, Any]) -> Said:
        return self._service.asked("/vectors/delete", {"namespace": self._name, **which})

    def _wrote(self, said: Said) -> None:
        if said.written is None:
            raise ConfigError([f"{SETTING}.index: {self._service.name} {_NO_LSN}"])
        self._floor = max(self._floor or 0, said.written)


def _within(ask: Ask, condition: Condition, low: int, high: int) -> Iterator[list[Record]]:
    if low == high:
        return
    found = ask(condition if (low, high) == (0, SLOTS) else both(condition, {"slot": {"$gte": low, "$lt": high}}))
    if len(found) < MOST_HITS:
        yield found
    elif (alone := _alone(found)) is not None:
        yield from _within(ask, condition, low, alone)
        yield list(_parted(ask, both(condition, {"slot": {"$eq": alone}})))
        yield from _within(ask, condition, alone + 1, high)
    else:
        middle = (low + high) // 2
        yield from _within(ask, condition, low, middle)
        yield from _within(ask, condition, middle, high)


def _alone(found: Sequence[Record]) -> int | None:
    """The slot of the one document that records are of; None where they are of several."""
    keys = {document_of(each.id) for each in found}
    return slot_of(keys.pop()) if len(keys) == 1 else None


def _parted(ask: Ask, condition: Condition) -> Iterator[Record]:
    """Those of one document that has more chunks than a query gives, by their ordinals."""
    start = 0
    while len(found := ask(both(condition, {"ordinal": {"$gte": start}}))) == MOST_HITS:
        # narrower than an answer: chunks of several models may share an ordinal
        yield from ask(both(condition, {"ordinal": {"$gte": start, "$lt": start + _ORDINALS}}))
        start += _ORDINALS
    yield from found


def record_id(document: str, chunk_id: str) -> str:
    """A chunk's record: other clients find those of a document by its key, 32 hexadecimal digits, and the mark."""
    return f"{document}{_MARK}{chunk_id}"


def document_of(identity: str) -> str:
    """The key of the document of a chunk's record."""
    return identity.partition(_MARK)[0]


def chunk_of(identity: str) -> str:
    """The chunk's id, from its record's."""
    return identity.partition(_MARK)[2]


def slot_of(key: str) -> int:
    """Where among all documents one is, by its key."""
    return int(key[:12], 16)


_NO_LSN = "doesn't say with which LSN it writes, so nobody knows what a query shows: take a serverless index"


def _is_behind(error: BaseException) -> bool:
    return isinstance(error, Behind)


def both(one: Condition, other: Condition) -> Condition:
    """The condition that two hold; an empty one always does."""
    if not one or not other:
        return one or other
    return {"$and": [one, other]}


def record(identity: str, values: Sequence[float], metadata: Mapping[str, Any]) -> bytes:
    """A record as a request has it."""
    return msgspec.json.encode({"id": identity, "values": values, "metadata": metadata})


def shortest(vector: NDArray[np.float32]) -> list[float]:
    """Numbers of 32 bits as numbers of the fewest digits that are them: a vector takes half the room as text."""
    return [float(str(each)) for each in vector]
