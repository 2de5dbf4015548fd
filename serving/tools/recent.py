"""Documents that changed lately, as whoever asks may know of them."""

from __future__ import annotations

import asyncio
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from core.errors import ChangesGone, ConfigError, FreshetError
from core.stores.filters.language import EVERYTHING, And, Filter
from core.stores.outcomes import Cleared, Gone, Heard, There
from operations.changes import Place, look_back, place_of
from serving import reading
from serving.lanes import Lanes
from serving.offer import OpenIndex
from serving.problems import Refused
from serving.shapes import moment
from serving.tools.shapes import Changed, ChangesAsked, Recent

_THREADS = 4
_BACK = 1_000
_PATIENCE_S = 10.0

_log = logging.getLogger(__name__)


class RecentChanges:
    """Reads topics of outcomes a little back. Each who sees a part has half of its threads."""

    def __init__(self) -> None:
        threads = ThreadPoolExecutor(_THREADS, "recent")
        self._lanes = Lanes(threads, _THREADS)

    async def of(self, name: str, opened: OpenIndex, granted: Filter, asked: ChangesAsked) -> Recent:
        """What changed in an index. Raises Refused."""
        wanted = reading.among(asked.filter, opened.index.columns)
        among = wanted if granted == EVERYTHING else And((granted, wanted))
        last = _place(asked.after)
        if opened.pipeline.outcomes is None:
            raise Refused(404, f"the pipeline of index {name} tells no changes: its file has no outcomes", "index")
        look = partial(look_back, opened.pipeline, opened.index.name, among, last, _BACK, asked.limit, _PATIENCE_S)
        try:
            found, place = await asyncio.get_running_loop().run_in_executor(self._lanes.of(granted), look)
        except ChangesGone as error:
            _log.warning("changes: %s", error)
            raise Refused(410, "what changed since is no longer known: ask without after", "after") from None
        except ConfigError as error:
            raise Refused(404, f"there are no changes yet: {error}", "index") from None
        except FreshetError as error:
            _log.warning("changes: %s", error)
            raise Refused(503, "the topic of changes doesn't answer: ask again") from None
        return Recent([_changed(said) for _, said in found], str(place))


def _place(text: str | None) -> Place | None:
    if text is not None and (place := place_of(text)) is None:
        raise Refused(422, "after is no next of an earlier answer", "after")
    return None if text is None else place


def _changed(said: Heard) -> Changed:
    match said:
        case There(document_id, position, committed_ms, metadata):
            values = json.loads(metadata)
            return Changed("changed", position, document_id, committed_at=moment(committed_ms), metadata=values)
        case Gone(document_id, position, committed_ms):
            return Changed("gone", position, document_id, committed_at=moment(committed_ms))
        case Cleared(_, table, before):
            return Changed("cleared", before, table=table)
