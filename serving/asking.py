"""The server's application: searches, documents and profiles, for whoever is let in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.parse import quote as quoted

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from core.profiles.merging import Profile
from serving import reading
from serving.access import Grant, charge
from serving.answers.chats import Chats
from serving.answers.contexts import Contexts, answer_of, asked_of
from serving.answers.feedback import brought
from serving.answers.openai_errors import as_openai_response
from serving.changes import Streams
from serving.description import described
from serving.figures import KIND, Figures
from serving.lookups import ANSWER_S, Lookups, of_store
from serving.offer import Offer, offered
from serving.page.files import PATH, Page
from serving.problems import Refused, as_response
from serving.shapes import MOST_NEIGHBOURS, MOST_ROWS, State, document_of, hits_of, person_of
from serving.tools.tools import Tools

if TYPE_CHECKING:
    from serving.tools.mcp import Mcp

_CHECK_S = 5.0
_ROWS = 200
_OF_MCP = ("mcp", "mcp_types")

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode
_exactly = msgspec.json.Encoder(decimal_format="number").encode

Handler = Callable[[Request], Awaitable[Response]]
Shape = Callable[[Refused], Response]
"""How a route's refusals are written."""


def application(offer: Offer, over: Event, answer_s: float = ANSWER_S) -> Starlette:
    """The server's application; an answer may take `answer_s`, and changes are sent until it is `over`."""
    served = _Serving(offer, over)
    # a model's time is the model's: what comes of it is answered by the chat itself
    chat_s = answer_s + offer.answering.settings.timeout
    of_openai = [
        ("POST", "/v1/chat/completions", served.chat, chat_s),
        ("GET", "/v1/models", served.models, answer_s),
    ]
    routes: list[tuple[str, str, Handler]] = [
        ("POST", "/v1/indexes/{index}/search", served.search),
        ("GET", "/v1/indexes/{index}/documents/{id:path}", served.document),
        ("POST", "/v1/context", served.context),
        ("POST", "/v1/feedback", served.feedback),
        ("GET", "/v1/changes", served.changes),
        ("GET", "/v1/profiles/{id}", served.profile),
        ("GET", "/v1/profiles/{type}/{value:path}", served.profile_of),
        ("GET", "/v1/kpis/{kpi}", served.kpi),
        ("GET", "/v1/offer", served.offered),
        ("GET", "/health", served.health),
        ("GET", "/ready", served.ready),
        ("GET", "/metrics", served.metrics),
        ("GET", "/openapi.json", served.description),
        ("GET", "/", served.page.first),
        ("GET", PATH, served.page.file),
    ]
    mcp = served.tools(answer_s)
    all_of_them = [
        *((*route, answer_s, as_response) for route in routes),
        *((*route, as_openai_response) for route in of_openai),
    ]
    app = Starlette(
        routes=[
            Route(path, partial(_answered, served.figures, path, most_s, shape, handler), methods=[method])
            for method, path, handler, most_s, shape in all_of_them
        ]
        + ([] if mcp is None else [Route("/mcp", mcp, methods=["POST"])]),
        exception_handlers={HTTPException: _no_route},
        lifespan=partial(_in_order, offer, mcp),
    )
    # by the name under which it is asked, which is the client's to choose
    app.router.redirect_slashes = False
    return app


@asynccontextmanager
async def _in_order(offer: Offer, mcp: Mcp | None, app: Starlette) -> AsyncIterator[None]:
    async with nullcontext() if mcp is None else mcp.running():
        yield
    for each in (offer.answering.model, offer.answering.ranker):
        if each is not None:
            await each.close()


async def _answered(
    figures: Figures, route: str, answer_s: float, shape: Shape, handler: Handler, request: Request
) -> Response:
    try:
        async with asyncio.timeout(answer_s):
            response = await handler(request)
    except Refused as refused:
        response = shape(refused)
    except TimeoutError:
        response = shape(Refused(504, f"there was no answer after {answer_s:g} s: ask for less, or again"))
    except ClientDisconnect:
        response = shape(Refused(400, "the request isn't whole"))
    except Exception:
        _log.exception("a request failed")
        response = shape(Refused(500, "the server failed; its log says why"))
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
        self._lookups = Lookups(offer, self.figures)
        self._contexts = Contexts(self._lookups, offer.answering)
        self._chats = Chats(self._contexts, offer.answering, offer.conversations, self.figures)
        if offer.conversations is not None:
            offer.conversations.count_in(self.figures)
        self._streams = Streams(offer.listeners, self.figures, over)
        self.page = Page()
        self._checking: asyncio.Task[None] | None = None
        self._description = _encode(described(offer.name, offer.keyed))

    def tools(self, answer_s: float) -> Mcp | None:
        """The tools for agents; None where what speaks their protocol isn't installed."""
        # imported late: an extra's, and takes half a second
        try:
            from serving.tools.mcp import Mcp
        except ModuleNotFoundError as missing:
            if missing.name not in _OF_MCP:
                raise
            return None
        return Mcp(self._offer.name, Tools(self._lookups, self._contexts, answer_s), self._let_in)

    async def search(self, request: Request) -> Response:
        grant = self._let_in(request)
        name = request.path_params["index"]
        self._lookups.index(name, grant)
        reading.check_encoding(request.headers)
        asked = reading.search(await request.body())
        hits, fresh = await self._lookups.search(name, grant, asked)
        return _json(hits_of(hits, asked, fresh))

    async def context(self, request: Request) -> Response:
        grant = self._let_in(request)
        reading.check_encoding(request.headers)
        asked = asked_of(await request.body())
        return _json(answer_of(await self._contexts.made(grant, asked.question, asked)))

    async def chat(self, request: Request) -> Response:
        grant = self._let_in(request)
        reading.check_encoding(request.headers)
        return await self._chats.answer(grant, await request.body())

    async def feedback(self, request: Request) -> Response:
        grant = self._let_in(request)
        reading.check_encoding(request.headers)
        return _json(await brought(grant, await request.body(), self._offer.conversations), 202)

    async def models(self, request: Request) -> Response:
        self._let_in(request)
        return _json(self._chats.models())

    async def document(self, request: Request) -> Response:
        grant = self._let_in(request)
        name, document_id = request.path_params["index"], request.path_params["id"]
        self._lookups.index(name, grant)
        around = reading.number(request.query_params, "around", 0, 10**8)
        neighbours = reading.number(request.query_params, "neighbours", 0, MOST_NEIGHBOURS)
        if neighbours is not None and around is None:
            raise Refused(422, "neighbours are those of a chunk: give around, its ordinal, too", "around")
        found, fresh = await self._lookups.document(name, grant, document_id, around)
        return _json(document_of(found, around, 1 if neighbours is None else neighbours, fresh))

    async def changes(self, request: Request) -> Response:
        grant = self._let_in(request)
        name = request.query_params.get("index", "")
        opened, granted = self._lookups.index(name, grant)

        def is_let_in() -> bool:
            """A key may be taken back, and a token end, while its bearer listens."""
            try:
                now = self._offer.let_in(request.headers.get("Authorization", ""))
            except Refused:
                return False
            return now.indexes.get(name) == granted

        return await self._streams.stream(request, name, opened, granted, is_let_in)

    async def profile(self, request: Request) -> Response:
        grant = self._let_in(request)
        self._lookups.people(grant)
        profile_id = request.path_params["id"]
        explain = reading.truth(request.query_params, "explain")
        found = await self._lookups.profile(grant, profile_id)
        if found.profile_id != profile_id:
            # for now: what was merged may be taken apart again
            query = f"?{request.url.query}" if request.url.query else ""
            moved = {"Location": f"/v1/profiles/{quoted(found.profile_id, safe='')}{query}"}
            return _json(person_of(found, None), 307, moved)
        return await self._person(grant, found, explain)

    async def profile_of(self, request: Request) -> Response:
        grant = self._let_in(request)
        self._lookups.people(grant)
        explain = reading.truth(request.query_params, "explain")
        found = await self._lookups.profile_of(grant, request.path_params["type"], request.path_params["value"])
        return await self._person(grant, found, explain)

    async def _person(self, grant: Grant, profile: Profile, explain: bool) -> Response:
        return _json(person_of(profile, await self._lookups.origin(grant, profile) if explain else None))

    async def kpi(self, request: Request) -> Response:
        grant = self._let_in(request)
        self._lookups.kpis(grant)
        since = reading.time(request.query_params, "since")
        most = reading.number(request.query_params, "limit", 1, MOST_ROWS)
        found = await self._lookups.kpi(request.path_params["kpi"], grant, since, most or _ROWS)
        return Response(_exactly(found), media_type="application/json")

    async def offered(self, request: Request) -> Response:
        return _json(offered(self._offer, self._let_in(request)))

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
        if (kpis := self._offer.kpis) is not None:
            checks["the KPIs"] = kpis.threads, kpis.rows.check
        try:
            async with asyncio.timeout(_CHECK_S):
                await asyncio.gather(*(of_store(name, *check) for name, check in checks.items()))
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


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(_encode(body), status, headers, "application/json")
