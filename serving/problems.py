"""Refusals of requests, as problems of RFC 9457, `application/problem+json`."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

import msgspec
from starlette.responses import Response

KIND = "application/problem+json"

_LONGEST = 500


class Problem(msgspec.Struct, omit_defaults=True):
    """RFC 9457's members, and `field`, which of the request's was wrong: `filter.price.gte`, or the path's `id`.

    `title` is the status' phrase, and `type` therefore "about:blank", which may be left out (RFC 9457, 4.2.1).
    """

    status: int
    title: str
    detail: str
    field: str = ""


class Refused(Exception):
    """A request is refused. `headers` go with the problem."""

    def __init__(
        self, status: int, detail: str, field: str = "", headers: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.field = field
        self.headers = headers


def as_response(refused: Refused) -> Response:
    """The response to a refused request."""
    body = _body(refused.status, str(refused), refused.field)
    return Response(body, refused.status, dict(refused.headers), KIND)


def as_problem(status: int, reason: str) -> tuple[bytes, bytes]:
    """A refusal of `serving.bodies`', which knows of no field."""
    return KIND.encode(), _body(status, reason, "")


def plain(text: str) -> str:
    """What is said of a request, which may quote it at any length, and also what no text may hold."""
    return text[:_LONGEST].encode("utf-8", "replace").decode()


def _body(status: int, detail: str, field: str) -> bytes:
    return msgspec.json.encode(Problem(status, HTTPStatus(status).phrase, plain(detail), plain(field)))
