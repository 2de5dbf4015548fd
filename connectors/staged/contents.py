"""The contents of a log as its writer knows them: followed to its end, appended to, and read again by their places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from connectors.staged.ledger import OWNER, Said
from connectors.staged.log import Log, OfLedger, Sent
from core.errors import DecodeError
from core.stores.contract import Stood
from core.stores.fingerprint import owner_to_text
from core.stores.staged import Index, Known, Maker, Part, Place, Staged, document_of, joined, key_of, read, records

_SCAN_FROM = 50
"""Records from which on the whole log is read instead of each by its place."""


class Contents:
    """What a log says, in memory, and what is appended to it."""

    def __init__(self, log: Log, by: Maker) -> None:
        self.log = log
        self._by = by
        self.begin()

    def begin(self) -> None:
        """Know nothing: the log is read from its beginning next."""
        self.index, self.said = Index(), Said()
        self.changed: set[str] = set()
        self._again: dict[str, Known] = {}

    def catch_up(self) -> None:
        """Read what is new. What was appended behind something later is noted, for `mend`."""
        for record in self.log.new():
            if isinstance(record, OfLedger):
                if (later := self.said.take(record.key, record.value)) is not None:
                    self.tell(OWNER, owner_to_text(later))
                continue
            try:
                document_id, _ = document_of(record.key)
                passed = self.index.take(record.key, record.value, record.deleted, record.place)
            except (DecodeError, ValueError):
                continue  # not ours: whoever wrote it
            self.changed.add(document_id)
            if passed is not None:
                self._again[document_id] = passed

    def tell(self, key: bytes, text: str) -> None:
        """Append to the ledger, and wait until it is there."""
        self.log.note(key, text.encode())
        self.log.flush()

    def renew(self) -> None:
        """Say again of the ledger what the log would forget."""
        for key in self.log.fading():
            if (text := self.said.text(key)) is not None:
                self.tell(key, text)

    def append(self, staged: Staged) -> None:
        """A document, whole; what it had of further parts goes. Raises StoreRejected where no record holds it."""
        self.append_records(staged.document_id, records(staged, self._by, self.log.largest_record))

    def append_records(self, document_id: str, made: Sequence[tuple[bytes, bytes]]) -> None:
        """The records of a document, in their order."""
        known = self.index.known.get(document_id)
        before = 0 if known is None else len(known.places)
        gone: list[Sent] = [(key_of(document_id, number), None, None) for number in range(len(made), before)]
        self.log.append(document_id, [*gone, *((*each, None) for each in made)])

    def delete(self, document_id: str, by: Stood | None) -> None:
        """Delete all parts of a document; `by` which change it is deleted, None: it never was."""
        known = self.index.known.get(document_id)
        parts = 1 if known is None else max(1, len(known.places))
        gone: list[Sent] = [(key_of(document_id, number), None, by) for number in range(parts)]
        self.log.append(document_id, gone[::-1])

    def mend(self) -> None:
        """Append again what something earlier was appended behind: the last record of a key is what stays."""
        again, self._again = self._again, {}
        for document_id, passed in again.items():
            if self.index.known.get(document_id) != passed:
                continue
            if not passed.places:
                self.delete(document_id, Stood(passed.position, passed.committed_ms))
            elif (staged := self.documents({document_id: passed}).get(document_id)) is not None:
                self.append(staged)

    def is_kept(self, known: Known) -> bool:
        """Whether the log still has the records of a document that isn't deleted."""
        return bool(known.places) and all(map(self.log.keeps, known.places))

    def living(self) -> Mapping[str, Known]:
        """The documents that are there."""
        return {each: known for each, known in self.index.living().items() if self.is_kept(known)}

    def documents(self, known: Mapping[str, Known]) -> dict[str, Staged]:
        """Documents, read by the places of their records; one of which the log has let any go is left out."""
        wanted = {place: each for each, of in known.items() for place in of.places}
        parts: dict[str, dict[int, Part]] = {}
        for place, value in self._values(list(wanted)):
            part = read(value)
            parts.setdefault(wanted[place], {})[part.number] = part
        whole = {each: of for each, of in parts.items() if len(of) == len(known[each].places)}
        return {each: joined([of[number].staged for number in sorted(of)]) for each, of in whole.items()}

    def _values(self, places: Sequence[Place]) -> Iterator[tuple[Place, bytes]]:
        if len(places) < _SCAN_FROM:
            yield from self.log.at(places).items()
            return
        wanted = set(places)
        for place, value in self.log.all():
            if place in wanted and value is not None:
                yield place, value

    def everything(self) -> Iterator[Staged]:
        """Every document, in one pass over the log; memory is bounded. Raises Unavailable, ConfigError."""
        places = {place: each for each, known in self.living().items() for place in known.places}
        parts: dict[str, list[Part]] = {}
        for place, value in self.log.all():
            if place not in places or value is None:
                continue
            part = read(value)
            of = parts.setdefault(places[place], [])
            of.append(part)
            if len(of) == part.of:
                del parts[places[place]]
                yield joined([each.staged for each in sorted(of, key=lambda each: each.number)])
