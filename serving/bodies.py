"""Requests before the application sees them: where they come from, and their bodies, limited in time and size."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
"""An application as ASGI has it."""

Refusal = Callable[[int, str], tuple[bytes, bytes]]
"""How a refusal of a status, for a reason, is written: its content type, and its body."""

HERE = frozenset({"127.0.0.1", "localhost", "::1"})
"""The names of this machine to itself."""

_GONE = "http.disconnect"


class _Refused(Exception):
    """A request that the application doesn't get to see."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Gone(Exception):
    """Whoever asked has gone away."""


class _Body:
    """What has come of one body."""

    def __init__(self) -> None:
        self.time: asyncio.Timeout | None = None
        self.parts: list[bytes] = []
        self.size = 0
        self.gives_way = False


class _Answers:
    """What is answered to one request: the application's answer, or a refusal and nothing more."""

    def __init__(self, send: Send, refusal: Refusal) -> None:
        self._send = send
        self._refusal = refusal
        self._is_begun = False
        self.is_refused = False

    async def tell(self, message: Message) -> None:
        if not self.is_refused:
            self._is_begun = True
            await self._send(message)

    async def refuse(self, refused: _Refused) -> None:
        self.is_refused = True
        if not self._is_begun:
            await _answer(refused, self._send, self._refusal)


class Bodies:
    """An application behind the limits of its server's requests. It gets a body in one piece, once it asks for it.

    most    bytes of one body
    room    bytes of all bodies whose requests aren't answered yet
    body_s  a body may take
    names   under which the server may be asked, without ports; None: any. A page of another site that has its own name
            lead here asks under that name.
    refusal how a request that the application doesn't get to see is answered
    """

    def __init__(
        self, app: App, most: int, room: int, body_s: float, names: Collection[str] | None, refusal: Refusal
    ) -> None:
        self._app = app
        self._most = most
        self._room = room
        self._body_s = body_s
        self._names = names
        self._refusal = refusal
        self._held = 0
        self._arriving: dict[_Body, None] = {}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, body = dict(scope["headers"]), _Body()
        answers = _Answers(send, self._refusal)
        try:
            _look_at_origin(headers, self._names)
            await self._app(scope, self._asking(body, headers, receive, answers), answers.tell)
        except _Refused as refused:
            await answers.refuse(refused)
        except Exception:
            if not answers.is_refused:
                raise
        finally:
            self._let_go(body)

    def _asking(self, body: _Body, headers: dict[bytes, bytes], receive: Receive, answers: _Answers) -> Receive:
        is_read = False

        async def ask() -> Message:
            nonlocal is_read
            if is_read:
                return await receive()
            is_read = True
            try:
                await self._gather(body, headers, receive)
            except _Refused as refused:
                await answers.refuse(refused)
                return {"type": _GONE}
            except _Gone:
                return {"type": _GONE}
            whole = b"".join(body.parts)
            body.parts.clear()
            return {"type": "http.request", "body": whole, "more_body": False}

        return ask

    async def _gather(self, body: _Body, headers: dict[bytes, bytes], receive: Receive) -> None:
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._most:
            raise self._too_large()
        self._arriving[body] = None
        try:
            async with asyncio.timeout(self._body_s) as body.time:
                more = True
                while more:
                    message = await receive()
                    if message["type"] == _GONE:
                        raise _Gone
                    more = message.get("more_body", False)
                    self._take(body, message.get("body", b""))
        except TimeoutError:
            raise self._too_slow(body) from None
        finally:
            self._arriving.pop(body, None)

    def _take(self, body: _Body, part: bytes) -> None:
        if body.gives_way:
            raise self._too_slow(body)
        if body.size + len(part) > self._most:
            raise self._too_large()
        while self._held + len(part) > self._room:
            oldest = next(each for each in self._arriving if each.size or each is body)
            if oldest is body:
                raise self._is_full()
            self._let_go(oldest)
            self._arriving.pop(oldest)
            oldest.gives_way = True
            if oldest.time is not None:
                oldest.time.reschedule(asyncio.get_running_loop().time())
        body.parts.append(part)
        body.size += len(part)
        self._held += len(part)

    def _let_go(self, body: _Body) -> None:
        self._held -= body.size
        body.size = 0
        body.parts.clear()

    def _too_large(self) -> _Refused:
        return _Refused(413, f"the request has more than {self._most:,} bytes: send less at once")

    def _is_full(self) -> _Refused:
        return _Refused(429, "the server has as many bytes of requests as it takes: ask again")

    def _too_slow(self, body: _Body) -> _Refused:
        if body.gives_way:
            return self._is_full()
        return _Refused(408, f"the request's body wasn't whole after {self._body_s:g} s: send less at once")


def _look_at_origin(headers: dict[bytes, bytes], names: Collection[str] | None) -> None:
    host = headers.get(b"host", b"").decode("latin-1")
    origin = headers.get(b"origin")
    if origin is not None and _place(origin.decode("latin-1"))[0] != host.lower():
        raise _Refused(403, "the request comes from a page of another site")
    # images and scripts of a page are asked for without an origin; who follows a link comes by a document of their own
    site, kind = headers.get(b"sec-fetch-site"), headers.get(b"sec-fetch-dest")
    if site in (b"cross-site", b"same-site") and kind != b"document":
        raise _Refused(403, "the request comes from a page of another site")
    name = _place(f"//{host}")[1]
    if names is not None and name not in names:
        raise _Refused(421, f"this server isn't asked as {name!r}, but as {' or '.join(sorted(names))}")


def _place(address: str) -> tuple[str, str]:
    """An address' host with its port, and without it; "" for both where it is none."""
    try:
        found = urlsplit(address)
        return found.netloc.lower(), found.hostname or ""
    except ValueError:
        return "", ""


def as_openai(status: int, reason: str) -> tuple[bytes, bytes]:
    """A refusal as OpenAI's protocol has it."""
    error = {"message": reason, "type": "invalid_request_error", "code": None, "param": None}
    return b"application/json", msgspec.json.encode({"error": error})


async def _answer(refused: _Refused, send: Send, refusal: Refusal) -> None:
    kind, body = refusal(refused.status, str(refused))
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    if refused.status == 429:
        headers.append((b"retry-after", b"1"))
    # The connection stays open: closed with the body on its way, it would take this answer with it. What comes is
    # thrown away, for as long as a request's head may take.
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
