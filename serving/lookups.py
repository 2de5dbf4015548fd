"""What is looked up for whoever is let in, whatever way they ask: over HTTP, in a chat or as a tool."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import datetime
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from core.errors import FreshetError, Unavailable
from core.profiles.merging import Profile
from core.shards.progress import Standing
from core.stores.contract import Hit, Stored
from core.stores.filters.language import Filter
from operations.index import ByBoth, ByVector, ByWords, Question
from operations.people import Origin
from serving import reading
from serving.access import Grant
from serving.batches import Full
from serving.figures import Figures
from serving.offer import Offer, OpenIndex, OpenKpis, OpenPeople
from serving.problems import Refused
from serving.shapes import Kpi, Mode, Search, WaitFor, kpi_of
from serving.waiting import Waiting

ANSWER_S = 30.0
"""How long an answer may take."""

RECORD = "record"
"""What stands in the place of an identifier's type where a profile is asked for by one of its records."""

_MOST_RECORDS = 1_000
_MOST_EVENTS = 100

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class Lookups:
    """What the stores of one server are asked. Every method raises Refused, with what the client is to read."""

    def __init__(self, offer: Offer, figures: Figures) -> None:
        self._offer = offer
        self._figures = figures
        self._waiting = {
            name: Waiting(name, each.index, partial(of_store, f"index {name}", each.threads))
            for name, each in offer.indexes.items()
        }

    def index(self, name: str, grant: Grant) -> tuple[OpenIndex, Filter]:
        """An index that may be asked, and what is seen of it."""
        if name not in grant.indexes:
            there = ", ".join(grant.indexes) or "none"
            raise Refused(404, f"{name!r} is no index that may be asked here; there are {there}", "index")
        return self._offer.indexes[name], grant.indexes[name]

    def people(self, grant: Grant) -> tuple[OpenPeople, Filter]:
        """The profiles, if they may be asked for, and what is seen of them."""
        if self._offer.people is None or grant.people is None:
            raise Refused(404, "no profiles may be asked for here")
        return self._offer.people, grant.people

    def kpis(self, grant: Grant) -> OpenKpis:
        """The KPIs, if they may be looked at."""
        if self._offer.kpis is None or not grant.kpis:
            raise Refused(404, "no KPIs may be looked at here")
        return self._offer.kpis

    async def kpi(self, name: str, grant: Grant, since: datetime | None, most: int) -> Kpi:
        """A KPI's latest rows."""
        opened = self.kpis(grant)
        if name not in opened.rows.names:
            there = ", ".join(opened.rows.names)
            raise Refused(404, f"{name!r} is no KPI that may be looked at; there are {there}", "kpi")
        found = await of_store("the KPIs", opened.threads, partial(opened.rows.latest, name, since, most))
        if found is None:
            raise Refused(404, f"{name!r} has no table yet: its job makes it when it begins", "kpi")
        return kpi_of(name, *found)

    async def wait(self, name: str, grant: Grant, change: WaitFor) -> None:
        """Return once a change is in an index."""
        opened, granted = self.index(name, grant)
        await self._waiting[name].until(reading.waited(change, opened.index), granted, change.timeout_seconds)

    async def search(self, name: str, grant: Grant, asked: Search) -> tuple[list[Hit], Standing]:
        """The chunks of an index that answer best, and how fresh that is."""
        opened, granted = self.index(name, grant)
        if (change := asked.wait_for) is not None:
            await self.wait(name, grant, change)
        among = reading.among(asked.filter, opened.index.columns)
        with self._figures.timed(name, "whole"):
            question = await self._question(name, opened, asked)
            with self._figures.timed(name, "store"):
                search = partial(opened.index.search, question, asked.k, granted, among)
                return await of_store(f"index {name}", opened.lanes.of(granted), search)

    async def document(self, name: str, grant: Grant, document_id: str, around: int | None) -> tuple[Stored, Standing]:
        """A document, and how fresh that is. It must have the chunk `around`, where one is named."""
        opened, granted = self.index(name, grant)
        reading.check_text(document_id, "id")
        ask = partial(opened.index.document, document_id, granted)
        if (answer := await of_store(f"index {name}", opened.threads, ask)) is None:
            raise Refused(404, f"index {name} has no document {document_id!r}", "id")
        if around is not None and all(chunk.ordinal != around for chunk in answer[0].chunks):
            raise Refused(404, f"document {document_id!r} has no chunk {around}", "around")
        return answer

    async def profile(self, grant: Grant, profile_id: str) -> Profile:
        """The profile of an id, or the one that it is part of by now."""
        opened, granted = self.people(grant)
        reading.check_text(profile_id, "id")
        found = await of_store("the profiles", opened.threads, partial(opened.people.by_id, profile_id, granted))
        if found is None:
            # whoever sees by a filter can't know whether they would have seen it
            is_erased = partial(opened.people.is_erased, profile_id)
            if not grant.filtered and await of_store("the profiles", opened.threads, is_erased):
                raise Refused(410, f"profile {profile_id!r} was erased: every record of it was deleted", "id")
            raise Refused(404, f"there is no profile {profile_id!r}", "id")
        return found

    async def profile_of(self, grant: Grant, kind: str, value: str) -> Profile:
        """The profile that an identifier of a type links, or that a record is part of."""
        opened, granted = self.people(grant)
        is_record = kind == RECORD and kind not in opened.people.types
        if kind not in opened.people.types and not is_record:
            types = ", ".join(opened.people.types)
            raise Refused(404, f"{kind!r} is no type of identifiers; there are {types}, and {RECORD}", "type")
        reading.check_text(value, "value")
        by_type = partial(opened.people.by_identifier, kind)
        ask = partial(opened.people.by_record if is_record else by_type, value, granted)
        found = await of_store("the profiles", opened.threads, ask)
        if found is None:
            raise Refused(404, f"nobody is known by the {kind} {value!r}", "value")
        return found

    async def customer(self, grant: Grant, named: str) -> Profile:
        """The profile of a customer: by an identifier or a record, as `email/kari@x.no`, or by the profile's id."""
        kind, slash, value = named.partition("/")
        return await (self.profile_of(grant, kind, value) if slash else self.profile(grant, named))

    async def origin(self, grant: Grant, profile: Profile) -> Origin:
        """What made a profile. Its history names others, so whoever sees a part isn't given it."""
        opened, _ = self.people(grant)
        events = 0 if grant.filtered else _MOST_EVENTS
        ask = partial(opened.people.origin, profile.profile_id, _MOST_RECORDS, events)
        return await of_store("the profiles", opened.threads, ask)

    async def _question(self, name: str, opened: OpenIndex, asked: Search) -> Question:
        if asked.query is None:
            return ByVector(reading.vector(asked.vector or [], opened.index.dimension))
        if asked.mode != "vector" and not opened.index.has_words:
            raise _no_words(asked.mode)
        if asked.mode == "text":
            # the model is asked for cosines alone
            named = asked.min_score is not None
            return ByWords(asked.query, await self._embedded(name, opened, asked.query) if named else None)
        vector = await self._embedded(name, opened, asked.query)
        return ByVector(vector) if asked.mode == "vector" else ByBoth(asked.query, vector)

    async def _embedded(self, name: str, opened: OpenIndex, query: str) -> NDArray[np.float32]:
        with self._figures.timed(name, "embed"):
            try:
                answer = await asyncio.wrap_future(opened.questions.submit([query], opened.index.embedder))
            except Full:
                busy = "more questions are waiting than are soon embedded: ask again"
                raise Refused(429, busy, "", {"Retry-After": "1"}) from None
            except FreshetError as error:
                _log.warning("the model: %s", error)
                raise Refused(503, "the model doesn't answer: ask again", "", {"Retry-After": "1"}) from error
        if answer.errors:
            raise Refused(422, f"query: {answer.errors[0]}", "query")
        found: NDArray[np.float32] = answer.vectors[0]
        return found


def _no_words(mode: Mode) -> Refused:
    return Refused(422, f"mode is {mode}, and this index keeps no words: search by vector", "mode")


async def of_store(name: str, threads: Executor, ask: Callable[[], Answer]) -> Answer:
    """What a store answers in a thread. Raises Refused where it doesn't; what it says of itself goes to the log."""
    try:
        return await asyncio.get_running_loop().run_in_executor(threads, ask)
    except Unavailable as error:
        _log.warning("%s: %s", name, error)
        raise Refused(503, f"the store of {name} doesn't answer: ask again", "", {"Retry-After": "1"}) from error
    except FreshetError as error:
        _log.warning("%s: %s", name, error)
        raise Refused(500, f"the store of {name} refuses; the server's log says why") from error
