"""POST requests to a server that has a model: its key, its time-outs, and what its failures mean."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from core.config.embedding import fits_a_header
from core.config.secrets import Reference, Rotation
from core.errors import ConfigError, FreshetError, Unavailable
from udfs.remote.failures import Busy, Refusal, shown

_CONNECT_S = 10.0
_LARGEST_ANSWER = 256 << 20
"""Bytes, unpacked: 2,048 vectors of 4,096 numbers as text have less."""
_LARGEST_ERROR = 1 << 16
_UNKNOWN_KEY = 401
_REFUSALS = (400, 413, 422, 424)

_log = logging.getLogger("freshet")


class Keyed(Protocol):
    """Settings of a server that may want a key, as a pipeline file has them."""

    @property
    def api_key(self) -> SecretStr | None:
        """The key; None where the server wants none."""

    def references(self, *settings: str) -> Mapping[str, Reference]:
        """What `api_key` refers to, where it is a secret of somebody else's keeping."""


class _Key:
    """The key of a server, which may be a secret that changes."""

    def __init__(self, to: Keyed, setting: str) -> None:
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

    def __init__(self, url: str, setting: str, to: Keyed, timeout_s: float, connections: int) -> None:
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

        Raises Refusal, Busy, Unavailable where the server doesn't answer or fails, and ConfigError where it lets nobody
        in.
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
