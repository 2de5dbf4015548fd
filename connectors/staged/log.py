"""A log that documents are staged to, whichever system keeps it: records of documents and of what is said beside them.

`connectors/kafka/staged/` has one in topics, `connectors/kinesis/staged/` one in a stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from connectors.patience import Answer
from core.stores.contract import Stood
from core.stores.staged import Key, Place

Sent = tuple[Key, bytes | None, Stood | None]
"""A record of a document, or of a part of one, that is to be sent: its key and its value. Without a value it is
deleted, by the change that comes third; None: it is as if it had never been."""


@dataclass(frozen=True, slots=True)
class OfDocument:
    """A record of a document, as it was read. Without a value it is deleted; `deleted` by which change, where it says.

    Of another program's record the key may be anything.
    """

    key: Key
    value: bytes | None
    deleted: Stood | None
    place: Place


@dataclass(frozen=True, slots=True)
class OfLedger:
    """A record of the ledger, as it was read."""

    key: bytes
    value: bytes | None


class Log(Protocol):
    """Connects when first asked. What may fail raises what `once` and `patiently` take for ours, and is called in them;
    `all` alone is read outside of them, and raises Unavailable or ConfigError itself.
    """

    @property
    def setting(self) -> str:
        """What names it in a pipeline file, as in `store.kafka`."""

    @property
    def place(self) -> str:
        """As messages name it: its setting, and what it is called, as in `store.kafka.topic: articles`."""

    @property
    def largest_record(self) -> int:
        """Bytes of a key and its value."""

    @property
    def readable_at_once(self) -> int:
        """How many records `at` reads in a time that a batch can wait."""

    @property
    def rest_s(self) -> float:
        """The least time between two records of how far a run is."""

    def once(self, call: Callable[[], Answer]) -> Answer:
        """What `call` returns; a second attempt, in case a server was restarted. Raises Unavailable, ConfigError."""

    def patiently(self, call: Callable[[], Answer]) -> Answer:
        """As `once`, with attempts for as long as the store was opened to wait."""

    def make(self) -> None:
        """Make what is missing. Raises ConfigError where what is there doesn't fit."""

    def look(self) -> bool:
        """Whether all is there that `make` makes. Raises ConfigError where it doesn't fit."""

    def new(self) -> Iterator[OfDocument | OfLedger]:
        """The records that weren't read yet, up to the log's end now, a document's in their order.

        All that was flushed is among them. After a failure it goes on where it stood.
        """

    def keeps(self, place: Place) -> bool:
        """Whether the record at a place that was read is still there, as far as is known."""

    def at(self, places: Sequence[Place]) -> dict[Place, bytes]:
        """The values at places; those that are gone are left out."""

    def all(self) -> Iterator[tuple[Place, bytes | None]]:
        """Each record of documents there is, up to the log's end now."""

    def append(self, document_id: str, sent: Sequence[Sent]) -> None:
        """Queue records of a document, behind those of it that are queued."""

    def note(self, key: bytes, value: bytes | None) -> None:
        """Queue a record of the ledger."""

    def flush(self) -> None:
        """Wait until all that is queued is acknowledged. Where it raises nothing is queued any more."""

    def fading(self) -> Sequence[bytes]:
        """The keys of the ledger that must be noted again, or the log would forget them."""

    def close(self) -> None:
        """Give connections back."""
