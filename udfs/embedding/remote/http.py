"""Endpoints over HTTP: OpenAI's protocol, and that of Text Embeddings Inference."""

from __future__ import annotations

import logging
import threading
import time
from base64 import b64decode
from binascii import Error as NoBase64
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import numpy as np

from core.config.embedding import Embedding, OpenAi, Tei, fits_a_header
from core.config.secrets import Rotation
from core.errors import ConfigError, FreshetError, Unavailable
from core.stores.contract import Vectors
from udfs.embedding.remote.endpoint import Busy, Refusal, matrix, shown

_CONNECT_S = 10.0
_LARGEST_ANSWER = 256 << 20
"""Bytes, unpacked: 2,048 vectors of 4,096 numbers as text have less."""
_LARGEST_ERROR = 1 << 16
_UNKNOWN_KEY = 401
_REFUSALS = (400, 413, 422, 424)


class _Datum(msgspec.Struct):
    index: int
    embedding: str | list[float]


class _Answer(msgspec.Struct):
    data: list[_Datum]


_log = logging.getLogger("freshet")

_encode = msgspec.json.Encoder().encode
_decode_openai = msgspec.json.Decoder(_Answer).decode
_decode_tei = msgspec.json.Decoder(list[list[float]]).decode


class _Key:
    """The key of an endpoint, which may be a secret that changes."""

    def __init__(self, to: OpenAi | Tei, setting: str) -> None:
        self.text = "" if to.api_key is None else to.api_key.get_secret_value()
        self._rotation, self._setting = Rotation(to.references("api_key")), setting
        self._asking = threading.Lock()

    def differs(self, sent: str) -> bool:
        """Whether it is another one now than what was sent, and refused: a secret is asked for anew."""
        with self._asking:
            if sent == self.text:
                try:
                    found = self._rotation.read(time.monotonic()).get("api_key", sent)
                except FreshetError as error:
                    _log.warning("%s.api_key is refused, and what it is now can't be read: %s", self._setting, error)
                    return False
                self.text = found if fits_a_header(found) else sent
            return sent != self.text


class Http:
    """POSTs to one URL. Connections are kept, and shared by threads; nobody is followed to another address."""

    def __init__(self, url: str, setting: str, to: OpenAi | Tei, timeout_s: float, connections: int) -> None:
        self.where = url
        self._setting = setting
        self._key = _Key(to, setting)
        self._timeout_s = timeout_s
        self._client = httpx.Client(
            headers={"Content-Type": "application/json"},
            timeout=httpx.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=False,
        )

    def post(self, body: bytes) -> bytes:
        """The body of the answer. Asks again where the key is refused, and is another one by now.

        Raises as `Endpoint.ask` does.
        """
        shown = self._key.text
        response, answer = self._answer(body, shown)
        if response.status_code == _UNKNOWN_KEY and self._key.differs(shown):
            shown = self._key.text
            response, answer = self._answer(body, shown)
        if response.status_code != 200:
            raise self._failure(response, answer[:_LARGEST_ERROR], shown)
        if len(answer) > _LARGEST_ANSWER:
            raise Refusal(f"{self.where} answers more than {_LARGEST_ANSWER:,} bytes")
        return answer

    def _answer(self, body: bytes, key: str) -> tuple[httpx.Response, bytes]:
        known = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            with self._client.stream("POST", self.where, content=body, headers=known) as response:
                fine = response.status_code == 200
                return response, self._read(response, _LARGEST_ANSWER if fine else _LARGEST_ERROR)
        except httpx.InvalidURL as error:
            raise ConfigError([f"{self._setting}.url: {self.where} is no URL: {error}"]) from None
        except httpx.RequestError as error:
            what = "doesn't answer in time" if isinstance(error, httpx.TimeoutException) else "can't be reached"
            raise Unavailable(f"{self.where} {what}: {type(error).__name__}: {error}".rstrip(": ")) from None

    def _read(self, response: httpx.Response, most: int) -> bytes:
        """The answer's bytes, unpacked; where they are more than `most`, the first of them, a few more than that."""
        late, parts, size = time.monotonic() + self._timeout_s, [], 0
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > most:
                break
            # httpx' own limit is one between two parts: a byte a second would hold a request for ever
            if time.monotonic() > late:
                raise httpx.ReadTimeout(f"the answer isn't whole after {self._timeout_s:g} s")
        return b"".join(parts)

    def close(self) -> None:
        """Give connections back."""
        self._client.close()

    def _failure(self, response: httpx.Response, answer: bytes, key: str) -> FreshetError:
        status = response.status_code
        message = f"{self.where} answers {status} {response.reason_phrase}".rstrip()
        if response.is_redirect:
            to = urlsplit(response.headers.get("Location", ""))
            target = f"{to.scheme}://{to.hostname}" if to.hostname else "another path"
            return ConfigError([f"{self._setting}.url: {message} to {target}: nothing is sent to where you don't say"])
        if status in (401, 403):
            # the body isn't shown: some repeat a part of the key
            return ConfigError([f"{self._setting}.api_key: {message}: set a key that may use this model"])
        message = f"{message}: {shown(answer, key)}".rstrip(": ")
        if status in _REFUSALS:
            return Refusal(message)
        if status in (429, 503):
            return Busy(message, wait_s(response.headers.get("Retry-After", "")), fails=status == 503)
        if status in (408, 409, 425) or status >= 500:
            return Unavailable(message)
        return ConfigError([f"{self._setting}.url: {message}: check the URL and the model's name"])


def wait_s(header: str) -> float:
    """What Retry-After says (RFC 9110, 10.2.3): seconds, or a date; 0 where it says neither."""
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0


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
