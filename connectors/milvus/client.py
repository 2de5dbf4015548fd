"""Requests to Milvus that are repeated while it is away or busy, and what its errors mean."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import grpc
from pymilvus import MilvusClient
from pymilvus.exceptions import DataNotMatchException, MilvusException, ParamError

from connectors.milvus.lite import address_of
from connectors.patience import ONCE_MORE, Answer, Stop, for_seconds, is_away, patiently
from connectors.rotation import Key
from core.errors import ConfigError, StoreGone, Throttled, Unavailable, brief
from core.stores.batches import sized

SETTING = "store.milvus"
PAGE = 16_000
"""Rows of a page: of a query, Milvus gives 16,384 at most."""
WIDE_PAGE = 2_000
"""Rows of a page, where they have their vectors."""

_CALL_SECONDS = 30.0
_CONNECT_SECONDS = 5  # no float: pymilvus would try again 75 times
_BYTES_A_REQUEST = 8 * 2**20
_BYTES_A_ROW = 200
_IDS_AT_ONCE = 1_000

# Codes of Milvus (pkg/util/merr/errors.go). Lite has some of an older numbering.
_NO_COLLECTION = 100
_NOT_LOADED = (101, 102, 103)
_REFUSED = (6, 1100, 1101)
_UNKNOWN_LOGIN = (1400, grpc.StatusCode.UNAUTHENTICATED)
_NOT_ALLOWED = (1401, grpc.StatusCode.PERMISSION_DENIED)
_BUSY = (4, 8, 9)
_UNCONNECTED = 2
_UNREACHED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNKNOWN)

# It logs each request that fails, by loggers with levels of their own; those are repeated, or raised.
for _name in [each for each in logging.root.manager.loggerDict if each.partition(".")[0] == "pymilvus"]:
    logging.getLogger(_name).setLevel(logging.CRITICAL)


class Refused(Exception):
    """Milvus refuses a request as it is; the same rows are refused again."""


class _TokenRefused(ConfigError):
    """Milvus knows no such login."""


class Server:
    """The Milvus at a URI. Connects when first asked.

    patience_s   how long to repeat what it doesn't answer
    collections  what is loaded into memory where it isn't there any more: Lite forgets it when it is started again
    """

    def __init__(self, uri: str, token: Key, patience_s: float, collections: Sequence[str]) -> None:
        self._uri = uri
        self._collections = collections
        self._token = token
        self._patience_s = patience_s
        self._client: MilvusClient | None = None
        self._at = uri

    @property
    def name(self) -> str:
        """Where it is, as messages name it: a server's address, or a file and the address of its server."""
        bare = self._at.rpartition("://")[2].rpartition("@")[2]
        return bare if self._at == self._uri else f"{self._uri} ({bare})"

    def once(self, call: Callable[[MilvusClient], Answer]) -> Answer:
        """What `call` returns; a second attempt, in case the server was restarted since the last.

        Raises Unavailable where it doesn't answer, ConfigError where it refuses, StoreGone where a collection is gone.
        """
        return self._repeat(call, ONCE_MORE)

    def patiently(self, call: Callable[[MilvusClient], Answer]) -> Answer:
        """As `once`, with attempts for the patience. `call` must bear repeating."""
        return self._repeat(call, for_seconds(self._patience_s))

    def _repeat(self, call: Callable[[MilvusClient], Answer], stop: Stop) -> Answer:
        try:
            return self._attempts(call, stop)
        except Refused as error:
            raise ConfigError([f"{SETTING}: Milvus at {self.name} refuses ({error}): correct what is asked"]) from error

    def attempt(self, call: Callable[[MilvusClient], Answer]) -> Answer:
        """As `patiently`, but raises Refused where Milvus refuses the request as it is."""
        return self._attempts(call, for_seconds(self._patience_s))

    def _attempts(self, call: Callable[[MilvusClient], Answer], stop: Stop) -> Answer:
        return patiently(lambda: self._let_in(call), stop, self._may_pass, of="milvus")

    def _may_pass(self, error: BaseException) -> bool:
        # while a secret is rotated, Milvus may know the token that is to come
        return is_away(error) or (isinstance(error, _TokenRefused) and self._token.changes)

    def _let_in(self, call: Callable[[MilvusClient], Answer]) -> Answer:
        """As `_attempt`; a second one where the token is refused, and is another one by now."""
        shown = self._token.text
        try:
            return self._attempt(call)
        except _TokenRefused:
            # a connection has the token that it was made with
            self.close()
            if not self._token.differs(shown):
                raise
        return self._attempt(call)

    def _attempt(self, call: Callable[[MilvusClient], Answer]) -> Answer:
        try:
            return call(self._connected())
        except MilvusException as error:
            raise self._meaning(error) from error
        except grpc.RpcError as error:
            raise self._of_transport(error.code(), error.details()) from error
        except grpc.FutureTimeoutError as error:
            raise self._away("no connection") from error

    def _connected(self) -> MilvusClient:
        if self._client is None:
            self._at = address_of(self._uri)
            # of its own: the client shares connections of one address, and closes them for all
            alias = uuid4().hex
            self._client = MilvusClient(self._at, token=self._token.text, timeout=_CONNECT_SECONDS, alias=alias)
        return self._client

    def _meaning(self, error: MilvusException) -> Exception:
        # of an RPC that fails the client passes the method that tells its code
        code, said = error.code() if callable(error.code) else error.code, brief(error.message)
        if isinstance(code, grpc.StatusCode):
            return self._of_transport(code, said)
        if code == _NO_COLLECTION:
            return StoreGone([f"{SETTING}.collection: Milvus at {self.name} has none of this name ({said}): {_GONE}"])
        if code in (*_UNKNOWN_LOGIN, *_NOT_ALLOWED):
            return self._login(code, said)
        if code in _BUSY:
            return Throttled(f"{SETTING}.uri: Milvus at {self.name} is asked too often ({said})")
        if code in _REFUSED or isinstance(error, ParamError | DataNotMatchException):
            return Refused(said)
        if code in _NOT_LOADED:
            self._load()
        elif code == _UNCONNECTED:
            self.close()
        return self._away(said)

    def _load(self) -> None:
        # what fails here fails again where it is needed
        with suppress(MilvusException, grpc.RpcError):
            for name in self._collections:
                self._connected().load_collection(name, **TIMES)

    def _of_transport(self, code: grpc.StatusCode, said: str | None) -> Exception:
        why = brief(said or code.name)
        if code in (*_UNKNOWN_LOGIN, *_NOT_ALLOWED):
            return self._login(code, why)
        if code is grpc.StatusCode.INVALID_ARGUMENT:
            return Refused(why)
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Refused(f"a request of too many bytes: {why}")
        if code in _UNREACHED:
            # a server that is started again may be at another port
            self.close()
        return self._away(why)

    def _login(self, code: int | grpc.StatusCode, why: str) -> ConfigError:
        if code in _NOT_ALLOWED:
            return ConfigError(
                [
                    f"{SETTING}.token: Milvus at {self.name} doesn't let its user do that ({why}): grant what is "
                    "missing, or give another user's"
                ]
            )
        if not self._token.text:
            return _TokenRefused(
                [f"{SETTING}.token isn't set, and Milvus at {self.name} lets nobody in without ({why}): set it"]
            )
        return _TokenRefused(
            [
                f"{SETTING}.token: Milvus at {self.name} refuses it ({why}): it may have expired, or been changed; "
                "give one that holds"
            ]
        )

    def _away(self, why: str) -> Unavailable:
        return Unavailable(
            f"{SETTING}.uri: Milvus at {self.name} doesn't answer ({why}): start it, or correct the address"
        )

    def rows(
        self,
        collection: str,
        condition: str,
        fields: Sequence[str],
        level: str = "Strong",
        page: int = PAGE,
        once: bool = False,
    ) -> Iterator[dict[str, Any]]:
        """All rows of a collection that a condition holds for, with these fields and `id`, by their ids, in pages."""
        last = ""
        # by their ids' order, which Milvus keeps for iterators alone
        how = {"limit": page, "iterator": "True"}
        while True:
            after = f"id > {quoted(last)}"
            asked = f"({condition}) and {after}" if condition else after
            found = self._query(collection, asked, ["id", *fields], level, once, **how)
            yield from found
            if len(found) < page:
                return
            last = max(each["id"] for each in found)

    def by_ids(
        self, collection: str, ids: Sequence[str], fields: Sequence[str], once: bool = False
    ) -> dict[str, dict[str, Any]]:
        """The rows that have these ids, by id, as they are now."""
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(ids), _IDS_AT_ONCE):
            asked = among("id", ids[start : start + _IDS_AT_ONCE])
            found |= {each["id"]: each for each in self._query(collection, asked, ["id", *fields], "Strong", once)}
        return found

    def count(self, collection: str, condition: str, level: str = "Strong") -> int:
        """How many rows a condition holds for. Doesn't wait for a server that is away."""
        return int(self._query(collection, condition, ["count(*)"], level, once=True)[0]["count(*)"])

    def _query(
        self, collection: str, condition: str, fields: Sequence[str], level: str, once: bool, **how: Any
    ) -> list[dict[str, Any]]:
        def ask(client: MilvusClient) -> list[dict[str, Any]]:
            asked = {"filter": condition, "output_fields": fields, "consistency_level": level}
            return list(client.query(collection, **asked, **how, **TIMES))

        return self.once(ask) if once else self.patiently(ask)

    def write(self, collection: str, rows: Iterable[Mapping[str, Any]], size_of: Callable[[Any], int]) -> None:
        """Insert rows, or put them in the place of those of their ids, 8 MiB at a time. Raises Refused."""
        for some in sized(rows, lambda each: size_of(each) + _BYTES_A_ROW, _BYTES_A_REQUEST):
            self._upsert(collection, some)

    def _upsert(self, collection: str, rows: list[Mapping[str, Any]]) -> None:
        self.attempt(lambda client: client.upsert(collection, rows, **TIMES))

    def delete(self, collection: str, condition: str) -> None:
        """Delete the rows that a condition holds for."""
        self.patiently(lambda client: client.delete(collection, filter=condition, **TIMES))

    def close(self) -> None:
        """Give the connection back; the next request makes another."""
        client, self._client = self._client, None
        if client is not None:
            client.close()


_GONE = (
    "where it was deleted, delete the other of collection and ledger too, and `freshet run pipeline.yaml --rebuild` "
    "makes both; or correct the name"
)

TIMES: Mapping[str, Any] = {"timeout": _CALL_SECONDS, "retry_times": 0}
"""How long a call may take. The client itself would repeat what fails, 75 times."""


def quoted(text: str) -> str:
    """A text as expressions have it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def among(field: str, values: Sequence[str]) -> str:
    """The condition that a field has one of the values."""
    return f"{field} in [{', '.join(map(quoted, values))}]"
