"""Whoever means a server ill gets a problem, nothing of others'; what its description allows is answered as it says."""

from __future__ import annotations

import gzip
import json
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Any

import httpx
import psutil
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.crowd import crowd
from bench.fuzz_requests import Part, Request, There, Wrong, check, fuzz
from operations.index import Index
from operations.pipeline_file import load
from serving import reading
from serving.asking import application
from serving.keys import add
from serving.offer import opened
from serving.problems import Refused, as_problem
from serving.server import Limits, served
from serving.settings import read
from stack.local import Stack
from tests.cli.test_profile import HISTORY, fill
from tests.connectors.servers import new_schema
from tests.flink_jobs.people import PROFILES, TEXT, change_of
from tests.laws import examples
from tests.search_server import TENANTS, documents, written

ACME = {"tenant": "acme"}
BERGEN = {"city": "Bergen"}
PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Asked:
    """A server of articles and of people, and clients by what their keys see."""

    url: str
    of: dict[str, httpx.Client]


@pytest.fixture(scope="module")
def server(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp("hostile")
    dsn = new_schema(stack.postgres.dsn)
    columns = ["tenant", "lang", "number"]
    people = {"profiles": PROFILES, "embedding": {"model": "hash", "text": TEXT}}
    of_people = {"postgres": {"dsn": new_schema(stack.postgres.dsn)}, "pgvector": {"dsn": dsn, "table": "people"}}
    profiles = {**documents(of_people, columns, **people), "name": "people"}
    del profiles["documents"]
    texts = {"manuals": documents({"pgvector": {"dsn": dsn, "table": "manuals"}}, columns), "people": profiles}
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")
    written(folder / "manuals.yaml")
    pipeline = load(folder / "people.yaml")
    fill(pipeline, [change_of(each, pipeline) for each in HISTORY])
    file = {
        "name": "helpdesk",
        "indexes": {"manuals": {"pipeline": "manuals.yaml", "connections": 4}},
        "profiles": {"pipeline": "people.yaml", "connections": 2},
        "keys": "keys.yaml",
    }
    (folder / "serve.yaml").write_text(yaml.safe_dump(file), encoding="utf-8")
    keys = {
        "all": {"indexes": ["manuals"], "profiles": True, "metrics": True, "filter": "{}"},
        "acme": {"indexes": ["manuals"], "filter": json.dumps(ACME)},
        "bergen": {"profiles": True, "filter": json.dumps(BERGEN)},
    }
    sent = {name: f"Bearer {add(folder / 'keys.yaml', name, each)}" for name, each in keys.items()}
    with (
        opened(read(folder / "serve.yaml")) as offer,
        served(application(offer, Event()), limits=Limits(body=4 << 20), refusal=as_problem) as url,
    ):
        of = {
            name: httpx.Client(base_url=url, timeout=60, headers={"Authorization": key}) for name, key in sent.items()
        }
        yield Asked(url, of)
        for each in of.values():
            each.close()


def field_of(answer: httpx.Response, status: int) -> str:
    """The field that a problem of this status names, "" for none."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, PROBLEM), answer.text
    return str(answer.json().get("field", ""))


LIST = b"[" * 100_000
LONG = b"9" * 5_000
BAD: dict[str, tuple[bytes, int, str]] = {
    "a cosine of 1e400": (b'{"query": "a", "min_score": 1e400}', 422, "min_score"),
    "k in tenths": (b'{"query": "a", "k": 1.5}', 422, "k"),
    "k of 5,000 digits": (b'{"query": "a", "k": ' + LONG + b"}", 422, "k"),
    "k that is true": (b'{"query": "a", "k": true}', 422, "k"),
    "k of NaN": (b'{"query": "a", "k": NaN}', 422, "k"),
    "a vector 100,000 deep": (b'{"vector": ' + LIST + b"]" * 100_000 + b"}", 422, "vector[0]"),
    "a vector that never ends": (b'{"vector": ' + LIST, 422, "vector[0]"),
    "a vector of texts": (b'{"vector": ["1"]}', 422, "vector[0]"),
    "a vector of nothing": (b'{"vector": []}', 422, "vector"),
    "a vector of a million": (b'{"vector": [' + b"0," * 1_000_000 + b"0]}", 422, "vector"),
    "a field 100,000 deep": (b'{"x": ' + LIST + b"]" * 100_000 + b"}", 422, "x"),
    "a filter's column twice": (b'{"query": "a", "filter": {"number": 1, "number": 2}}', 422, "filter"),
    "a filter's number of 5,000 digits": (b'{"query": "a", "filter": {"number": ' + LONG + b"}}", 422, "filter.number"),
    "a filter's 1e999999999": (b'{"query": "a", "filter": {"number": {"gt": 1e999999999}}}', 422, "filter.number.gt"),
    "a filter's NaN": (b'{"query": "a", "filter": {"number": NaN}}', 422, "filter"),
    "a filter's NUL": (b'{"query": "a", "filter": {"lang": "\\u0000"}}', 422, "filter.lang"),
    "a filter of 2 MB": (b'{"query": "a", "filter": {"lang": {"in": ["' + b"x" * 2_000_000 + b'"]}}}', 422, "filter"),
    "null": (b"null", 422, ""),
    "a mark of byte order": (b'\xef\xbb\xbf{"query": "a"}', 400, ""),
    "UTF-16": ('{"query": "a"}'.encode("utf-16"), 400, ""),
    "something behind it": (b'{"query": "a"} x', 400, ""),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_searches_are_problems_that_name_the_field(server: Asked, what: str) -> None:
    body, status, field = BAD[what]
    answer = server.of["all"].post("/v1/indexes/manuals/search", content=body)
    assert field_of(answer, status) == field and len(answer.content) < 2_000


def test_what_a_mode_may_be_is_said() -> None:
    with pytest.raises(Refused, match="'bm25'; it is vector, hybrid, text"):
        reading.search(b'{"query": "a", "mode": "bm25"}')


def test_a_compressed_body_is_not_unpacked(server: Asked) -> None:
    bomb = gzip.compress(b" " * 5_000_000)
    for encoding in ("gzip", "deflate, gzip", "br", "x"):
        answer = server.of["all"].post(
            "/v1/indexes/manuals/search", content=bomb, headers={"Content-Encoding": encoding}
        )
        assert field_of(answer, 415) == "Content-Encoding" and answer.headers["Accept-Encoding"] == "identity"
    plain = server.of["all"].post(
        "/v1/indexes/manuals/search", content=b'{"query": "a"}', headers={"Content-Encoding": "identity"}
    )
    assert plain.status_code == 200


LINE = b"GET /health HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"
POST = b"POST /v1/indexes/manuals/search HTTP/1.1\r\n" + HOST
NO_HTTP: dict[str, bytes] = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "HTTP/0.9": b"GET /health\r\n\r\n",
    "no host": LINE + b"\r\n",
    "two hosts": LINE + HOST + b"Host: evil.example\r\n\r\n",
    "a header of 1 MB": LINE + HOST + b"X: " + b"a" * 1_000_000,
    "a path of 1 MB": b"GET /" + b"a" * 1_000_000,
    "a path that isn't encoded": "GET /ü HTTP/1.1\r\n".encode() + HOST + b"\r\n",
    "a method with NUL": b"G\x00T /health HTTP/1.1\r\n" + HOST + b"\r\n",
    "a length that is none": POST + b"Content-Length: x\r\n\r\n",
    "a length below 0": POST + b"Content-Length: -5\r\n\r\n",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "another transfer": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
}


def said(url: str, sent: bytes) -> bytes:
    """All that a server says to some bytes, until it closes the connection."""
    host, port = url.removeprefix("http://").split(":")
    got = b""
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        try:
            connection.sendall(sent)
            while part := connection.recv(65_536):
                got += part
        except (BrokenPipeError, ConnectionResetError):
            # what was sent is more than the server has read
            pass
    return got


@pytest.mark.parametrize("what", NO_HTTP)
def test_what_is_no_http_is_a_problem_too(server: Asked, what: str) -> None:
    head, _, body = said(server.url, NO_HTTP[what]).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n") and f"Content-Type: {PROBLEM}".encode() in head, head
    assert json.loads(body)["detail"] == "the request is no HTTP/1.1, or its head is too long"
    assert server.of["all"].get("/health").status_code == 200


def test_a_chunk_that_is_none_ends_a_connection_also_behind_an_answer(
    server: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    assert PROBLEM.encode() in said(server.url, chunked + b"zz\r\n")
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(chunked + b"1\r\n{\r\n")
        # without a key it is answered before its body has come
        assert connection.recv(65_536).startswith(b"HTTP/1.1 401 ")
        connection.sendall(b"zz\r\n")
        while connection.recv(65_536):
            pass
    assert not [each for each in caplog.records if each.exc_info or "Fatal" in each.getMessage()]


@pytest.mark.parametrize(
    ("method", "path", "status", "field"),
    [
        ("GET", "/v1/indexes/man%00uals/documents/a", 404, "index"),
        ("GET", "/v1/indexes/man%2Fuals/documents/a", 404, ""),
        ("GET", "/v1/indexes/manuals/documents/%ff%fe", 404, "id"),
        ("GET", "/v1/indexes/manuals/documents/%ed%a0%80", 404, "id"),
        ("GET", "/v1/indexes/manuals/documents/a?around=%D9%A3", 422, "around"),
        ("GET", "/v1/indexes/manuals/documents/a?around=0&around=x", 422, "around"),
        ("PUT", "/v1/indexes/manuals/search", 405, ""),
        ("TRACE", "/health", 405, ""),
        ("OPTIONS", "/v1/profiles/a", 405, ""),
    ],
)
def test_odd_paths_and_methods_are_problems(server: Asked, method: str, path: str, status: int, field: str) -> None:
    answer = server.of["all"].request(method, path)
    assert field_of(answer, status) == field
    assert status != 405 or "GET" in answer.headers["Allow"] or "POST" in answer.headers["Allow"]


def test_who_has_no_key_does_not_keep_the_stores_busy(server: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Index] = []
    look = Index.check

    def slowly(index: Index) -> None:
        looks.append(index)
        time.sleep(0.5)
        look(index)

    monkeypatch.setattr(Index, "check", slowly)
    with ThreadPoolExecutor(20) as asking:
        found = list(asking.map(lambda _: httpx.get(f"{server.url}/ready", timeout=60).status_code, range(20)))
    assert set(found) == {200} and len(looks) < 15


def test_an_old_client_is_answered(server: Asked) -> None:
    answer = said(server.url, b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b'{"status":"alive"}')


def there(client: httpx.Client) -> There:
    """What there is to be asked for, as one finds who sees all."""
    path = "/v1/profiles/customer_id/"
    ids = [client.get(f"{path}{each}").json()["profile_id"] for each in (1, 2)]
    known = ["customer_id/1", "customer_id/2", "email/kari@x.no", "email/ola@x.no", "device_id/d1", *ids]
    return There(
        {"manuals": Part("tenant", "acme")},
        [*(f"public.articles/{number}" for number in range(60)), "public.articles/a%2Fb/ü?#", "none"],
        TENANTS,
        Part("city", "Bergen"),
        known,
    )


@pytest.mark.parametrize("key", ["acme", "bergen"])
def test_no_request_by_chance_widens_a_key_or_fails(server: Asked, key: str) -> None:
    """The same with ten thousand, or as many as you like: `python -m bench.fuzz_requests`."""
    found = fuzz(there(server.of["all"]), server.of[key], 300, 1)
    seen = "search" if key == "acme" else "profile"
    assert found[f"{seen} 200"] > 10 and found[f"{seen} 404" if key == "bergen" else "search 422"] > 5, found


def test_the_fuzz_would_see_what_is_anothers(server: Asked) -> None:
    with pytest.raises(Wrong, match="saw what is another's"):
        fuzz(there(server.of["all"]), server.of["all"], 50, 1)
    failed = httpx.Response(500, text="x")
    with pytest.raises(Wrong, match="500"):
        check(Request("search", "GET", "/", None, None), failed)


def test_a_small_crowd_is_answered_without_errors(server: Asked) -> None:
    key = server.of["all"].headers["Authorization"]
    process = psutil.Process(os.getpid())
    found = crowd(server.url, "manuals", lambda: process.memory_info().rss / 2**20, 30, 10, key)
    assert found.answers == {"200": 30} and found.errors == 0
    assert list(found.rss_mib) == ["10%", "50%", "100%"] and found.latency.n == 30


@pytest.fixture(scope="module")
def operations(server: Asked) -> list[Any]:
    import schemathesis

    schema = schemathesis.openapi.from_dict(server.of["all"].get("/openapi.json").json())
    return [each.ok() for each in schema.get_all_operations()]


@given(data=st.data())
@settings(max_examples=examples(30), suppress_health_check=list(HealthCheck))
def test_what_the_description_lets_one_ask_is_answered_as_it_says(
    server: Asked, operations: list[Any], data: st.DataObject
) -> None:
    """Schemathesis makes the requests, and holds status, type, headers and body of each answer against it.

    What no schema says, such as how an index writes positions or which columns it has, is refused with 422.
    """
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    case = data.draw(data.draw(st.sampled_from(operations)).as_strategy())
    case.headers = {**(case.headers or {}), "Authorization": server.of["all"].headers["Authorization"]}
    case.call_and_validate(base_url=server.url, excluded_checks=[positive_data_acceptance])
