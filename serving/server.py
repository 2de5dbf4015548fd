"""An HTTP server that no client can block for others: uvicorn, with the limits of time and of bytes that it lacks.

What is half sent costs its sender next to nothing and the server a connection, or memory. So each connection has a
time for its request's head and one for its body; and where there are too many connections, or bytes of bodies, room is
made at the cost of the request that has been half sent for longest. An honest client's is whole within milliseconds.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Event, Thread
from types import FrameType
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.bodies import App, Bodies, Refusal, as_openai

_GRACE_S = 30
_IDLE_S = 75
_OTHER_FILES = 128
"""A process has more open than its connections."""

_NO_HTTP = "the request is no HTTP/1.1, or its head is too long"

_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server bears of its clients, all of them together where not said otherwise.

    connections  open at once; fewer where the system lets the process open fewer files
    head_s       a request's head may take, from its connection's begin or its own first byte
    body_s       a request's body may take
    unread_s     an answer may wait for its reader
    body         bytes of one request's body
    bodies       bytes of the bodies of all requests that aren't answered yet
    names        under which the server may be asked; None: any
    """

    connections: int = 256
    head_s: float = 10.0
    body_s: float = 60.0
    unread_s: float = 60.0
    body: int = 32 << 20
    bodies: int = 64 << 20
    names: frozenset[str] | None = None


USUAL = Limits()
"""What serves well where there is no reason for others."""


def serve(
    app: App,
    host: str,
    port: int,
    ready: Callable[[str], None],
    limits: Limits = USUAL,
    refusal: Refusal = as_openai,
    over: Event | None = None,
) -> None:
    """Answer until SIGTERM or SIGINT; what was asked by then is answered. `ready` gets the URL once it can be asked.

    `port` 0 takes one that is free. `refusal`: how what passes the limits is answered. `over` is set by the signal, for
    answers that have no end of their own. Raises SystemExit where the address can't be had.
    """
    server, listener = _server(app, host, port, limits, refusal)
    ends = server.handle_exit

    def end(sig: int, frame: FrameType | None) -> None:
        if over is not None:
            over.set()
        ends(sig, frame)

    server.handle_exit = end  # type: ignore[method-assign]
    # uvicorn ends in order, then sends itself the signal once more, which would end the process with its number
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    ready(_url(listener))
    server.run([listener])


@contextmanager
def served(
    app: App, port: int = 0, limits: Limits = USUAL, refusal: Refusal = as_openai, over: Event | None = None
) -> Iterator[str]:
    """Answer on 127.0.0.1 in a thread, until the block ends; the URL. Raises SystemExit where the port is taken."""
    server, listener = _server(app, "127.0.0.1", port, limits, refusal)
    thread = Thread(target=server.run, args=([listener],), name="http-server", daemon=True)
    thread.start()
    try:
        yield _url(listener)
    finally:
        if over is not None:
            over.set()
        server.should_exit = True
        thread.join()


def _server(app: App, host: str, port: int, limits: Limits, refusal: Refusal) -> tuple[uvicorn.Server, socket.socket]:
    crowd = _Crowd(limits, refusal)
    config = uvicorn.Config(
        Bodies(app, limits.body, limits.bodies, limits.body_s, limits.names, refusal),
        host=host,
        port=port,
        # a protocol by its making: uvicorn calls it for each connection
        http=cast("type[asyncio.Protocol]", partial(_Guarded, crowd)),
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=_GRACE_S,
    )
    listener = config.bind_socket()
    # inherited by connections: else an answer's body waits 40 ms for the client to confirm its head
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # uvicorn listens later; who comes before that waits
    listener.listen(config.backlog)
    return uvicorn.Server(config), listener


def _url(listener: socket.socket) -> str:
    address, port = listener.getsockname()[:2]
    return f"http://{f'[{address}]' if ':' in address else address}:{port}"


class _Crowd:
    """The connections of one server, in the order in which their present requests began."""

    def __init__(self, limits: Limits, refusal: Refusal) -> None:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        room = limits.connections if files == resource.RLIM_INFINITY else files - _OTHER_FILES
        self.limits = limits
        self.refusal = refusal
        self.most = max(1, min(limits.connections, room))
        self.connections: dict[_Guarded, None] = {}

    def join(self, one: _Guarded) -> bool:
        """Let one in, in the place of who has kept the server waiting for longest; False where it works for all."""
        if len(self.connections) >= self.most:
            slowest = next((each for each in self.connections if each.waits_for_client), None)
            if slowest is None:
                return False
            slowest.end()
        self.connections[one] = None
        return True

    def begins(self, one: _Guarded) -> None:
        """The connection begins another request."""
        if one in self.connections:
            del self.connections[one]
            self.connections[one] = None


class _Guarded(asyncio.Protocol):
    """uvicorn's protocol of one connection, held to the limits of its server."""

    def __init__(self, crowd: _Crowd, **given: Any) -> None:
        self._crowd = crowd
        self._inner = H11Protocol(**given)
        # uvicorn's own answer is a plain text, and fails where another answer has begun
        self._inner.send_400_response = self._refuse  # type: ignore[method-assign]
        self._loop = asyncio.get_running_loop()
        self._head: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._is_out = False

    @property
    def waits_for_client(self) -> bool:
        """Whether there is no request here, or one that isn't whole, or an answer that isn't read."""
        return self._is_between or bool(self._inner.cycle.more_body) or self._unread is not None

    @property
    def _is_between(self) -> bool:
        cycle = self._inner.cycle
        return cycle is None or cycle.response_complete

    def _refuse(self, msg: str) -> None:
        """Refuse what is no HTTP; nothing can come behind it."""
        if self._inner.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            kind, body = self._crowd.refusal(400, _NO_HTTP)
            head = b"HTTP/1.1 400 Bad Request\r\nContent-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
            self._transport.write(head % (kind, len(body)) + body)
        self._transport.close()

    def end(self) -> None:
        """Close the connection at once, whatever is under way."""
        self._crowd.connections.pop(self, None)
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if not self._crowd.join(self):
            self._is_out = True
            self._transport.write(_FULL)
            self._transport.close()
            return
        self._inner.connection_made(self._transport)
        self._head = self._loop.call_later(self._crowd.limits.head_s, self.end)

    def data_received(self, data: bytes) -> None:
        if self._is_out:
            return
        if self._is_between and self._head is None:
            self._crowd.begins(self)
            self._head = self._loop.call_later(self._crowd.limits.head_s, self.end)
        self._inner.data_received(data)
        if not self._is_between:
            self._head = _off(self._head)

    def eof_received(self) -> None:
        if not self._is_out:
            self._inner.eof_received()

    def pause_writing(self) -> None:
        if self._is_out:
            return
        self._unread = self._unread or self._loop.call_later(self._crowd.limits.unread_s, self.end)
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._is_out:
            return
        self._unread = _off(self._unread)
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_out:
            return
        self._head, self._unread = _off(self._head), _off(self._unread)
        self._crowd.connections.pop(self, None)
        self._inner.connection_lost(exc)


def _off(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    if timer is not None:
        timer.cancel()
    return None
