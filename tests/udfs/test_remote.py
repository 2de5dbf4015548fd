"""Embeddings by an endpoint that fails in every way it can: nothing lost, nothing wrong, the reason reported."""

from __future__ import annotations

import gzip
import logging
import math
import resource
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.config.embedding import Embedding
from core.config.secrets import Reference, nobody_tells
from core.errors import ConfigError, EmbeddingError, Unavailable
from tests.embedding_endpoint import Asked, Endpoint, Reply, endpoint, openai_body, rows_of
from udfs.embedding.contract import SomeRefused
from udfs.embedding.embedder import CachedEmbedder, HashEmbedder, embed_each
from udfs.embedding.remote.embedder import RemoteEmbedder, opened
from udfs.embedding.remote.http import OpenAiEndpoint, TeiEndpoint
from udfs.remote import http
from udfs.remote.http import wait_s
from udfs.remote.pace import Breaker

KEY = "sk-Geheimnis-123"
TEXTS = [f"text {number} " + "word " * (number % 7 * 40) for number in range(60)]

Opener = Callable[..., RemoteEmbedder]


@pytest.fixture
def server() -> Iterator[Endpoint]:
    with endpoint() as running:
        yield running


@pytest.fixture
def remote(server: Endpoint) -> Iterator[Opener]:
    made: list[RemoteEmbedder] = []

    def make(patience_s: float = 10, breaker: Breaker = Breaker(), **settings: Any) -> RemoteEmbedder:  # noqa: B008
        given = {"model": "m", "openai": {"url": server.openai, "api_key": KEY}, "dimension": 384, **settings}
        embedding = Embedding.model_validate(given)
        there = (
            OpenAiEndpoint(embedding, embedding.openai)
            if embedding.openai is not None
            else TeiEndpoint(embedding, embedding.tei)  # type: ignore[arg-type]
        )
        made.append(
            RemoteEmbedder(
                "m", there, embedding.limits, embedding.concurrency, embedding.dimension, patience_s, breaker
            )
        )
        return made[-1]

    yield make
    for each in made:
        each.close()


def right(vectors: Any, texts: list[str] = TEXTS) -> bool:
    return bool(np.abs(vectors - HashEmbedder().embed(texts)).max() < 1e-6)


@pytest.mark.parametrize(
    "settings",
    [{}, {"max_texts": 7}, {"max_bytes": 1_500}, {"openai": None, "tei": {}}],
    ids=["openai", "few texts", "few bytes", "tei"],
)
def test_each_text_has_its_vector(server: Endpoint, remote: Opener, settings: dict[str, Any]) -> None:
    if "tei" in settings:
        settings = {"tei": {"url": server.address, "api_key": KEY}, "openai": None}
    assert right(remote(**settings).embed(TEXTS))
    assert sorted(server.texts()) == sorted(TEXTS)
    assert all(len(asked.texts) <= settings.get("max_texts", 2_048) for asked in server.asked)
    assert {asked.headers["Authorization"] for asked in server.asked} == {f"Bearer {KEY}"}


def test_many_requests_are_in_flight_and_no_more_than_the_ceiling(server: Endpoint, remote: Opener) -> None:
    server.fault = lambda asked: Reply(after_s=0.05)
    model = remote(max_texts=2, concurrency=6)
    assert right(model.embed(TEXTS))
    assert 4 <= server.most_at_once <= 6


def test_the_dimension_is_asked_for_once_where_the_file_does_not_say_it(server: Endpoint) -> None:
    model = opened(Embedding.model_validate({"model": "m", "openai": {"url": server.openai}}))
    assert (model.dimension, len(server.asked)) == (384, 1)
    assert model.embed([]).shape == (0, 384)
    assert len(server.asked) == 1
    assert model.describe() == f"m at {server.openai}/embeddings, 384 dimensions"
    model.close()


def test_too_many_requests_are_waited_for_as_long_as_they_say(server: Endpoint, remote: Opener) -> None:
    begun = time.monotonic()
    busy = Reply(429, {"error": "slow down"}, {"Retry-After": "1"})
    server.fault = lambda asked: busy if time.monotonic() < begun + 1.5 else None
    assert right(remote(max_texts=5).embed(TEXTS))
    first, *others = [asked.at - begun for asked in server.asked]
    # those in flight with the first one, then nothing for a second
    assert not [at for at in others if first + 0.5 < at < first + 1]
    assert server.most_at_once <= 4


@pytest.mark.parametrize(
    ("header", "least", "most"), [("7", 7, 7), ("1.5", 1.5, 1.5), ("", 0, 0), ("soon", 0, 0), ("-3", 0, 0)]
)
def test_what_retry_after_says(header: str, least: float, most: float) -> None:
    assert least <= wait_s(header) <= most


def test_retry_after_may_be_a_date() -> None:
    assert 8 < wait_s(format_datetime(datetime.now(UTC) + timedelta(seconds=10), usegmt=True)) <= 10
    assert wait_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0


def test_a_pause_of_an_hour_is_an_error_and_not_waited_for(server: Endpoint, remote: Opener) -> None:
    server.fault = lambda asked: Reply(429, {"error": "quota"}, {"Retry-After": "3600"})
    model = remote()
    with pytest.raises(Unavailable, match=r"429 Too Many Requests.*quota"):
        model.embed(["a"])
    with pytest.raises(Unavailable, match=r"asked to be left alone for 3,\d+ s more"):
        model.embed(["a"])
    assert len(server.asked) == 1


def test_a_request_that_waited_for_its_turn_has_its_patience_yet(server: Endpoint, remote: Opener) -> None:
    failed: set[str] = set()

    def fault(asked: Asked) -> Reply | None:
        first = asked.texts[0] not in failed
        failed.add(asked.texts[0])
        return Reply(500, b"once", after_s=0.2) if first else None

    server.fault = fault
    assert right(remote(patience_s=0.7, max_texts=3, concurrency=20).embed(TEXTS))


def test_answers_that_do_not_come_in_time_are_asked_for_again(server: Endpoint, remote: Opener) -> None:
    server.fault = lambda asked: Reply(after_s=1) if asked.number < 3 else None
    assert right(remote(timeout=0.2, max_texts=20).embed(TEXTS))


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_errors_of_the_server_are_asked_again(server: Endpoint, remote: Opener, status: int) -> None:
    server.fault = lambda asked: Reply(status, b"<html>oops</html>") if asked.number < 4 else None
    assert right(remote(max_texts=20).embed(TEXTS))


ENDLESS = {
    "500": Reply(500, {"error": "CUDA error"}),
    "429": Reply(429, {"error": "slow down"}, {"Retry-After": "1"}),
    "an hour's Retry-After": Reply(429, {"error": "quota"}, {"Retry-After": "3600"}),
    "slow": Reply(after_s=3),
    "byte by byte": Reply(200, b" " * 90, byte_s=0.05),
    "no JSON": Reply(200, b"<html>Welcome</html>"),
    "no UTF-8": Reply(200, b'{"data": [{"index": 0, "embedding": "\x80"}]}'),
    "no embeddings": Reply(200, {"result": "ok"}),
    "NaN": Reply(200, json_with_nan := b'{"data": [{"index": 0, "embedding": [NaN, 1.0]}]}'),
    "zeros": Reply(200, openai_body([[0.0] * 384])),
    "wrong count": Reply(200, openai_body(rows_of(["a", "b", "c", "d", "e"]))),
    "wrong dimension": Reply(200, openai_body([[1.0, 2.0]])),
    "refuses all": Reply(400, {"error": "no such parameter"}),
}
REASONS = {
    "500": "500 Internal Server Error.*CUDA error",
    "429": "429 Too Many Requests.*slow down",
    "an hour's Retry-After": "429 Too Many Requests.*quota",
    "slow": "doesn't answer in time",
    "byte by byte": "doesn't answer in time",
    "no JSON": "no vector for any text.*no list of embeddings",
    "no UTF-8": "no vector for any text.*no list of embeddings",
    "no embeddings": "no vector for any text.*no list of embeddings",
    "NaN": "no vector for any text.*no list of embeddings",
    "zeros": "no vector for any text.*zeros",
    "wrong count": "no vector for any text.*5 embeddings to 1 texts",
    "wrong dimension": "2 dimensions, not 384: another model is served there",
    "refuses all": "no vector for any text.*400 Bad Request.*no such parameter",
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_goes_on_failing_is_never_blamed_on_a_text(server: Endpoint, remote: Opener, kind: str) -> None:
    server.fault = lambda asked: ENDLESS[kind]
    with pytest.raises(Unavailable, match=f"127.0.0.1.*{REASONS[kind]}|{REASONS[kind]}"):
        embed_each(remote(patience_s=1.2, timeout=0.5), ["a text"])
    with pytest.raises(Unavailable):
        embed_each(remote(patience_s=0.3, timeout=0.5), ["one", "two", "three"])


def test_an_answer_that_unpacks_to_more_than_memory_is_left(
    server: Endpoint, remote: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_LARGEST_ANSWER", 1 << 20)
    packed = gzip.compress(b" " * (1 << 28))
    server.fault = lambda asked: Reply(200, packed, {"Content-Encoding": "gzip"})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Unavailable, match=r"no vector for any text.*answers more than 1,048,576 bytes"):
        embed_each(remote(patience_s=0.3), ["a text"])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def nan_for(bad: str, asked: Asked) -> Reply | None:
    if bad not in asked.texts:
        return None
    rows = rows_of(asked.texts)
    rows[asked.texts.index(bad)][5] = math.nan if bad != "infinite" else 1e39
    body = openai_body(rows)
    return Reply(200, body)


FAULTS_OF_A_TEXT: dict[str, Callable[[Asked], Reply | None]] = {
    "NaN": lambda asked: nan_for(TEXTS[33], asked),
    "400": lambda asked: Reply(400, {"error": f"too long; {KEY}"}) if TEXTS[33] in asked.texts else None,
    "413": lambda asked: Reply(413, {"error": "batch too large"}) if TEXTS[33] in asked.texts else None,
    "422": lambda asked: Reply(422, {"error": "tokenization error"}) if TEXTS[33] in asked.texts else None,
    "zeros": lambda asked: (
        Reply(200, openai_body([[0.0] * 384 if text == TEXTS[33] else rows_of([text])[0] for text in asked.texts]))
        if TEXTS[33] in asked.texts
        else None
    ),
    "count": lambda asked: Reply(200, openai_body(rows_of(asked.texts)[1:])) if TEXTS[33] in asked.texts else None,
}


@pytest.mark.parametrize("kind", FAULTS_OF_A_TEXT)
def test_a_text_that_has_no_vector_is_found_and_alone_refused(server: Endpoint, remote: Opener, kind: str) -> None:
    server.fault = FAULTS_OF_A_TEXT[kind]
    vectors, errors = embed_each(CachedEmbedder(remote(max_texts=16), 100), TEXTS)
    assert list(errors) == [33]
    # by its name a letter has its stage
    assert type(errors[33]) is EmbeddingError
    assert KEY not in str(errors[33])
    assert not vectors[33].any()
    rest = [at for at in range(len(TEXTS)) if at != 33]
    assert right(vectors[rest], [TEXTS[at] for at in rest])
    # but for the batch of 16 that has it, nothing is asked for twice
    once = [text for text in TEXTS if server.texts().count(text) == 1]
    assert len(once) >= 44


def test_what_was_good_beside_a_bad_text_is_remembered(server: Endpoint, remote: Opener) -> None:
    server.fault = FAULTS_OF_A_TEXT["400"]
    cached = CachedEmbedder(remote(), 100)
    with pytest.raises(SomeRefused, match="too long"):
        cached.embed(TEXTS)
    before = len(server.asked)
    rest = [text for at, text in enumerate(TEXTS) if at != 33]
    assert right(cached.embed(rest), rest)
    assert len(server.asked) == before


def test_a_request_that_is_too_large_for_this_server_is_halved(server: Endpoint, remote: Opener) -> None:
    server.fault = lambda asked: Reply(413, {"error": "at most 4"}) if len(asked.texts) > 4 else None
    assert right(remote().embed(TEXTS))


@pytest.mark.parametrize("status", [401, 403, 404])
def test_who_is_not_let_in_gets_an_error_at_once(server: Endpoint, remote: Opener, status: int) -> None:
    server.fault = lambda asked: Reply(status, {"error": f"Incorrect API key provided: {KEY}"})
    begun = time.monotonic()
    with pytest.raises(ConfigError, match=rf"embedding\.openai\.(api_key|url): http://127.*{status}") as raised:
        embed_each(remote(), TEXTS)
    assert time.monotonic() < begun + 2
    assert KEY not in str(raised.value)


def test_a_key_that_is_rotated_to_is_read_anew(server: Endpoint, tmp_path: Path) -> None:
    file = tmp_path / "key"
    given = Embedding.model_validate({"openai": {"url": server.openai, "api_key": KEY}, "model": "m", "dimension": 384})
    assert given.openai is not None
    given.openai.refer("api_key", Reference(f"${{file:{file}}}", nobody_tells))
    model = opened(given)
    known = KEY

    def fault(asked: Asked) -> Reply | None:
        return None if asked.headers["Authorization"] == f"Bearer {known}" else Reply(401)

    server.fault = fault
    assert right(model.embed(TEXTS))
    known = "sk-second"
    with pytest.raises(ConfigError, match=r"embedding\.openai\.api_key: .* 401"):
        embed_each(model, ["nobody says what it is now"])
    file.write_text(f"{known}\n")
    # another of the job's workers; this one would look again after some seconds
    model = opened(given)
    assert right(model.embed(TEXTS))
    model.close()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_nobody_is_followed_to_another_host(server: Endpoint, remote: Opener, status: int) -> None:
    with endpoint() as other:
        server.fault = lambda asked: Reply(status, b"", {"Location": f"{other.openai}/embeddings?key={KEY}"})
        with pytest.raises(ConfigError, match=rf"{status}.* to http://127\.0\.0\.1: nothing is sent") as raised:
            embed_each(remote(), TEXTS)
        assert other.asked == []
    assert KEY not in str(raised.value)


def test_an_endpoint_that_is_away_is_left_alone_after_failures_in_a_row(server: Endpoint, remote: Opener) -> None:
    server.fault = lambda asked: Reply(500, b"oops")
    model = remote(patience_s=60, breaker=Breaker(most=5, span_s=0.2, rest_s=0.4))
    begun = time.monotonic()
    with pytest.raises(Unavailable, match=r"failed \d+ times in a row and is left alone: .*500"):
        model.embed(TEXTS)
    assert time.monotonic() < begun + 20
    before = len(server.asked)
    with pytest.raises(Unavailable, match="left alone"):
        model.embed(TEXTS)
    assert len(server.asked) == before
    server.fault = lambda asked: None
    time.sleep(0.4)
    assert right(model.embed(TEXTS))


def test_who_nobody_is_waiting_for_asks_no_more(server: Endpoint, remote: Opener) -> None:
    # the longest go first: this text is among them
    def fault(asked: Asked) -> Reply | None:
        return Reply(404) if TEXTS[13] in asked.texts else Reply(500)

    server.fault = fault
    with pytest.raises(ConfigError):
        remote(patience_s=60, max_texts=1, concurrency=4).embed(TEXTS)
    time.sleep(0.2)
    before = len(server.asked)
    time.sleep(0.5)
    assert len(server.asked) == before


def test_a_server_that_is_not_there_is_named(remote: Opener) -> None:
    model = remote(patience_s=0.5, openai={"url": "http://127.0.0.1:9/v1", "api_key": KEY})
    with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:9/v1/embeddings can't be reached: ConnectError"):
        model.embed(["a"])


def test_a_key_is_nowhere_to_be_read(server: Endpoint, remote: Opener, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    model = remote(patience_s=0.5)
    model.embed(TEXTS)
    server.fault = lambda asked: Reply(500, {"error": f"you sent {asked.headers}"})
    with pytest.raises(Unavailable) as raised:
        model.embed(["a"])
    shown = f"{raised.value}{raised.value!r}{model.describe()}{vars(model)}{caplog.text}"
    assert KEY not in shown
    assert KEY not in repr(Embedding.model_validate({"openai": {"url": server.openai, "api_key": KEY}}))


def test_floats_are_asked_for_where_base64_is_not_known(server: Endpoint, remote: Opener) -> None:
    model = remote(openai={"url": server.openai + "/", "encoding_format": "float", "dimensions": 384})
    assert right(model.embed(TEXTS))
    (asked, *_) = server.asked
    assert (asked.path, asked.body["encoding_format"], asked.body["dimensions"]) == ("/v1/embeddings", "float", 384)
