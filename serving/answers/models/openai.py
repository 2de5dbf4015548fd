"""A server with OpenAI's `/v1/chat/completions`: requests go on as they are, and so do answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec

from core.config.answer import OpenAiChat
from serving.answers.http_bodies import beginning
from serving.answers.models.contract import Body, ModelFailed
from udfs.remote.failures import shown

_CONNECT_S = 5.0
_CONNECTIONS = 256
_LARGEST = 32 << 20
_LARGEST_EVENT = 4 << 20
_LARGEST_ERROR = 1 << 16
_DATA = b"data:"
_DONE = b"[DONE]"
_REFUSALS = (400, 404, 413, 422)
_NO_COMPLETION = "the answering model answers what is no chat completion"
_NOT_LET_IN = "the answering model doesn't let this server in: see answer.openai.api_key in the server's file"

_encode = msgspec.json.Encoder().encode


class OpenAiModel:
    """A model of such a server. Nobody is followed to another address."""

    def __init__(self, to: OpenAiChat, timeout_s: float) -> None:
        self.name = to.model
        self._url = to.url.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
        self._key = "" if to.api_key is None else to.api_key.get_secret_value()
        known = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = httpx.AsyncClient(
            headers={"Content-Type": "application/json", **known},
            timeout=httpx.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
            limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
            follow_redirects=False,
        )

    async def whole(self, body: Body) -> Body:
        """See `AnsweringModel.whole`."""
        async with self._asked({**body, "stream": False}) as response:
            answer = await _read(response, _LARGEST)
        found = _decoded(answer)
        if not isinstance(found, dict) or not found.get("choices") or not _are_choices(found["choices"]):
            raise ModelFailed(502, _NO_COMPLETION, self._shown(answer))
        return found

    async def pieces(self, body: Body) -> AsyncGenerator[Body, None]:
        """See `AnsweringModel.pieces`."""
        async with self._asked({**body, "stream": True}) as response:
            finished = False
            async for data in _events(response):
                if data == _DONE:
                    break
                piece = self._piece(data)
                choices = piece.get("choices")
                finished = finished or any(each.get("finish_reason") for each in choices or ())
                yield piece
            if not finished:
                raise ModelFailed(502, "the answering model's answer was cut off")

    async def close(self) -> None:
        """See `AnsweringModel.close`."""
        await self._client.aclose()

    @asynccontextmanager
    async def _asked(self, body: Body) -> AsyncIterator[httpx.Response]:
        """A response that is an answer. Raises ModelFailed, also for what goes wrong while it is read."""
        try:
            async with self._client.stream("POST", self._url, content=_encode(body)) as response:
                if response.status_code != 200:
                    raise self._failure(response, await _read(response, _LARGEST_ERROR))
                yield response
        except httpx.TimeoutException as error:
            raise ModelFailed(504, "the answering model doesn't answer in time", self._log(error)) from None
        except httpx.RemoteProtocolError as error:
            raise ModelFailed(502, "the answering model's answer was cut off", self._log(error)) from None
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise ModelFailed(503, "the answering model can't be reached", self._log(error)) from None

    def _failure(self, response: httpx.Response, answer: bytes) -> ModelFailed:
        status = response.status_code
        said = self._said(answer)
        log = f"{self._url} answers {status}: {said}"
        if status in _REFUSALS:
            return ModelFailed(400, f"the answering model refuses the request: {said}", log)
        if status == 429:
            return ModelFailed(429, "the answering model is busy: ask again", log)
        if status in (401, 403):
            # what it says may repeat a part of the key
            return ModelFailed(502, _NOT_LET_IN, f"{self._url} answers {status}")
        return ModelFailed(503 if status >= 500 else 502, "the answering model fails: ask again", log)

    def _piece(self, data: bytes) -> Body:
        found = _decoded(data)
        if isinstance(found, dict) and found.get("error"):
            raise ModelFailed(502, f"the answering model fails: {self._said(data)}", self._shown(data))
        if not isinstance(found, dict) or not _are_choices(found.get("choices")):
            raise ModelFailed(502, _NO_COMPLETION, self._shown(data))
        return found

    def _said(self, answer: bytes) -> str:
        return self._shown(_message(answer).encode("utf-8", "replace"))

    def _shown(self, answer: bytes) -> str:
        return shown(answer[:_LARGEST_ERROR], self._key)

    def _log(self, error: Exception) -> str:
        return f"{self._url}: {type(error).__name__}: {error}".rstrip(": ")


async def _read(response: httpx.Response, most: int) -> bytes:
    if len(found := await beginning(response, most)) > most:
        raise ModelFailed(502, f"the answering model answers more than {most:,} bytes")
    return found


async def _events(response: httpx.Response) -> AsyncIterator[bytes]:
    """The data of server-sent events, one line each as OpenAI sends them.

    Lines end at line feeds alone: httpx' own also ends them at characters that JSON may have in a text.
    """
    held = b""
    async for part in response.aiter_bytes():
        *lines, held = (held + part).split(b"\n")
        if len(held) > _LARGEST_EVENT:
            raise ModelFailed(502, f"the answering model answers more than {_LARGEST_EVENT:,} bytes at once")
        for line in lines:
            if line.startswith(_DATA):
                yield line[len(_DATA) :].strip()
    if held.startswith(_DATA):
        yield held[len(_DATA) :].strip()


def _are_choices(found: Any) -> bool:
    return isinstance(found, list) and all(
        isinstance(each, dict) and isinstance(each.get("delta"), dict | None) for each in found
    )


def _decoded(answer: bytes) -> Any:
    """The JSON that is answered; None where it is none."""
    try:
        return msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _message(answer: bytes) -> str:
    """What an error says, in OpenAI's shape or in another."""
    if (found := _decoded(answer)) is None:
        return answer.decode("utf-8", "replace")
    error = found.get("error", found) if isinstance(found, dict) else found
    return str(error.get("message", error) if isinstance(error, dict) else error)
