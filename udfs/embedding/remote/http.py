"""Endpoints over HTTP: OpenAI's protocol, and that of Text Embeddings Inference."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as NoBase64
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from core.config.embedding import Embedding, OpenAi, Tei
from core.stores.contract import Vectors
from udfs.embedding.remote.endpoint import matrix
from udfs.remote.failures import Refusal
from udfs.remote.http import Http


class _Datum(msgspec.Struct):
    index: int
    embedding: str | list[float]


class _Answer(msgspec.Struct):
    data: list[_Datum]


_encode = msgspec.json.Encoder().encode
_decode_openai = msgspec.json.Decoder(_Answer).decode
_decode_tei = msgspec.json.Decoder(list[list[float]]).decode


class OpenAiEndpoint:
    """`POST …/embeddings` with `input`, as OpenAI has it.

    prompt_name  sent as `input_type`, as NVIDIA's NIM, Voyage and `freshet model serve` have it; None: nothing is
    """

    def __init__(self, embedding: Embedding, to: OpenAi, prompt_name: str | None = None) -> None:
        url = to.url.rstrip("/").removesuffix("/embeddings") + "/embeddings"
        self._http = Http(url, "embedding.openai", to, embedding.timeout, embedding.concurrency)
        self.where = url
        self._request: dict[str, Any] = {"model": embedding.model, "encoding_format": to.encoding_format}
        if to.dimensions is not None:
            self._request["dimensions"] = to.dimensions
        if prompt_name is not None:
            self._request["input_type"] = prompt_name

    def ask(self, texts: Sequence[str]) -> Vectors:
        """See `Endpoint.ask`."""
        body = self._http.post(_encode({**self._request, "input": texts}))
        try:
            data = _decode_openai(body).data
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Refusal(f"{self.where} answers what is no list of embeddings: {error}") from None
        if sorted(each.index for each in data) != list(range(len(texts))):
            raise Refusal(f"{self.where} answers {len(data)} embeddings to {len(texts)} texts, or misnumbers them")
        rows = [self._row(each.embedding) for each in sorted(data, key=lambda each: each.index)]
        return matrix(self.where, rows, len(texts))

    def close(self) -> None:
        """See `Endpoint.close`."""
        self._http.close()

    def _row(self, embedding: str | list[float]) -> Any:
        if not isinstance(embedding, str):
            return embedding
        try:
            return np.frombuffer(b64decode(embedding, validate=True), "<f4")
        except (NoBase64, ValueError):
            raise Refusal(f"{self.where} answers an embedding that is no base64 of float32") from None


class TeiEndpoint:
    """`POST /embed` with `inputs`, and `prompt_name` where one is given, as Text Embeddings Inference has it."""

    def __init__(self, embedding: Embedding, to: Tei, prompt_name: str | None = None) -> None:
        self.where = to.url.rstrip("/").removesuffix("/embed") + "/embed"
        self._http = Http(self.where, "embedding.tei", to, embedding.timeout, embedding.concurrency)
        self._request: dict[str, Any] = {"normalize": True, "truncate": False}
        if prompt_name is not None:
            self._request["prompt_name"] = prompt_name

    def ask(self, texts: Sequence[str]) -> Vectors:
        """See `Endpoint.ask`."""
        body = self._http.post(_encode({"inputs": texts, **self._request}))
        try:
            rows = _decode_tei(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Refusal(f"{self.where} answers what is no list of vectors: {error}") from None
        return matrix(self.where, rows, len(texts))

    def close(self) -> None:
        """See `Endpoint.close`."""
        self._http.close()
