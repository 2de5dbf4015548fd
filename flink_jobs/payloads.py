"""What travels from one operator to the next as a field of bytes: for Python of a type, on the wire MessagePack.

One field, as each that crosses between Flink and Python is converted. An EVENT's bytes also lie in state, beside what
waits there for something, and whatever lies there a later release must read; the others are only under way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import msgspec

from core.change import Change, Event, Position
from core.documents.objects import ObjectChange
from core.documents.unsettled import Unsettled
from core.formats import conversations
from core.identity.linking import RecordChange
from core.metrics.tally import Rise
from core.plans import Outcome, Plan
from core.profiles.delivery import Delivery
from core.shards.progress import Reached
from core.shards.slots import Assigned
from core.stores.kpis import KpiChange

Payload = TypeVar("Payload")


@dataclass(frozen=True)
class Codec(Generic[Payload]):
    """One type's way to bytes and back. `decode` raises msgspec.DecodeError for bytes of another."""

    encode: Callable[[Payload], bytes]
    decode: Callable[[bytes], Payload]


def _of(kind: type[Payload]) -> Codec[Payload]:
    return Codec(msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(kind).decode)


@dataclass(frozen=True, slots=True)
class Embedded:
    """What goes from the embedding UDF to the writing one, a row a change.

    plan     None where another row of the batch has the document's latest
    new      the ids of chunks that have a vector here: those that a store lacks
    vectors  float32, little-endian, a row a chunk of `new`
    reused   how many of those vectors the document had under its key of before
    error    class and message where a text can't be embedded
    """

    document_id: str
    plan: Plan | None = None
    new: tuple[str, ...] = ()
    vectors: bytes = b""
    reused: int = 0
    error: tuple[str, str] | None = None


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """How far a subtask has read its partitions, on its way behind all that it read, in one copy for each way there is.

    by       the subtask's start that it is of: what an earlier one sent doesn't count together with it
    number   of the marks of that start, in their order
    ways     how many copies there are: all is applied once each has passed
    reached  by partition
    tables   what settles by these names may hold some of it back
    cleared  tables that must have been cleared below a position by then, on a way of their own
    way      which copy it is
    """

    by: str
    number: int
    ways: int
    reached: dict[str, Reached]
    tables: tuple[str, ...] = ()
    cleared: dict[str, Position] = {}
    way: str = ""


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What `write_plans` says of a row: outcomes that are rejected; the batch's first row has all that was counted.

    messages  of the topic of outcomes, by key: where the pipeline has one. `clear_table` says these alone
    passed  a mark, encoded: all that came before it is applied
    """

    rejected: tuple[Outcome, ...] = ()
    counted: tuple[Rise, ...] = ()
    messages: tuple[tuple[str, bytes], ...] = ()
    passed: bytes = b""


class RecordSweep(NamedTuple):
    """A table's records below `position` go, once every partition has passed `due` (event time, ms); 0: at once."""

    table: str
    position: Position
    due: int


class Written(msgspec.Struct, frozen=True, array_like=True):
    """What became of a delivery: plans for the vector stores, encoded, and outcomes that are rejected."""

    plans: tuple[bytes, ...] = ()
    rejected: tuple[Outcome, ...] = ()


EVENT: Codec[Event] = _of(Event)
"""Beside most of the others: what a dead letter is made of."""

# the one byte that MessagePack never uses: so a mark goes in the place of any other payload
_MARKED = b"\xc1"


def _marked() -> Codec[Mark]:
    of = _of(Mark)
    return Codec(lambda mark: _MARKED + of.encode(mark), lambda raw: of.decode(raw[1:]))


MARK: Codec[Mark] = _marked()


def is_mark(raw: bytes) -> bool:
    """Whether the bytes, which may be of any codec here, are a mark's."""
    return raw[:1] == _MARKED


CHANGE: Codec[Change] = _of(Change)
NOTIFICATION: Codec[ObjectChange] = _of(ObjectChange)
UNSETTLED: Codec[Unsettled] = _of(Unsettled)
PLAN: Codec[Plan] = _of(Plan)
EMBEDDED: Codec[Embedded] = _of(Embedded)
ANSWER: Codec[Answer] = _of(Answer)
RECORD: Codec[RecordChange] = _of(RecordChange)
RECORD_SWEEP: Codec[RecordSweep] = _of(RecordSweep)
DELIVERY: Codec[Delivery] = _of(Delivery)
KPI_CHANGE: Codec[KpiChange] = _of(KpiChange)
REJECTED: Codec[tuple[Outcome, ...]] = _of(tuple[Outcome, ...])
SAID: Codec[conversations.Event] = Codec(
    msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(conversations.Turn | conversations.Feedback).decode
)
WRITTEN: Codec[Written] = _of(Written)
ASSIGNED: Codec[dict[str, list[Assigned]]] = _of(dict[str, list[Assigned]])
"""One slot's shards, by stream."""
