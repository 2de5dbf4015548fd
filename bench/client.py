"""How a bench asks a server over HTTP, and for how long it waits: by the standard library's client, on one connection.

httpx takes half a millisecond a request for itself.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from http.client import HTTPConnection, HTTPResponse
from time import perf_counter

import msgspec

from core.errors import FreshetError, brief

IN_TURN = 20
"""Requests of a kind, one after the other, before those of the next kind. The first turn doesn't count."""


def connected(url: str) -> HTTPConnection:
    """A connection to the server at `http://host:port`. Raises OSError where nobody is there."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=30)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def sent(connection: HTTPConnection, method: str, path: str, body: object = None) -> HTTPResponse:
    """The answer to a request, to be read; `body` is sent as JSON. Raises FreshetError where it isn't 200."""
    encoded = None if body is None else msgspec.json.encode(body)
    connection.request(method, path, encoded, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    if answer.status != 200:
        text = answer.read().decode()
        raise FreshetError(f"bench: {method} {path} was answered with {answer.status}: {brief(text)}")
    return answer


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes."""
    began = perf_counter()
    call()
    return perf_counter() - began
