"""Requests that wait until a change is there: one look a moment, for all of an index's that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from core.errors import PositionError
from core.shards.progress import Standing
from core.stores.contract import Stood
from core.stores.filters.language import EVERYTHING, Filter
from operations.freshness import Wanted
from operations.index import Index
from serving.problems import Refused
from serving.shapes import as_of

_EVERY_S = 0.008

OfStore = Callable[[Callable[[], Any]], Awaitable[Any]]
"""What a store answers, in a thread. Raises Refused where it doesn't."""


@dataclass(eq=False, slots=True)
class _Waiter:
    """`came` says by what the change was seen: by the document, or by the whole index."""

    wanted: Wanted
    came: asyncio.Future[str]


class Waiting:
    """All that wait for changes of one index."""

    def __init__(self, name: str, index: Index, of_store: OfStore) -> None:
        self._name = name
        self._index = index
        self._of_store = of_store
        self._waiters: dict[_Waiter, None] = {}
        self._looking: asyncio.Task[None] | None = None

    async def until(self, wanted: Wanted, granted: Filter, patience_s: float) -> None:
        """Return once the change is there. Raises Refused, with 504, where that takes longer than `patience_s`.

        Whoever may not see a document hears nothing of its changes: then all of the index must be as far.
        """
        try:
            async with asyncio.timeout(patience_s):
                if await self._came(wanted) == "document" and not await self._may_see(wanted, granted):
                    await self._came(Wanted(wanted.text, "", wanted.place, wanted.position))
        except TimeoutError:
            raise await self._too_long(wanted, patience_s) from None
        except PositionError as error:
            raise Refused(422, f"wait_for.{error}", "wait_for.position") from None

    async def _came(self, wanted: Wanted) -> str:
        waiter = _Waiter(wanted, asyncio.get_running_loop().create_future())
        self._waiters[waiter] = None
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            return await waiter.came
        finally:
            self._waiters.pop(waiter, None)

    async def _may_see(self, wanted: Wanted, granted: Filter) -> bool:
        if granted == EVERYTHING:
            return True
        return await self._of_store(partial(self._index.document, wanted.document_id, granted)) is not None

    async def _too_long(self, wanted: Wanted, patience_s: float) -> Refused:
        fresh = as_of(await self._of_store(self._index.fresh))
        stands = f"is at {fresh.position}" if fresh.position else "doesn't know how far it is"
        stands += f", committed at {fresh.committed_at}" if fresh.committed_at else ""
        stands += f"; no job has written since {fresh.stale_since or 'it was made'}" if fresh.stale else ""
        what = f"document {wanted.document_id!r} at {wanted.text}" if wanted.document_id else wanted.text
        return Refused(504, f"after {patience_s:g} s {what} isn't there: index {self._name} {stands}", "wait_for")

    async def _look(self) -> None:
        while self._waiters:
            now = list(self._waiters)
            ids = sorted({each.wanted.document_id for each in now if each.wanted.document_id})
            try:
                fresh, stood = await self._of_store(partial(self._index.stood, ids))
            except Refused as refused:
                for each in now:
                    _end(each.came, refused)
            else:
                for each in now:
                    _tell(each, fresh, stood)
            await asyncio.sleep(_EVERY_S)


def _tell(waiter: _Waiter, fresh: Standing, stood: Mapping[str, Stood]) -> None:
    wanted = waiter.wanted
    try:
        # the index first: else an answer would come later where a document is there that its key may not see
        if wanted.is_in_index(fresh):
            _end(waiter.came, "index")
        elif wanted.document_id and wanted.is_in_document(stood.get(wanted.document_id)):
            _end(waiter.came, "document")
    except PositionError as error:
        _end(waiter.came, error)


def _end(came: asyncio.Future[str], how: str | Exception) -> None:
    if came.done():
        return
    if isinstance(how, str):
        came.set_result(how)
    else:
        came.set_exception(how)
