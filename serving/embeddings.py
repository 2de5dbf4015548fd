"""An embedder as a server that speaks OpenAI's protocol: `/v1/embeddings`, `/v1/models`, `/health`."""

from __future__ import annotations

import asyncio
import logging
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from hmac import compare_digest
from types import MappingProxyType
from typing import Any, Literal

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from core.config.embedding import Embedding
from core.errors import bounded, quote
from core.stores.contract import Vectors
from serving.batches import Answer, Batches, Full
from udfs.embedding.contract import Embedder
from udfs.embedding.embedder import embedder, questioner
from udfs.embedding.prompts import Side
from udfs.embedding.tokenizing import short_name

MOST_TEXTS = 2_048

INPUT_TYPES: Mapping[str, Side] = {
    "query": "query",
    "search_query": "query",
    "document": "document",
    "passage": "document",
    "search_document": "document",
}
"""What a request may say of its texts, in Voyage's, NVIDIA's and Cohere's words."""

_log = logging.getLogger(__name__)


class _Asked(msgspec.Struct):
    input: str | list[str]
    model: str = ""
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    input_type: str | None = None


_decode = msgspec.json.Decoder(_Asked).decode
_encode = msgspec.json.Encoder().encode


class _Refused(Exception):
    """A request that gets no vectors, and what it gets instead."""

    def __init__(self, status: int, message: str, code: str = "invalid_request_error") -> None:
        super().__init__(bounded(message))
        self.status = status
        self.code = code


def sides_of(model: Embedding | str, device: str | None) -> Mapping[Side, Embedder]:
    """The embedders of a model's questions and documents, which share one loaded model. Raises as `embedder`."""
    return {"query": questioner(model, device), "document": embedder(model, device)}


def application(
    model: Embedder, tokens: int, keys: Sequence[str] = (), sides: Mapping[Side, Embedder] = MappingProxyType({})
) -> Starlette:
    """The server's application.

    model   embeds texts of which a request doesn't say whether they are questions or documents
    tokens  as `Batches` has it
    keys    whoever asks must have one of them; none: everybody may
    sides   what embeds questions and documents, where another does
    """
    batches = Batches(model, tokens)
    known = [key.encode() for key in keys]

    async def embeddings(request: Request) -> Response:
        try:
            _let_in(request, known)
            asked = await _read(request, model)
            texts = [asked.input] if isinstance(asked.input, str) else asked.input
            side = sides.get(INPUT_TYPES[asked.input_type]) if asked.input_type is not None else None
            return _json(_body(model, asked, await _answer(batches, texts, side)))
        except _Refused as refused:
            return _error(refused)

    async def models(request: Request) -> Response:
        try:
            _let_in(request, known)
        except _Refused as refused:
            return _error(refused)
        served = {"id": model.name, "object": "model", "created": 0, "owned_by": "freshet"}
        return _json({"object": "list", "data": [served]})

    async def health(request: Request) -> Response:
        return _json({"status": "ok", "model": model.describe()}, 200 if batches.works else 503)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(batches.close)

    return Starlette(
        routes=[
            Route("/v1/embeddings", embeddings, methods=["POST"]),
            Route("/v1/models", models),
            Route("/health", health),
        ],
        lifespan=lifespan,
    )


def _let_in(request: Request, known: Sequence[bytes]) -> None:
    given = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
    # each is compared, so that the time tells nothing
    if known and not sum(compare_digest(given, key) for key in known):
        raise _Refused(401, "send a key that this server knows, as Authorization: Bearer KEY", "invalid_api_key")


async def _read(request: Request, model: Embedder) -> _Asked:
    try:
        asked = _decode(await request.body())
    except ClientDisconnect:
        raise _Refused(400, "the request isn't whole") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _Refused(400, f"no request for embeddings: {error}; input is a text or a list of texts") from None
    if asked.model and short_name(asked.model) != short_name(model.name):
        raise _Refused(404, f"the model {quote(asked.model)} isn't served here, {model.name!r} is", "model_not_found")
    if asked.dimensions not in (None, model.dimension):
        raise _Refused(400, f"dimensions is {asked.dimensions}; {model.name} has {model.dimension}")
    if asked.input_type is not None and asked.input_type not in INPUT_TYPES:
        raise _Refused(400, f"input_type is {quote(asked.input_type)}, must be one of {', '.join(INPUT_TYPES)}")
    if isinstance(asked.input, list) and not 1 <= len(asked.input) <= MOST_TEXTS:
        status = 413 if asked.input else 400
        raise _Refused(status, f"input has {len(asked.input)} texts, must have 1 to {MOST_TEXTS}")
    return asked


async def _answer(batches: Batches, texts: Sequence[str], side: Embedder | None) -> Vectors:
    try:
        answer: Answer = await asyncio.wrap_future(batches.submit(texts, side))
    except Full:
        raise _Refused(429, "more is waiting than is soon done: ask again", "rate_limit_exceeded") from None
    except Exception as error:
        _log.exception("the model failed")
        raise _Refused(500, f"the model failed with {type(error).__name__}", "server_error") from error
    if answer.errors:
        at, reason = next(iter(answer.errors.items()))
        raise _Refused(400, f"input[{at}]: {reason}")
    return answer.vectors


def _body(model: Embedder, asked: _Asked, vectors: Vectors) -> dict[str, Any]:
    rows: list[Any] = vectors.tolist()
    if asked.encoding_format == "base64":
        rows = [b64encode(row).decode() for row in vectors.astype("<f4")]
    data = [{"object": "embedding", "index": at, "embedding": each} for at, each in enumerate(rows)]
    # tokens aren't counted: that would tokenize each text twice
    usage = {"prompt_tokens": 0, "total_tokens": 0}
    return {"object": "list", "data": data, "model": asked.model or model.name, "usage": usage}


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(_encode(body), status, headers, "application/json")


def _error(refused: _Refused) -> Response:
    error = {"message": str(refused), "type": refused.code, "code": refused.code, "param": None}
    return _json({"error": error}, refused.status, {"Retry-After": "1"} if refused.status == 429 else None)
