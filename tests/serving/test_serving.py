"""`freshet model serve` with the real model: what it answers, to whom, and how many clients share one model."""

from __future__ import annotations

import base64
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from core.config.embedding import Embedding
from core.errors import ConfigError
from core.stores.contract import Vectors
from serving.batches import Batches, Full
from serving.embeddings import MOST_TEXTS, application
from serving.server import served
from tests.model_server import ModelServer, model_server
from udfs.embedding.embedder import HashEmbedder, embed_each, embedder
from udfs.embedding.remote.embedder import RemoteEmbedder, opened
from udfs.embedding.tokenizing import DEFAULT

KEY = "sk-Geheimnis-456"
TEXTS = [
    "a river in spate",
    "",
    "der Fluss führt Hochwasser",
    "word " * 400,
    *(f"row {n} of a table" for n in range(40)),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    folder: Path = tmp_path_factory.mktemp("serve")
    keys = folder / "keys"
    keys.write_text(f"another\n{KEY}\n", encoding="utf-8")
    with model_server(folder, "--api-key-file", str(keys)) as running:
        yield running


def asked(server: ModelServer, body: Any, key: str | None = KEY, path: str = "/embeddings") -> httpx.Response:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    if isinstance(body, bytes):
        return httpx.post(server.url + path, content=body, headers=headers)
    return httpx.post(server.url + path, json=body, headers=headers)


def remote(server: ModelServer, **settings: Any) -> RemoteEmbedder:
    given = {"openai": {"url": server.url, "api_key": KEY}, **settings}
    return opened(Embedding.model_validate(given))


def test_vectors_are_those_of_the_model_itself(server: ModelServer) -> None:
    local = embedder(DEFAULT)
    assert server.described == local.describe()
    model = remote(server)
    assert (model.name, model.dimension) == (DEFAULT, 384)
    expected = local.embed(TEXTS)
    assert np.abs(model.embed(TEXTS) - expected).max() < 1e-5
    floats = remote(server, openai={"url": server.url, "api_key": KEY, "encoding_format": "float"})
    assert np.abs(floats.embed(TEXTS) - expected).max() < 1e-5
    assert np.abs(remote(server, max_texts=3).embed(TEXTS) - expected).max() < 1e-5


def test_one_text_needs_no_list_and_both_formats_say_the_same(server: ModelServer) -> None:
    listed = asked(server, {"input": TEXTS[0], "model": f"sentence-transformers/{DEFAULT}"}).json()
    assert (listed["object"], listed["data"][0]["index"], listed["data"][0]["object"]) == ("list", 0, "embedding")
    short = asked(server, {"input": [TEXTS[0]], "encoding_format": "base64", "dimensions": 384, "user": "u"}).json()
    decoded = np.frombuffer(base64.b64decode(short["data"][0]["embedding"]), "<f4")
    assert np.abs(decoded - np.array(listed["data"][0]["embedding"], np.float32)).max() < 1e-7


def test_the_server_says_what_it_serves_and_that_it_works(server: ModelServer) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    assert [each["id"] for each in httpx.get(f"{server.url}/models", headers=headers).json()["data"]] == [DEFAULT]
    health = httpx.get(server.url.removesuffix("/v1") + "/health")
    assert (health.status_code, health.json()["status"]) == (200, "ok")


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"{", 400, "no request for embeddings"),
        ({"input": [[1, 2, 3]]}, 400, "a text or a list of texts"),
        ({"input": []}, 400, "must have 1 to"),
        ({"input": ["a"] * (MOST_TEXTS + 1)}, 413, "must have 1 to"),
        ({"input": "a", "model": "text-embedding-3-small"}, 404, "isn't served here"),
        ({"input": "a", "dimensions": 256}, 400, "has 384"),
        ({"input": "a", "encoding_format": "hex"}, 400, "encoding_format"),
        (b'{"input": "\xff"}', 400, "no request for embeddings"),
        (b'{"input": ["a", "\\ud800"]}', 400, "no request for embeddings"),
        (b'{"input": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", 400, "no request for embeddings"),
        ({"input": "a", "model": "y" * 100_000}, 404, "isn't served here"),
        ({"input": "a", "encoding_format": "y" * 100_000}, 400, "encoding_format"),
        (b"x" * (33 << 20), 413, "bytes: send less at once"),
    ],
)
def test_what_is_no_request_gets_a_reason(server: ModelServer, body: Any, status: int, reason: str) -> None:
    answer = asked(server, body)
    assert answer.status_code == status
    assert reason in answer.json()["error"]["message"] and len(answer.content) < 2_000


@pytest.mark.parametrize("key", [None, "sk-other", KEY + "x", "ü"])
def test_nobody_without_a_key_is_let_in(server: ModelServer, key: str | None) -> None:
    headers = {} if key is None else {"Authorization": f"Bearer {key}".encode()}
    for answer in (
        httpx.post(f"{server.url}/embeddings", json={"input": "a"}, headers=headers),
        httpx.get(f"{server.url}/models", headers=headers),
    ):
        assert answer.status_code == 401
    with pytest.raises(ConfigError, match=r"embedding\.openai\.api_key: http://127.*401"):
        remote(server, openai={"url": server.url, "api_key": "sk-other"})


def test_a_model_that_is_not_served_is_named(server: ModelServer) -> None:
    with pytest.raises(ConfigError, match=r"404 Not Found.*'bge-m3' isn't served here, 'all-MiniLM-L6-v2' is"):
        remote(server, model="bge-m3")


def test_who_goes_away_in_the_middle_does_no_harm(server: ModelServer) -> None:
    host, port = server.url.removeprefix("http://").removesuffix("/v1").split(":")
    for _ in range(3):
        with socket.create_connection((host, int(port))) as connection:
            head = (
                f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 900\r\n\r\n"
            )
            connection.sendall(head.encode() + b'{"input": ["a')
    assert asked(server, {"input": "a"}).status_code == 200


def test_sigterm_ends_it_after_what_was_asked_and_the_key_is_in_no_log(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(KEY, encoding="utf-8")
    body = {"input": ["words and words " * 1_000] * 100}
    with (
        model_server(tmp_path, "--model=hash", "--batch-tokens=65536", f"--api-key-file={keys}") as running,
        httpx.Client(headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client,
        ThreadPoolExecutor(4) as pool,
    ):
        answers = [pool.submit(client.post, f"{running.url}/embeddings", json=body) for _ in range(4)]
        time.sleep(1)
        assert running.stop(signal.SIGTERM) == 0
        assert [answer.result().status_code for answer in answers] == [200] * 4
        assert KEY not in running.log.read_text(encoding="utf-8")


class Slow:
    """A hash embedder that says how large its calls were, and works only once it may."""

    name = "hash"
    dimension = 384

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.may_work = threading.Event()

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.calls.append(len(texts))
        assert self.may_work.wait(10)
        if "break" in texts:
            raise RuntimeError("the device is gone")
        return HashEmbedder().embed(texts)

    def describe(self) -> str:
        return self.name


def test_requests_of_many_are_gathered_into_calls_and_each_gets_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Slow()
    batches = Batches(model, tokens=1_000)
    texts = [[f"request {number} text {at} " + "x" * 60 for at in range(3)] for number in range(20)]
    answers = [batches.submit(each) for each in texts]
    model.may_work.set()
    for asked_for, answer in zip(texts, answers, strict=True):
        assert np.array_equal(answer.result(10).vectors, HashEmbedder().embed(asked_for))
    # 40 tokens a text: 8 requests of 3 fill a call; the first call took what was there when it began
    assert sum(model.calls) == 60
    assert len(model.calls) <= 5
    assert max(model.calls) == 24
    batches.close()
    assert not batches.works


def test_a_bad_text_is_its_own_request_s_alone() -> None:
    batches = Batches(HashEmbedder(), 1_000)
    answers = [batches.submit(texts) for texts in (["good"], ["fine", "b\ud800d"], ["well"])]
    found = [answer.result(10) for answer in answers]
    assert [list(each.errors) for each in found] == [[], [1], []]
    assert np.array_equal(found[2].vectors, HashEmbedder().embed(["well"]))
    batches.close()


def test_a_model_that_fails_fails_who_asked_and_goes_on() -> None:
    model = Slow()
    model.may_work.set()
    batches = Batches(model, 1)
    with pytest.raises(RuntimeError):
        batches.submit(["break"]).result(10)
    assert batches.submit(["a"]).result(10).vectors.shape == (1, 384)
    batches.close()


def test_more_than_can_soon_be_done_is_refused_and_borne_by_the_client() -> None:
    model = Slow()
    texts = [f"text {number} " + "word " * 20 for number in range(120)]
    with served(application(model, tokens=20)) as address:
        url = f"{address}/v1"
        with ThreadPoolExecutor(1) as pool:
            settings = {"model": "hash", "openai": {"url": url}, "dimension": 384, "max_texts": 1, "concurrency": 64}
            under_way = pool.submit(embed_each, opened(Embedding.model_validate(settings)), texts)
            held = [pool_free(url) for _ in range(40)]
            model.may_work.set()
            vectors, errors = under_way.result(30)
        assert 429 in held
        assert not errors
        assert np.abs(vectors - HashEmbedder().embed(texts)).max() < 1e-6


def pool_free(url: str) -> int:
    """The status of a request that isn't waited for: 200 where it was taken."""
    try:
        answer = httpx.post(f"{url}/embeddings", json={"input": ["word " * 50]}, timeout=0.05)
    except httpx.TimeoutException:
        return 200
    assert answer.headers.get("Retry-After") == "1"
    return answer.status_code


def test_full_and_ending_batches_take_no_more() -> None:
    model = Slow()
    batches = Batches(model, tokens=10)
    taken = []
    with pytest.raises(Full):
        while True:
            taken.append(batches.submit(["x" * 40]))
    assert len(taken) >= 32
    model.may_work.set()
    batches.close()
    assert all(isinstance(each.result(0).vectors, np.ndarray) for each in taken)
    with pytest.raises(Full):
        batches.submit(["a"])
