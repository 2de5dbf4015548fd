"""What is known of a source's log once events of it have been read."""

from __future__ import annotations

from collections.abc import Iterable

from core.change import Change, Event, Skip, Truncate
from core.formats.debezium.places import heartbeat, place_of
from core.shards.progress import Reached, later

Said = Change | Truncate | Skip
"""What an event says."""


class Claims:
    """How far each partition is read, by one who reads several.

    has_places  whether positions are those of a log: else they order the changes of one key alone
    """

    def __init__(self, has_places: bool) -> None:
        self._has_places = has_places
        self._reached: dict[str, Reached] = {}
        self._last_ms: dict[str, int | None] = {}
        self._sources: set[str] = set()

    @property
    def reached(self) -> dict[str, Reached]:
        """By partition, as in `topic/3`."""
        return self._reached

    @property
    def sources(self) -> list[str]:
        """The databases of which changes were read, in order."""
        return sorted(self._sources - {""})

    def take(self, event: Event, said: Iterable[Said]) -> None:
        """Take an event for read that said this."""
        name = f"{event.topic}/{event.partition}"
        known = self._reached.get(name)
        read = Reached(event.offset) if known is None else Reached(event.offset, known.place, known.committed_ms)
        for each in said:
            if isinstance(each, Skip):
                read = (heartbeat(event) if each is Skip.PLACE else None) or read
            elif not self._has_places:
                read = Reached(event.offset, "", each.committed_ms)
            elif not (isinstance(each, Change) and each.snapshot):
                read = self._of_change(event.offset, name, each, read)
        self._reached[name] = later(known, read)

    def _of_change(self, offset: int, name: str, change: Change | Truncate, read: Reached) -> Reached:
        """Before a change came all that was committed before its transaction, and it was committed then."""
        self._sources.add(change.source)
        place = place_of(change.position)
        if place > read.place:
            read = Reached(offset, place, self._last_ms.get(name, read.committed_ms))
        self._last_ms[name] = change.committed_ms
        return read
