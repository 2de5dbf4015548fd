"""The server's application: searches, documents and profiles, for whoever is let in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial
from threading import Event
from typing import Any, TypeVar
from urllib.parse import quote as quoted

import msgspec
import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from core.errors import FreshetError, Unavailable
from core.profiles.merging import Profile
from core.stores.filters.language import Filter
from operations.index import ByBoth, ByVector, ByWords, Question
from serving import reading
from serving.access import Grant, charge
from serving.batches import Full
from serving.changes import Streams
from serving.description import described
from serving.figures import KIND, Figures
from serving.offer import Offer, OpenIndex, OpenPeople
from serving.problems import Refused, as_response
from serving.shapes import MOST_NEIGHBOURS, Search, State, document_of, hits_of, person_of
from serving.waiting import Waiting

ANSWER_S = 30.0
"""How long an answer may take."""

_CHECK_S = 5.0
_MOST_RECORDS = 1_000
_MOST_EVENTS = 100
_RECORD = "record"
"""What stands in the place of an identifier's type where a profile is asked for by one of its records."""

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode

Answer = TypeVar("Answer")
Handler = Callable[[Request], Awaitable[Response]]


def application(offer: Offer, over: Event, answer_s: float = ANSWER_S) -> Starlette:
    """The server's application; an answer may take `answer_s`, and changes are sent until it is `over`."""
    served = _Serving(offer, over)
    routes: list[tuple[str, str, Handler]] = [
        ("POST", "/v1/indexes/{index}/search", served.search),
        ("GET", "/v1/indexes/{index}/documents/{id:path}", served.document),
        ("GET", "/v1/changes", served.changes),
        ("GET", "/v1/profiles/{id}", served.profile),
        ("GET", "/v1/profiles/{type}/{value:path}", served.profile_of),
        ("GET", "/health", served.health),
        ("GET", "/ready", served.ready),
        ("GET", "/metrics", served.metrics),
        ("GET", "/openapi.json", served.description),
    ]
    app = Starlette(
        routes=[
            Route(path, partial(_answered, served.figures, path, answer_s, handler), methods=[method])
            for method, path, handler in routes
        ],
        exception_handlers={HTTPException: _no_route},
    )
    # by the name under which it is asked, which is the client's to choose
    app.router.redirect_slashes = False
    return app


async def _answered(figures: Figures, route: str, answer_s: float, handler: Handler, request: Request) -> Response:
    try:
        async with asyncio.timeout(answer_s):
            response = await handler(request)
    except Refused as refused:
        response = as_response(refused)
    except TimeoutError:
        response = as_response(Refused(504, f"there was no answer after {answer_s:g} s: ask for less, or again"))
    except ClientDisconnect:
        response = as_response(Refused(400, "the request isn't whole"))
    except Exception:
        _log.exception("a request failed")
        response = as_response(Refused(500, "the server failed; its log says why"))
    figures.answered(route, response.status_code)
    return response


async def _no_route(request: Request, error: Exception) -> Response:
    status, headers = getattr(error, "status_code", 500), getattr(error, "headers", None) or {}
    why = "there is nothing at this path" if status == 404 else f"this path doesn't take {request.method}"
    return as_response(Refused(status, f"{why}: /openapi.json describes what there is", "", headers))


class _Serving:
    """What answers the requests of each route."""

    def __init__(self, offer: Offer, over: Event) -> None:
        self._offer = offer
        self.figures = Figures()
        self._streams = Streams(offer.listeners, self.figures, over)
        self._waiting = {
            name: Waiting(name, each.index, partial(_of_store, f"index {name}", each.threads))
            for name, each in offer.indexes.items()
        }
        self._checking: asyncio.Task[None] | None = None
        self._description = _encode(described(offer.name, offer.keyed))

    async def search(self, request: Request) -> Response:
        grant = self._let_in(request)
        name, opened, granted = self._index(request.path_params["index"], grant)
        reading.check_encoding(request.headers)
        asked = reading.search(await request.body())
        if (change := asked.wait_for) is not None:
            await self._waiting[name].until(reading.waited(change, opened.index), granted, change.timeout_seconds)
        among = reading.among(asked, opened.index.columns)
        with self.figures.timed(name, "whole"):
            question = await self._question(name, opened, asked)
            with self.figures.timed(name, "store"):
                search = partial(opened.index.search, question, asked.k, granted, among)
                hits, fresh = await _of_store(f"index {name}", opened.lanes.of(granted), search)
        return _json(hits_of(hits, asked, fresh))

    async def document(self, request: Request) -> Response:
        grant = self._let_in(request)
        name, opened, granted = self._index(request.path_params["index"], grant)
        document_id = request.path_params["id"]
        reading.check_text(document_id, "id")
        around = reading.number(request.query_params, "around", 0, 10**8)
        neighbours = reading.number(request.query_params, "neighbours", 0, MOST_NEIGHBOURS)
        if neighbours is not None and around is None:
            raise Refused(422, "neighbours are those of a chunk: give around, its ordinal, too", "around")
        ask = partial(opened.index.document, document_id, granted)
        if (answer := await _of_store(f"index {name}", opened.threads, ask)) is None:
            raise Refused(404, f"index {name} has no document {document_id!r}", "id")
        found, fresh = answer
        if around is None:
            return _json(document_of(found, None, fresh))
        if all(chunk.ordinal != around for chunk in found.chunks):
            raise Refused(404, f"document {document_id!r} has no chunk {around}", "around")
        reach = 1 if neighbours is None else neighbours
        return _json(document_of(found, range(around - reach, around + reach + 1), fresh))

    async def changes(self, request: Request) -> Response:
        grant = self._let_in(request)
        name, opened, granted = self._index(request.query_params.get("index", ""), grant)

        def is_let_in() -> bool:
            """A key may be taken back, and a token end, while its bearer listens."""
            try:
                now = self._offer.let_in(request.headers.get("Authorization", ""))
            except Refused:
                return False
            return now.indexes.get(name) == granted

        return await self._streams.stream(request, name, opened, granted, is_let_in)

    async def profile(self, request: Request) -> Response:
        opened, granted, filtered = self._people(self._let_in(request))
        profile_id = request.path_params["id"]
        reading.check_text(profile_id, "id")
        explain = reading.truth(request.query_params, "explain")
        found = await _of_store("the profiles", opened.threads, partial(opened.people.by_id, profile_id, granted))
        if found is None:
            # whoever sees by a filter can't know whether they would have seen it
            is_erased = partial(opened.people.is_erased, profile_id)
            if not filtered and await _of_store("the profiles", opened.threads, is_erased):
                raise Refused(410, f"profile {profile_id!r} was erased: every record of it was deleted", "id")
            raise Refused(404, f"there is no profile {profile_id!r}", "id")
        if found.profile_id != profile_id:
            # for now: what was merged may be taken apart again
            query = f"?{request.url.query}" if request.url.query else ""
            moved = {"Location": f"/v1/profiles/{quoted(found.profile_id, safe='')}{query}"}
            return _json(person_of(found, None), 307, moved)
        return await self._person(opened, found, explain, filtered)

    async def profile_of(self, request: Request) -> Response:
        opened, granted, filtered = self._people(self._let_in(request))
        kind, value = request.path_params["type"], request.path_params["value"]
        is_record = kind == _RECORD and kind not in opened.people.types
        if kind not in opened.people.types and not is_record:
            types = ", ".join(opened.people.types)
            raise Refused(404, f"{kind!r} is no type of identifiers; there are {types}, and {_RECORD}", "type")
        reading.check_text(value, "value")
        explain = reading.truth(request.query_params, "explain")
        by_type = partial(opened.people.by_identifier, kind)
        ask = partial(opened.people.by_record if is_record else by_type, value, granted)
        found = await _of_store("the profiles", opened.threads, ask)
        if found is None:
            raise Refused(404, f"nobody is known by the {kind} {value!r}", "value")
        return await self._person(opened, found, explain, filtered)

    async def _person(self, opened: OpenPeople, profile: Profile, explain: bool, filtered: bool) -> Response:
        if not explain:
            return _json(person_of(profile, None))
        events = 0 if filtered else _MOST_EVENTS
        ask = partial(opened.people.origin, profile.profile_id, _MOST_RECORDS, events)
        return _json(person_of(profile, await _of_store("the profiles", opened.threads, ask)))

    async def health(self, request: Request) -> Response:
        return _json(State("alive"))

    async def ready(self, request: Request) -> Response:
        # who has no key may ask too, as often as they like: all of them wait for one look
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check())
        await asyncio.shield(self._checking)
        return _json(State("ready"))

    async def _check(self) -> None:
        checks = {f"index {name}": (each.threads, each.index.check) for name, each in self._offer.indexes.items()}
        if (people := self._offer.people) is not None:
            checks["the profiles"] = people.threads, people.people.check
        try:
            async with asyncio.timeout(_CHECK_S):
                await asyncio.gather(*(_of_store(name, *check) for name, check in checks.items()))
        except TimeoutError:
            raise Refused(503, f"a store hasn't answered within {_CHECK_S:g} s") from None
        if not all(each.questions.works for each in self._offer.indexes.values()):
            raise Refused(503, "the model has ended")

    async def metrics(self, request: Request) -> Response:
        if not self._let_in(request).figures:
            raise Refused(403, "this key isn't for the server's own figures")
        return Response(self.figures.text(), media_type=None, headers={"Content-Type": KIND})

    async def description(self, request: Request) -> Response:
        return Response(self._description, media_type="application/json")

    def _let_in(self, request: Request) -> Grant:
        grant = self._offer.let_in(request.headers.get("Authorization", ""))
        charge(grant)
        return grant

    def _index(self, name: str, grant: Grant) -> tuple[str, OpenIndex, Filter]:
        if name not in grant.indexes:
            there = ", ".join(grant.indexes) or "none"
            raise Refused(404, f"{name!r} is no index that may be asked here; there are {there}", "index")
        return name, self._offer.indexes[name], grant.indexes[name]

    def _people(self, grant: Grant) -> tuple[OpenPeople, Filter, bool]:
        if self._offer.people is None or grant.people is None:
            raise Refused(404, "no profiles may be asked for here")
        return self._offer.people, grant.people, grant.filtered

    async def _question(self, name: str, opened: OpenIndex, asked: Search) -> Question:
        if asked.query is None:
            return ByVector(reading.vector(asked.vector or [], opened.index.dimension))
        if asked.mode != "vector" and not opened.index.has_words:
            raise Refused(422, f"mode is {asked.mode}, and this index keeps no words: search by vector", "mode")
        if asked.mode == "text":
            # the model is asked for cosines alone
            named = asked.min_score is not None
            return ByWords(asked.query, await self._embedded(name, opened, asked.query) if named else None)
        vector = await self._embedded(name, opened, asked.query)
        return ByVector(vector) if asked.mode == "vector" else ByBoth(asked.query, vector)

    async def _embedded(self, name: str, opened: OpenIndex, query: str) -> NDArray[np.float32]:
        with self.figures.timed(name, "embed"):
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


async def _of_store(name: str, threads: Executor, ask: Callable[[], Answer]) -> Answer:
    """What a store answers in a thread. Raises Refused where it doesn't; what it says of itself goes to the log."""
    try:
        return await asyncio.get_running_loop().run_in_executor(threads, ask)
    except Unavailable as error:
        _log.warning("%s: %s", name, error)
        raise Refused(503, f"the store of {name} doesn't answer: ask again", "", {"Retry-After": "1"}) from error
    except FreshetError as error:
        _log.warning("%s: %s", name, error)
        raise Refused(500, f"the store of {name} refuses; the server's log says why") from error


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(_encode(body), status, headers, "application/json")
