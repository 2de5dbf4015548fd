"""Requests to Pinecone that are repeated while it is away or busy, and what its answers mean.

By its REST interface: its own client gives no LSN of a deletion, and repeats what fails with a patience of its own.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
import msgspec

from connectors.patience import ONCE_MORE, Answer, Stop, for_seconds, is_away, patiently
from connectors.rotation import Key
from core.config.pinecone import Pinecone
from core.errors import ConfigError, FreshetError, StoreGone, Throttled, Unavailable, brief

SETTING = "store.pinecone"

_VERSION = "2025-10"
_TIMES = httpx.Timeout(30.0, connect=5.0)
_UNKNOWN_KEY = 401
_REFUSED = (400, 409, 413, 422)
# as its documentation has them, and as its vectors API sends them too
_WRITTEN = ("x-pinecone-request-lsn", "x-pinecone-lsn-committed")
_INDEXED = ("x-pinecone-max-indexed-lsn", "x-pinecone-lsn-reconciled")


class Refused(ConfigError):
    """Pinecone refuses a request as it is; the same records are refused again. `why`: in its words."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__([f"{SETTING}: {name} refuses ({why}): correct what is asked"])
        self.why = why


class _KeyRefused(ConfigError):
    """Pinecone knows no such key."""


class NoNamespace(Exception):
    """A namespace isn't there, which is made by what is first written to it; or the index is gone."""


@dataclass(frozen=True, slots=True)
class Said:
    """An answer to a request about a namespace.

    body     of JSON
    written  the LSN of the write that was asked for, where it says so
    indexed  up to which LSN the answer shows what was written, where it says so
    """

    body: Any
    written: int | None
    indexed: int | None


class Service:
    """Pinecone as a key sees it: its control plane, and one index. Connects when first asked.

    `patience_s`: how long to repeat what it doesn't answer, or answers with 429 or 5xx, further and further apart.
    """

    def __init__(self, target: Pinecone, patience_s: float) -> None:
        self._control = target.host.rstrip("/")
        self._index = target.index
        self._key = Key(target.api_key.get_secret_value(), target.references("api_key"), f"{SETTING}.api_key")
        self._patience_s = patience_s
        self._host = ""
        self._http: httpx.Client | None = None

    @property
    def name(self) -> str:
        """What messages call it: the index, and whose it is."""
        return f"index {self._index} of Pinecone at {self._control.partition('://')[2]}"

    def once(self, call: Callable[[], Answer]) -> Answer:
        """What `call` returns; a second attempt, in case a connection was lost since the last.

        Raises Unavailable where nobody answers, ConfigError where it is refused, StoreGone where the index is gone.
        """
        return self._repeat(call, ONCE_MORE)

    def patiently(self, call: Callable[[], Answer]) -> Answer:
        """As `once`, with attempts for the patience. `call` must bear repeating."""
        return self._repeat(call, for_seconds(self._patience_s))

    def _repeat(self, call: Callable[[], Answer], stop: Stop) -> Answer:
        return patiently(call, stop, self._may_pass, of="pinecone")

    def _may_pass(self, error: BaseException) -> bool:
        # while a secret is rotated, Pinecone may know the key that is to come
        return is_away(error) or (isinstance(error, _KeyRefused) and self._key.changes)

    def described(self) -> dict[str, Any] | None:
        """What the control plane says of the index; None where there is none."""
        response = self._sent("GET", f"{self._control}/indexes/{self._index}", None)
        if response.status_code == 404:
            return None
        found: dict[str, Any] = self._body(response)
        self._host = self._address(found.get("host") or "")
        return found

    def create(self, settings: Mapping[str, Any]) -> None:
        """Make the index, which isn't ready yet. Another may have made it meanwhile."""
        response = self._sent("POST", f"{self._control}/indexes", {"name": self._index, **settings})
        if response.status_code != 409:
            self._body(response)

    def asked(self, path: str, body: Mapping[str, Any] | bytes) -> Said:
        """The index's answer. Raises NoNamespace where it has nothing of this name."""
        if not self._host and self.described() is None:
            raise self._gone("it isn't there")
        if not self._host:
            raise Unavailable(f"{SETTING}.index: {self.name} has no address yet: wait until it is ready")
        response = self._sent("POST", f"{self._host}{path}", body)
        if response.status_code == 404:
            self._host = ""
            raise NoNamespace
        return Said(self._body(response), _lsn(response, _WRITTEN), _lsn(response, _INDEXED))

    def gone(self) -> FreshetError | None:
        """Why the index is gone; None where it is there."""
        return self._gone("it isn't there") if self.described() is None else None

    def _sent(self, method: str, url: str, body: Mapping[str, Any] | bytes | None) -> httpx.Response:
        """What is answered; to a second request where the key is refused, and is another one by now."""
        content = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        shown = self._key.text
        response = self._answer(method, url, content, shown)
        if response.status_code == _UNKNOWN_KEY and self._key.differs(shown):
            return self._answer(method, url, content, self._key.text)
        return response

    def _answer(self, method: str, url: str, content: bytes | None, key: str) -> httpx.Response:
        headers = {"Api-Key": key, "X-Pinecone-Api-Version": _VERSION}
        if content is not None:
            headers["Content-Type"] = "application/json"
        try:
            return self._connected().request(method, url, content=content, headers=headers)
        except httpx.HTTPError as error:
            # an index that is made again is elsewhere
            self._host = ""
            why = brief(error) or type(error).__name__
            raise Unavailable(
                f"{SETTING}.host: {self.name} doesn't answer ({why}): look at the network, or correct the address"
            ) from error

    def _body(self, response: httpx.Response) -> Any:
        if response.is_success:
            try:
                return msgspec.json.decode(response.content) if response.content else {}
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise Unavailable(f"{SETTING}.host: {self.name} answers with what is no JSON ({error})") from error
        raise self._failure(response)

    def _failure(self, response: httpx.Response) -> Exception:
        status = response.status_code
        if status == _UNKNOWN_KEY:
            # what it says isn't shown: it may repeat a part of the key
            return _KeyRefused(
                [
                    f"{SETTING}.api_key: {self.name} answers 401, it knows no such key: it may have been deleted; give "
                    "one of the index's project"
                ]
            )
        said = f"{status}: {_message(response).replace(self._key.text, '(not shown)')}"
        if status == 403:
            # a quota of indexes too
            return ConfigError(
                [f"{SETTING}.api_key: {self.name} refuses ({said}): give a key that may read and write this index"]
            )
        if status == 429:
            return Throttled(f"{SETTING}: {self.name} is asked too often ({said})", _seconds(response))
        if status in _REFUSED:
            return Refused(self.name, said)
        if status == 408 or status >= 500:
            return Unavailable(f"{SETTING}: {self.name} doesn't answer ({said})")
        return ConfigError([f"{SETTING}: {self.name} refuses ({said}): correct host, index or plan"])

    def _address(self, host: str) -> str:
        if not host or "://" in host:
            return host
        # a service of this machine's own has no certificate
        return f"{self._control.partition('://')[0]}://{host}"

    def _connected(self) -> httpx.Client:
        if self._http is None:
            self._http = httpx.Client(timeout=_TIMES, verify=_trust())
        return self._http

    def _gone(self, why: str) -> StoreGone:
        return StoreGone(
            [
                f"{SETTING}.index: {self.name}: {why}: where it was deleted, `freshet run pipeline.yaml --rebuild` "
                "makes it; or correct the name"
            ]
        )

    def close(self) -> None:
        """Give connections back; the next request makes another."""
        client, self._http = self._http, None
        if client is not None:
            client.close()


@cache
def _trust() -> ssl.SSLContext:
    """Whose certificates are believed: read once a process, as that takes longer than a request."""
    return httpx.create_ssl_context()


def _lsn(response: httpx.Response, names: tuple[str, ...]) -> int | None:
    said = next((response.headers[name] for name in names if name in response.headers), "")
    return int(said) if said.isdecimal() else None


def _seconds(response: httpx.Response) -> float:
    """What Retry-After says; 0 where it says no number."""
    try:
        return max(0.0, float(response.headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0


def _message(response: httpx.Response) -> str:
    """What an error's body says: of the control plane it is within `error`, of an index beside its code."""
    try:
        body = msgspec.json.decode(response.content)
        said = body.get("error", body).get("message", "")
    except (msgspec.DecodeError, AttributeError):
        said = response.text
    return brief(said)
