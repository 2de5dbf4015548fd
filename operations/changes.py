"""What the stores of a pipeline apply, as it is applied: listened to from now on, or from where one was before."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from threading import Lock

import msgspec

from connectors.kafka.outcomes import Tail
from core.config.pipeline import Pipeline
from core.errors import ChangesGone, ConfigError
from core.stores.filters.language import Filter
from core.stores.outcomes import Heard, heard

_MOST_DIGITS = 18
_AT_ONCE = 256 << 10
_MOMENT_S = 0.2


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a topic a listener is: which topic of its name it is, and what comes next of each partition."""

    log: str
    offsets: Mapping[int, int]

    def __str__(self) -> str:
        """The text of which `place_of` makes it again."""
        return f"{self.log}.{','.join(f'{partition}-{offset}' for partition, offset in sorted(self.offsets.items()))}"


def place_of(text: str) -> Place | None:
    """The place that a text names; None where it names none."""
    log, _, rest = text.partition(".")
    pairs = [each.partition("-")[::2] for each in rest.split(",")]
    if not all(_is_number(partition) and _is_number(offset) for partition, offset in pairs):
        return None
    return Place(log, {int(partition): int(offset) for partition, offset in pairs})


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS


def look_back(
    pipeline: Pipeline, store: str, among: Filter, last: Place | None, back: int, most: int, patience_s: float
) -> tuple[list[tuple[Place, Heard]], Place]:
    """What changed since a place, or the last `most` of the last `back` messages a partition; and where to go on.

    Since a place it is the first `most` changes. What isn't read after `patience_s` is left for the next time.
    Raises as `Listener` does.
    """
    listener = Listener(pipeline, store, among, last, back)
    until = time.monotonic() + patience_s
    try:
        found: list[tuple[Place, Heard]] = []
        while not listener.is_at_its_end and time.monotonic() < until and (last is None or len(found) < most):
            found += listener.next(min(_MOMENT_S, patience_s))
        if last is None:
            return found[-most:], listener.place
        return found[:most], found[most - 1][0] if len(found) >= most else listener.place
    finally:
        listener.close()


class Listener:
    """One who listens to what a store of a pipeline applies, and hears what passes a filter."""

    def __init__(self, pipeline: Pipeline, store: str, among: Filter, last: Place | None, back: int = 0) -> None:
        """From `last` on, or from now, or from so many messages of each partition before that.

        Raises ConfigError where the pipeline writes no outcomes, or hasn't begun to; ChangesGone where the topic has no
        more what is next at `last`; Unavailable where its cluster doesn't answer.
        """
        cluster, topic = pipeline.outcomes_topic
        self._of, self._among = (pipeline.name, store), among
        self._one, self._is_over = Lock(), False
        self._tail = Tail(cluster, topic)
        try:
            self.place = self._begin(topic, last, back)
        except BaseException:
            self._tail.close()
            raise

    @property
    def is_at_its_end(self) -> bool:
        """Whether all is heard that was there as it began."""
        return all(self.place.offsets.get(partition, 0) >= end for partition, end in self._ends.items())

    def _begin(self, topic: str, last: Place | None, back: int) -> Place:
        ends = self._tail.ends()
        if not ends:
            raise ConfigError([f"outcomes.kafka.topic: there is no topic {topic}; `freshet run` makes it"])
        self._ends = {partition: end for partition, (_, end) in ends.items()}
        now = Place(self._tail.log(), {partition: max(first, end - back) for partition, (first, end) in ends.items()})
        place = now if last is None else replace(now, offsets=dict.fromkeys(ends, 0) | dict(last.offsets))
        if last is not None and last.log != now.log:
            raise ChangesGone(f"topic {topic} was made anew since")
        for partition, offset in place.offsets.items():
            first, end = ends.get(partition, (0, -1))
            if not first <= offset <= end:
                raise ChangesGone(f"topic {topic} has {first:,} to {end:,} of partition {partition}, not {offset:,}")
        self._tail.begin(place.offsets)
        return place

    def next(self, wait_s: float) -> list[tuple[Place, Heard]]:
        """The changes heard by now, each with the place behind it; waits up to `wait_s` for the first message.

        Raises as `Tail.next`.
        """
        with self._one:
            return [] if self._is_over else list(self._heard(wait_s))

    def _heard(self, wait_s: float) -> Iterator[tuple[Place, Heard]]:
        for partition, offset, value in self._tail.next(wait_s, _AT_ONCE):
            self.place = replace(self.place, offsets={**self.place.offsets, partition: offset + 1})
            try:
                said = heard(value, *self._of, self._among)
            except msgspec.MsgspecError:
                continue  # somebody else's
            if said is not None:
                yield self.place, said

    def close(self) -> None:
        """Listen no more, once `next` has returned."""
        with self._one:
            self._is_over = True
            self._tail.close()
