"""Refusals as OpenAI's protocol has them: `{"error": {"message", "type", "code", "param"}}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from serving.problems import Refused, plain

_STATUSES = {422: 400}
"""OpenAI answers what can't be asked with 400."""
_CODES = {401: "invalid_api_key", 404: "not_found", 429: "rate_limit_exceeded"}

_encode = msgspec.json.Encoder().encode


def as_openai_response(refused: Refused) -> Response:
    """The response to a refused request."""
    return error_response(refused.status, str(refused), refused.field or None, refused.headers)


def error_response(
    status: int, message: str, param: str | None = None, headers: Mapping[str, str] | None = None, **more: Any
) -> Response:
    """An error's response; `more` stands beside `error`."""
    shown = _STATUSES.get(status, status)
    body = _encode({"error": error(shown, message, param), **more})
    return Response(body, shown, dict(headers or {}), "application/json")


def error(status: int, message: str, param: str | None = None) -> dict[str, Any]:
    """What is behind `error`."""
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    return {
        "message": plain(message),
        "type": kind,
        "code": _CODES.get(status),
        "param": None if param is None else plain(param),
    }
