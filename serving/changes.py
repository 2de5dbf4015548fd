"""`GET /v1/changes`: documents as they change, as server-sent events (WHATWG HTML, 9.2).

Each listener has a consumer of its own, which is asked for more once the last was taken: so a slow one keeps nobody
waiting, and nothing gathers for it here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from core.errors import ChangesGone, FreshetError
from core.stores.filters.language import EVERYTHING, Filter, both
from core.stores.outcomes import Cleared, Gone, Heard, There
from operations.changes import Listener, Place
from serving import reading
from serving.event_stream import EventStream
from serving.figures import Figures
from serving.offer import OpenIndex
from serving.outcomes import check_kept, place, refusing
from serving.problems import Refused
from serving.shapes import ChangedDocument, ClearedTable, GoneDocument

_WAIT_S = 0.5
_HEARTBEAT_S = 15.0
_LET_IN_S = 1.0
_SLOW_S = 20.0
_AGAIN_MS = 2_000
_LAST = "Last-Event-ID"

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Hearing:
    """One who listens: to which index, and whether they still may."""

    index: str
    listener: Listener
    is_let_in: Callable[[], bool]


class Streams:
    """The streams of one server, at most so many at once, until it is `over`."""

    def __init__(self, most: int, figures: Figures, over: Event) -> None:
        self._most = most
        self._figures = figures
        self._over = over
        self._open: Counter[Filter] = Counter()
        # each has one that waits, and may have one that is closed
        self._threads = ThreadPoolExecutor(2 * max(1, most), "changes")

    async def stream(
        self, request: Request, index: str, opened: OpenIndex, granted: Filter, is_let_in: Callable[[], bool]
    ) -> Response:
        """The changes of an index, of documents that pass `granted` and what the request asks for. Raises Refused."""
        asked = reading.filter_of(request.query_params.get("filter", "{}"), opened.index.columns)
        among = both(granted, asked)
        last = place(request.headers.get("Last-Event-ID") or None, _LAST, "id of an event of this server's")
        check_kept(index, opened)
        self._take_place(granted)
        try:
            listener = await self._listener(partial(Listener, opened.pipeline, opened.index.name, among, last))
        except BaseException:
            self._open[granted] -= 1
            raise
        self._figures.listening(index, 1)
        events = self._events(_Hearing(index, listener, is_let_in))
        return EventStream(events, partial(self._closed, index, granted, listener))

    def _take_place(self, granted: Filter) -> None:
        """Count one who listens. Raises Refused where no place is left; who sees a part has half of them."""
        self._open = +self._open
        room = self._most if granted == EVERYTHING else (self._most + 1) // 2
        if self._open.total() >= self._most or self._open[granted] >= room:
            raise Refused(503, f"{self._open.total()} listen already: ask again later", "", {"Retry-After": "30"})
        self._open[granted] += 1

    async def _listener(self, make: Callable[[], Listener]) -> Listener:
        making = self._threads.submit(make)
        with refusing(_LAST, f"search anew, and listen without {_LAST}"):
            try:
                return await asyncio.shield(asyncio.wrap_future(making))
            except BaseException:
                making.add_done_callback(lambda made: None if made.exception() else made.result().close())
                raise

    async def _events(self, hearing: _Hearing) -> AsyncIterator[bytes]:
        looked = said = time.monotonic()
        yield f"retry: {_AGAIN_MS}\n".encode() + _still(hearing.listener.place)
        while (why := self._why_over(hearing, looked)) == "":
            looked = time.monotonic() if time.monotonic() > looked + _LET_IN_S else looked
            try:
                found = await self._in_thread(partial(hearing.listener.next, _WAIT_S))
            except FreshetError as error:
                _log.warning("changes of index %s: %s", hearing.index, error)
                why = "gone" if isinstance(error, ChangesGone) else "unavailable"
                break
            if not found and time.monotonic() < said + _HEARTBEAT_S:
                continue
            said = time.monotonic()
            yield b"".join(_event(*each) for each in found) or _still(hearing.listener.place)
            self._figures.sent(hearing.index, len(found))
            if time.monotonic() > said + _SLOW_S:
                why = "slow"
                break
        yield _end(why, hearing.listener.place)

    def _why_over(self, hearing: _Hearing, looked: float) -> str:
        if self._over.is_set():
            return "stopping"
        return "" if time.monotonic() < looked + _LET_IN_S or hearing.is_let_in() else "forbidden"

    async def _in_thread(self, ask: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, ask)

    def _closed(self, index: str, granted: Filter, listener: Listener) -> None:
        self._figures.listening(index, -1)
        self._open[granted] -= 1
        self._threads.submit(listener.close)


def _event(place: Place, said: Heard) -> bytes:
    match said:
        case There(document_id, position, committed_ms, metadata):
            name, body = "changed", _encode(ChangedDocument(document_id, position, committed_ms, msgspec.Raw(metadata)))
        case Gone(document_id, position, committed_ms):
            name, body = "gone", _encode(GoneDocument(document_id, position, committed_ms))
        case Cleared(_, table, before):
            name, body = "cleared", _encode(ClearedTable(table, before))
    return f"event: {name}\nid: {place}\ndata: ".encode() + body + b"\n\n"


def _still(place: Place) -> bytes:
    """A comment, which is no event, and from where on to listen again."""
    return f": listening\nid: {place}\n\n".encode()


def _end(why: str, place: Place) -> bytes:
    return f'event: end\nid: {place}\ndata: {{"reason":"{why}"}}\n\n'.encode()
