"""A server of ours that answers as Pinecone's published REST interface does, and shows what was written as slowly.

By its documentation of 2025-10: describe and create an index; query, upsert and delete in it. A control plane and each
index have an address of their own. A write has an LSN, and queries show it `lag_s` later, and say up to which LSN they
do. Limits, and what it refuses, are those of its documentation. Where that leaves something open the server does what
is harder to bear: a deletion in a namespace that isn't there is answered with 404, and a list may not be empty.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

KEY = "pcsk_test"
_MOST_ANSWER = 4 * 2**20
_MOST_REQUEST = 2 * 2**20
_MOST_METADATA = 40 * 1024

Metadata = Mapping[str, Any]
Change = Callable[[dict[str, "Vector"]], object]


class Problem(Exception):
    """What is answered in place of what was asked for."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Vector:
    values: NDArray[np.float32]
    metadata: Metadata


@dataclass
class Replica:
    """A namespace as queries see it: what was written and is due."""

    lag_s: float
    due: deque[tuple[float, int, Change]] = field(default_factory=deque)
    vectors: dict[str, Vector] = field(default_factory=dict)
    indexed: int = 0
    _made: tuple[list[str], NDArray[np.float32]] | None = None

    def catch_up(self) -> None:
        while self.due and self.due[0][0] + self.lag_s <= time.monotonic():
            _, self.indexed, change = self.due.popleft()
            change(self.vectors)
            self._made = None

    def directions(self) -> tuple[list[str], NDArray[np.float32]]:
        if self._made is None:
            rows = np.array([each.values for each in self.vectors.values()], np.float32)
            self._made = list(self.vectors), rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return self._made


@dataclass
class Space:
    """A namespace: its log's last LSN, and its replicas, which answer in turn."""

    replicas: list[Replica]
    written: int = 0
    asked: int = 0

    def write(self, change: Change) -> int:
        self.written += 1
        for each in self.replicas:
            each.due.append((time.monotonic(), self.written, change))
        return self.written

    def next_replica(self) -> Replica:
        self.asked += 1
        found = self.replicas[self.asked % len(self.replicas)]
        found.catch_up()
        return found


@dataclass
class Pinecone:
    """The service. `instead`: answers, a status with its headers, that are given once each in place of the next ones.

    lags_s  of each replica, how long it takes until it shows what was written
    asked   the paths of requests, and their bodies
    key     whose requests alone are answered
    """

    lags_s: Sequence[float] = (0.02,)
    indexes: dict[str, dict[str, Any]] = field(default_factory=dict)
    spaces: dict[tuple[str, str], Space] = field(default_factory=dict)
    instead: list[tuple[int, Mapping[str, str]]] = field(default_factory=list)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    url: str = ""
    silent_on_lsn: bool = False
    key: str = KEY
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _servers: dict[str, ThreadingHTTPServer] = field(default_factory=dict)
    _ports: dict[str, int] = field(default_factory=dict)

    def start(self) -> None:
        """Have it listen, at the ports that it had before."""
        for name in ("", *self.indexes):
            if name not in self._servers:
                self._listen(name)
        self.url = f"http://127.0.0.1:{self._ports['']}"

    def stop(self) -> None:
        """Have nobody reach it. What it holds stays."""
        for server in self._servers.values():
            server.shutdown()
            server.server_close()
        self._servers.clear()

    def _listen(self, name: str) -> None:
        handler = type(
            "Handler", (_Handler,), {"answer": partial(self.answer, name), "is_up": partial(self._is_up, name)}
        )
        server = _Listener(("127.0.0.1", self._ports.get(name, 0)), handler)
        self._servers[name], self._ports[name] = server, server.server_port
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def _is_up(self, name: str) -> bool:
        return name in self._servers

    def answer(self, index: str, method: str, path: str, headers: Mapping[str, str], raw: bytes) -> _Answer:
        with self._lock:
            try:
                if headers.get("Api-Key") != self.key:
                    raise Problem(401, f"Invalid API Key {headers.get('Api-Key')}")
                if not headers.get("X-Pinecone-Api-Version"):
                    raise Problem(400, "no version of the API")
                if len(raw) > _MOST_REQUEST:
                    raise Problem(413, f"the request has {len(raw)} bytes")
                body = msgspec.json.decode(raw or b"{}")
                self.asked.append((path, body))
                if self.instead:
                    status, said = self.instead.pop(0)
                    return status, said, {"code": 8, "message": "as it was asked to"}
                return self._data(index, path, body) if index else self._control(method, path, body)
            except Problem as problem:
                message = {"message": str(problem), "code": 3}
                return problem.status, {}, message if index else {"error": message, "status": problem.status}

    def _control(self, method: str, path: str, body: Any) -> _Answer:
        if method == "GET" and path.startswith("/indexes/"):
            name = path.removeprefix("/indexes/")
            if name not in self.indexes:
                raise Problem(404, f"Resource {name} not found")
            return 200, {}, self.indexes[name]
        if (method, path) != ("POST", "/indexes"):
            raise Problem(404, path)
        if body["name"] in self.indexes:
            raise Problem(409, "Resource already exists")
        self.make(**body)
        return 201, {}, self.indexes[body["name"]]

    def make(self, name: str, **settings: Any) -> None:
        """Make an index."""
        self._listen(name)
        self.indexes[name] = {
            "name": name,
            "vector_type": "dense",
            "host": f"127.0.0.1:{self._ports[name]}",
            "status": {"ready": True, "state": "Ready"},
            **settings,
        }

    def delete_index(self, name: str) -> None:
        """As in the console."""
        server = self._servers.pop(name)
        server.shutdown()
        server.server_close()
        del self.indexes[name]
        for key in [each for each in self.spaces if each[0] == name]:
            del self.spaces[key]

    def _data(self, index: str, path: str, body: Any) -> _Answer:
        key = (index, body.get("namespace") or "__default__")
        dimension = self.indexes[index]["dimension"]
        match path:
            case "/query":
                return self._query(self.spaces.get(key), body, dimension)
            case "/vectors/upsert":
                vectors = _vectors(body["vectors"], dimension)
                made = self.spaces.setdefault(key, Space([Replica(lag_s) for lag_s in self.lags_s]))
                lsn = made.write(lambda there: there.update(vectors))
                return 200, self._lsn("request", lsn), {"upsertedCount": len(vectors)}
            case "/vectors/delete":
                if key not in self.spaces:
                    raise Problem(404, "Namespace not found")
                ids = body["ids"]
                if not 0 < len(ids) <= 1000:
                    raise Problem(400, f"{len(ids)} ids")
                lsn = self.spaces[key].write(lambda there: [there.pop(each, None) for each in ids])
                return 200, self._lsn("request", lsn), {}
        raise Problem(404, path)

    def _lsn(self, kind: str, lsn: int) -> dict[str, str]:
        return {} if self.silent_on_lsn else {f"x-pinecone-{kind}-lsn": str(lsn)}

    def _query(self, space: Space | None, body: Any, dimension: int) -> _Answer:
        if not 1 <= body["topK"] <= 10_000:
            raise Problem(400, f"topK is {body['topK']}")
        if len(body["vector"]) != dimension or not any(body["vector"]):
            raise Problem(400, f"a query vector of {len(body['vector'])} for an index of {dimension}")
        passes = compiled(body["filter"]) if "filter" in body else None
        if space is None:
            return 200, {}, {"matches": [], "namespace": body["namespace"]}
        seen = space.next_replica()
        question = np.array(body["vector"], np.float32)
        matches = []
        for score, identity in _nearest(seen, question, passes, body["topK"]):
            found: dict[str, Any] = {"id": identity, "score": score}
            if body.get("includeMetadata"):
                found["metadata"] = seen.vectors[identity].metadata
            if body.get("includeValues"):
                found["values"] = seen.vectors[identity].values.astype(float).tolist()
            matches.append(found)
        return 200, self._lsn("max-indexed", seen.indexed), {"matches": matches, "namespace": body["namespace"]}


def _nearest(
    seen: Replica, question: NDArray[np.float32], passes: Callable[[Metadata], bool] | None, most: int
) -> list[tuple[float, str]]:
    if not seen.vectors:
        return []
    ids, directions = seen.directions()
    scores = directions @ (question / np.linalg.norm(question))
    found: list[tuple[float, str]] = []
    # ties come in no order that anybody could rest on
    for at in np.argsort(-scores, kind="stable"):
        if passes is None or passes(seen.vectors[ids[at]].metadata):
            found.append((float(scores[at]), ids[at]))
            if len(found) == most:
                break
    return found


def _vectors(given: Sequence[Any], dimension: int) -> dict[str, Vector]:
    if not 0 < len(given) <= 1000:
        raise Problem(400, f"{len(given)} vectors")
    found: dict[str, Vector] = {}
    for each in given:
        identity, values, metadata = each["id"], each["values"], each.get("metadata", {})
        if not identity or len(identity) > 512 or not identity.isascii():
            raise Problem(400, f"Vector ID {identity[:50]} must be ASCII of 1 to 512 characters")
        if len(values) != dimension:
            raise Problem(400, f"Vector dimension {len(values)} does not match the dimension of the index {dimension}")
        if not any(values):
            raise Problem(400, "Dense vectors must contain at least one non-zero value")
        if identity in found:
            raise Problem(400, f"Vector ID {identity[:50]} stands twice")
        _check_metadata(metadata)
        found[identity] = Vector(np.array(values, np.float32), metadata)
    return found


def _check_metadata(metadata: Metadata) -> None:
    size = len(msgspec.json.encode(metadata))
    if size > _MOST_METADATA:
        raise Problem(400, f"Metadata size is {size} bytes, which exceeds the limit of 40960 bytes per vector")
    for name, value in metadata.items():
        if name.startswith("$") or not name:
            raise Problem(400, f"no field may be named {name[:50]}")
        if isinstance(value, list):
            if not value or not all(isinstance(each, str) for each in value):
                raise Problem(400, f"Metadata value of {name[:50]} must be a list of strings")
        elif not isinstance(value, str | bool | int | float):
            raise Problem(400, f"Metadata value of {name[:50]} must be a string, number, boolean or list of strings")


Test = Callable[[Metadata], bool]


def compiled(asked: Mapping[str, Any]) -> Test:
    """A filter as its documentation has it; refuses what it doesn't have."""
    tests: list[Test] = []
    for name, value in asked.items():
        if name in ("$and", "$or"):
            parts = [compiled(each) for each in value]
            if not parts:
                raise Problem(400, f"{name} of nothing")
            tests.append(_all(parts) if name == "$and" else _any(parts))
        elif name.startswith("$"):
            raise Problem(400, f"{name} is no operator that may stand here")
        else:
            operators = value if isinstance(value, dict) else {"$eq": value}
            tests += [_compared(name, operator, operand) for operator, operand in operators.items()]
    if not tests:
        raise Problem(400, "an empty filter")
    return tests[0] if len(tests) == 1 else _all(tests)


def _all(tests: Sequence[Test]) -> Test:
    return lambda metadata: all(each(metadata) for each in tests)


def _any(tests: Sequence[Test]) -> Test:
    return lambda metadata: any(each(metadata) for each in tests)


def _compared(name: str, operator: str, operand: Any) -> Test:
    if operator == "$exists":
        return lambda metadata: (name in metadata) is bool(operand)
    if operator in ("$gt", "$gte", "$lt", "$lte"):
        if not isinstance(operand, int | float) or isinstance(operand, bool):
            raise Problem(400, f"the {operator} operator must be followed by a number, got {operand!r}")
        compare = _ORDER[operator]
        return lambda metadata: _is_number(metadata.get(name)) and compare(metadata[name], operand)
    if operator in ("$in", "$nin"):
        if not isinstance(operand, list) or not 0 < len(operand) <= 10_000:
            raise Problem(400, f"the {operator} operator must be followed by a list of 1 to 10,000 values")
        among = frozenset(operand)
        there = operator == "$in"
        return lambda metadata: (not among.isdisjoint(_values(metadata.get(name)))) is there
    if operator in ("$eq", "$ne"):
        if not isinstance(operand, str | int | float):
            raise Problem(400, f"the {operator} operator can't have {operand!r}")
        equal = operator == "$eq"
        return lambda metadata: (operand in _values(metadata.get(name))) is equal
    raise Problem(400, f"{operator} is not a valid operator")


_ORDER: Mapping[str, Callable[[float, float], bool]] = {
    "$gt": lambda one, other: one > other,
    "$gte": lambda one, other: one >= other,
    "$lt": lambda one, other: one < other,
    "$lte": lambda one, other: one <= other,
}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _values(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else () if value is None else (value,)


_Answer = tuple[int, Mapping[str, str], Any]


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    answer: Callable[[str, str, Mapping[str, str], bytes], _Answer]
    is_up: Callable[[], bool]

    def log_message(self, *_: object) -> None:
        return

    def _handle(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if not self.is_up():
            self.close_connection = True
            return
        status, headers, body = self.answer(self.command, self.path, self.headers, raw)
        content = msgspec.json.encode(body)
        if len(content) > _MOST_ANSWER and status == 200:
            status, content = 400, b'{"code": 11, "message": "the result has more than 4 MB"}'
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _handle  # noqa: N815


@contextmanager
def pinecone_service(lags_s: Sequence[float] = (0.02,)) -> Iterator[Pinecone]:
    """On free ports of 127.0.0.1, without an index."""
    service = Pinecone(lags_s)
    service.start()
    try:
        yield service
    finally:
        service.stop()
