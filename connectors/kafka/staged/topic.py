"""A staged topic as its writer knows it: followed to its end, appended to, and read again by the places of records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from confluent_kafka import KafkaException

from connectors.kafka.staged.ledger import OWNER, Said
from connectors.kafka.staged.log import Headers, Log
from core.change import Position
from core.errors import DecodeError
from core.stores.contract import Stood
from core.stores.fingerprint import owner_to_text
from core.stores.staged import Index, Known, Maker, Part, Staged, document_of, joined, key_of, read, records

_POSITION, _COMMITTED, _FORGOTTEN = "position", "committed_ms", "forgotten"
_SCAN_FROM = 50
"""Records from which on the whole topic is read instead of each by its place."""


class Topic:
    """What both topics say, in memory, and what is appended to them. `largest`: bytes of a record."""

    def __init__(self, log: Log, by: Maker, largest: int) -> None:
        self.log = log
        self._by = by
        self._largest = largest
        self.begin()

    def begin(self) -> None:
        """Know nothing: both are read from their beginnings next."""
        self.index, self.said = Index(), Said()
        self.changed: set[str] = set()
        self._again: dict[str, Known] = {}

    def catch_up(self) -> None:
        """Read what is new. What was appended behind something later is noted, for `mend`."""
        for message in self.log.new():
            key, value, place = message.key() or b"", message.value(), (message.partition(), message.offset())
            if message.topic() == self.log.ledger:
                if (later := self.said.take(key, value)) is not None:
                    self.tell(OWNER, owner_to_text(later))
                continue
            try:
                document_id, _ = document_of(key)
                passed = self.index.take(key, value, _deleted(message.headers() or ()), place)
            except (DecodeError, ValueError):
                continue  # not ours: whoever wrote it
            self.changed.add(document_id)
            if passed is not None:
                self._again[document_id] = passed

    def tell(self, key: bytes, text: str) -> None:
        """Append to the ledger, and wait until it is there."""
        self.log.send(self.log.ledger, b"", [(key, text.encode(), ())])
        self.log.flush()

    def append(self, staged: Staged) -> None:
        """A document, whole; what it had of further parts goes. Raises StoreRejected where no record holds it."""
        self.append_records(staged.document_id, records(staged, self._by, self._largest))

    def append_records(self, document_id: str, made: Sequence[tuple[bytes, bytes]]) -> None:
        """The records of a document, in their order."""
        known = self.index.known.get(document_id)
        before = 0 if known is None else len(known.places)
        gone = [(key_of(document_id, number), None, ()) for number in range(len(made), before)]
        self.log.send(self.log.topic, document_id.encode(), [*gone, *((*each, ()) for each in made)])

    def delete(self, document_id: str, by: Stood | None) -> None:
        """Tombstones for all parts of a document; `by` which change it is deleted, None: it never was."""
        known = self.index.known.get(document_id)
        parts = 1 if known is None else max(1, len(known.places))
        headers = ((_FORGOTTEN, b""),) if by is None else _headers(by)
        gone = [(key_of(document_id, number), None, headers) for number in range(parts)]
        self.log.send(self.log.topic, document_id.encode(), gone[::-1])

    def mend(self) -> None:
        """Append again what something earlier was appended behind: the last record of a key is what stays."""
        again, self._again = self._again, {}
        for document_id, passed in again.items():
            if self.index.known.get(document_id) != passed:
                continue
            if passed.places:
                self.append(self.documents({document_id: passed})[document_id])
            else:
                self.delete(document_id, Stood(passed.position, passed.committed_ms))

    def documents(self, known: Mapping[str, Known]) -> dict[str, Staged]:
        """Documents, read by the places of their records. Raises KafkaException."""
        wanted = {place: each for each, of in known.items() for place in of.places}
        parts: dict[str, dict[int, Part]] = {}
        for place, value in self._values(list(wanted)):
            part = read(value)
            parts.setdefault(wanted[place], {})[part.number] = part
        return {each: joined([of[number].staged for number in sorted(of)]) for each, of in parts.items()}

    def _values(self, places: Sequence[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], bytes]]:
        if len(places) < _SCAN_FROM:
            yield from self.log.at(places).items()
            return
        wanted = set(places)
        for place, value in self.log.all():
            if place in wanted and value is not None:
                yield place, value

    def everything(self) -> Iterator[Staged]:
        """Every document, in one pass over the topic; memory is bounded. Raises Unavailable, ConfigError."""
        places = {place: each for each, known in self.index.living().items() for place in known.places}
        parts: dict[str, list[Part]] = {}
        try:
            for place, value in self.log.all():
                if place not in places or value is None:
                    continue
                part = read(value)
                of = parts.setdefault(places[place], [])
                of.append(part)
                if len(of) == part.of:
                    del parts[places[place]]
                    yield joined([each.staged for each in sorted(of, key=lambda each: each.number)])
        except KafkaException as error:
            raise self.log.meaning(error.args[0]) from error


def _headers(by: Stood) -> Headers:
    position = (_POSITION, by.position.encode())
    return (position,) if by.committed_ms is None else (position, (_COMMITTED, b"%d" % by.committed_ms))


def _deleted(headers: Headers) -> Stood | None:
    """Which change deleted a document, as a tombstone says. Raises ValueError where that is no text, or no number."""
    said = dict(headers)
    if _POSITION not in said:
        return None
    committed = said.get(_COMMITTED)
    return Stood(Position(said[_POSITION].decode()), None if committed is None else int(committed))
