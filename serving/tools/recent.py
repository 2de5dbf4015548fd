"""Documents that changed lately, as whoever asks may know of them."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from core.stores.filters.language import Filter, both
from core.stores.outcomes import Cleared, Gone, Heard, There
from operations.changes import look_back
from serving import reading
from serving.lanes import Lanes
from serving.offer import OpenIndex
from serving.outcomes import check_kept, place, refusing
from serving.shapes import moment
from serving.tools.shapes import Changed, ChangesAsked, Recent

_THREADS = 4
_BACK = 1_000
_PATIENCE_S = 10.0


class RecentChanges:
    """Reads topics of outcomes a little back. Each who sees a part has half of its threads."""

    def __init__(self) -> None:
        threads = ThreadPoolExecutor(_THREADS, "recent")
        self._lanes = Lanes(threads, _THREADS)

    async def of(self, name: str, opened: OpenIndex, granted: Filter, asked: ChangesAsked) -> Recent:
        """What changed in an index. Raises Refused."""
        wanted = reading.among(asked.filter, opened.index.columns)
        among, last = both(granted, wanted), place(asked.after, "after", "next of an earlier answer")
        check_kept(name, opened)
        look = partial(look_back, opened.pipeline, opened.index.name, among, last, _BACK, asked.limit, _PATIENCE_S)
        with refusing("after", "ask without after"):
            found, end = await asyncio.get_running_loop().run_in_executor(self._lanes.of(granted), look)
        return Recent([_changed(said) for _, said in found], str(end))


def _changed(said: Heard) -> Changed:
    match said:
        case There(document_id, position, committed_ms, metadata):
            values = json.loads(metadata)
            return Changed("changed", position, document_id, committed_at=moment(committed_ms), metadata=values)
        case Gone(document_id, position, committed_ms):
            return Changed("gone", position, document_id, committed_at=moment(committed_ms))
        case Cleared(_, table, before):
            return Changed("cleared", before, table=table)
