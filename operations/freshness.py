"""How fresh an index is, and whether a change is in it by now."""

from __future__ import annotations

import time
from dataclasses import dataclass

from core.change import BEGINNING, Position
from core.config.pipeline import Pipeline
from core.errors import ConfigError, PositionError, quote
from core.formats.debezium.places import is_ours, is_past, place_from
from core.shards.progress import Progress, Standing, standing
from core.stores.contract import Stood, VectorStore

_ASKED_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Wanted:
    """A change that somebody waits for.

    text         what they wrote
    document_id  of one document; "": of any that was committed before
    place        in the source's log; "": `position` is one of the document's own, as a store has it
    """

    text: str
    document_id: str = ""
    place: str = ""
    position: Position = BEGINNING

    def is_in_index(self, fresh: Standing) -> bool:
        """Whether all that was committed before is there. Raises PositionError for a place in another kind of log."""
        if self.place and fresh.place and len(self.place) != len(fresh.place):
            raise PositionError(f"position is {quote(self.text)}, which is no place in the log of this source")
        return self.place != "" and fresh.place >= self.place

    def is_in_document(self, stood: Stood | None) -> bool:
        """Whether the document shows it, or a later change."""
        if stood is None:
            return False
        return is_past(stood.position, self.place) if self.place else stood.position >= self.position


def wanted(pipeline: Pipeline, text: str, document_id: str = "") -> Wanted:
    """What is waited for. Raises PositionError for what can't be compared with what the pipeline's stores know."""
    if not pipeline.events.of_debezium or pipeline.makes_profiles:
        if not document_id:
            raise PositionError(
                f"position is {quote(text)}: positions of {_what(pipeline)} order the changes of one document alone; "
                "give its document_id too"
            )
        return Wanted(text, document_id, position=Position(text))
    if document_id and is_ours(text):
        return Wanted(text, document_id, position=Position(text))
    place = place_from(text)
    if not document_id and not pipeline.reads_kafka:
        raise PositionError(
            f"position is {quote(text)}: of all that {pipeline.source.name} tells nobody knows how far it is read; "
            "give a document_id too"
        )
    return Wanted(text, document_id, place)


def _what(pipeline: Pipeline) -> str:
    return "profiles" if pipeline.makes_profiles else f"the format {pipeline.format.name}"


class Freshness:
    """What a store's job says of itself, asked at most ten times a second: an older answer claims less.

    Several may ask at once.
    """

    def __init__(self) -> None:
        self._known: tuple[float, Progress | None] = (float("-inf"), None)

    def of(self, store: VectorStore) -> Standing:
        """How fresh, at the least, what the store answers from now on is. Raises Unavailable as the store does."""
        asked_s = time.monotonic()
        if asked_s > self._known[0] + _ASKED_EVERY_S:
            try:
                found = store.progress()
            except ConfigError:
                found = None  # who may read the chunks alone can't see what a job says
            self._known = (asked_s, found)
        return standing(self._known[1], time.time_ns() // 1_000_000)
