"""Conversations, written as they happen: turns without holding an answer up, feedback before it is acknowledged."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any, Protocol

from connectors.aws.client import Aws
from core.config.conversations import Conversations as Settings
from core.config.conversations import ConversationsStream, ConversationsTarget, ConversationsTopic
from core.errors import ConfigError, FreshetError
from core.formats.conversations import Event, message
from serving.figures import Figures
from serving.problems import Refused

_MOST_WAITING = 10_000
_MOST_BYTES = 64 << 20
_AT_ONCE = 500
_AGAIN_S = 1.0
_END_S = 10.0

_log = logging.getLogger(__name__)


class Place(Protocol):
    """Where events are written, by one thread."""

    @property
    def room(self) -> int:
        """Bytes that an event may have, its key included."""

    def write(self, events: Sequence[tuple[bytes, bytes]]) -> None:
        """Write (key, value) pairs in their order. Raises Unavailable, or ConfigError where one is refused for good."""


def _topic(to: ConversationsTopic) -> Place:
    from connectors.kafka.events import ToTopic

    return ToTopic(to.kafka, to.topic, "conversations.kafka.topic")


def _stream(to: ConversationsStream) -> Place:
    # imported late: an extra's
    from connectors.kinesis.events import ToStream

    return ToStream(to.stream, Aws(to.region, to.endpoint), "conversations.kinesis.aws.endpoint")


PLACES: Mapping[type[ConversationsTarget], Callable[[Any], Place]] = {
    ConversationsTopic: _topic,
    ConversationsStream: _stream,
}
"""By the kinds of settings. One that is added has its opener here."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An event on its way; `written` is of whoever waits for it."""

    key: bytes
    value: bytes
    written: Future[None] | None

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.key) + len(self.value)


class Conversations:
    """Writes what it is given, in its order. What waits is in memory: a server that is killed takes it along."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._changed = Condition()
        self._ending = False
        self._figures: Figures | None = None

    def count_in(self, figures: Figures) -> None:
        """Count what becomes of events."""
        self._figures = figures

    def tell(self, event: Event) -> None:
        """Have an event written, and wait for nothing. Where 10,000 wait, or 64 MiB, the oldest are dropped."""
        self._put(event, None)

    async def written(self, event: Event) -> None:
        """Return once an event is written. Raises Refused where it isn't."""
        done: Future[None] = Future()
        self._put(event, done)
        try:
            await asyncio.wrap_future(done)
        except FreshetError as error:
            _log.warning("conversations: %s", error)
            why = "it can't be written now: send it again"
            raise Refused(503, why, "", {"Retry-After": "1"}) from None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write until the block ends, and then what still waits, for up to ten seconds."""
        thread = Thread(target=self._work, name="conversations", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._ending = True
                self._changed.notify()
            thread.join(_END_S)

    def _put(self, event: Event, done: Future[None] | None) -> None:
        each = _Waiting(*message(event), done)
        with self._changed:
            while self._waiting and (len(self._waiting) >= _MOST_WAITING or self._bytes + each.size > _MOST_BYTES):
                self._end(self._take(), ConfigError(["too many events wait"]))
            self._waiting.append(each)
            self._bytes += each.size
            self._changed.notify()

    def _take(self) -> _Waiting:
        first = self._waiting.popleft()
        self._bytes -= first.size
        return first

    def _work(self) -> None:
        while batch := self._next():
            fits = []
            for each in batch:
                if each.size <= self._place.room:
                    fits.append(each)
                else:
                    self._end(each, ConfigError([f"an event has {len(each.value):,} bytes, more than its place takes"]))
            self._write(fits)

    def _next(self) -> list[_Waiting]:
        with self._changed:
            while not self._waiting and not self._ending:
                self._changed.wait()
            return [self._take() for _ in range(min(_AT_ONCE, len(self._waiting)))]

    def _write(self, batch: Sequence[_Waiting], behind: Sequence[_Waiting] = ()) -> bool:
        """Write a batch; whether to go on: where its place is away it is put back, and what comes `behind` with it."""
        try:
            self._place.write([(each.key, each.value) for each in batch])
        except ConfigError as error:
            # one of several is refused: each by itself, so that the others are written
            if len(batch) > 1:
                return all(self._write([each], batch[at:]) for at, each in enumerate(batch, start=1))
            self._end(batch[0], error)
        except FreshetError as error:
            self._put_back([*batch, *behind], error)
            return False
        else:
            for each in batch:
                self._end(each, None)
        return True

    def _put_back(self, batch: Sequence[_Waiting], error: FreshetError) -> None:
        """Have turns wait before all others, and say of what is waited for that it isn't written."""
        _log.warning("conversations: %s", error)
        turns = [each for each in batch if each.written is None]
        for each in batch:
            if each.written is not None:
                self._end(each, error)
        with self._changed:
            self._waiting.extendleft(reversed(turns))
            self._bytes += sum(each.size for each in turns)
            if self._ending:
                self._drop_all(error)
            self._changed.wait(_AGAIN_S)

    def _drop_all(self, error: FreshetError) -> None:
        while self._waiting:
            self._end(self._take(), error)

    def _end(self, each: _Waiting, error: FreshetError | None) -> None:
        if self._figures is not None:
            self._figures.event("written" if error is None else "dropped")
        if error is not None and each.written is None:
            _log.warning("conversations: an event is dropped: %s", error)
        if each.written is None or not each.written.set_running_or_notify_cancel():
            return
        if error is None:
            each.written.set_result(None)
        else:
            each.written.set_exception(error)


@contextmanager
def opened(settings: Settings | None) -> Iterator[Conversations | None]:
    """Write conversations to the place that the file names, until the block ends; None where it names none.

    Raises ConfigError where there is no such place, Unavailable where nobody answers there.
    """
    if settings is None:
        yield None
        return
    conversations = Conversations(PLACES[type(settings.chosen)](settings.chosen))
    with conversations.writing():
        yield conversations
