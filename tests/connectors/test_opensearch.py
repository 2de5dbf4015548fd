"""What is OpenSearch's own in its store: requests cut off and refused, names, logins, words."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.opensearch.store import OpenSearchStore
from core.change import Position
from core.config.store import Aws, OpenSearch
from core.errors import ConfigError, Unavailable
from core.plans import Plan
from tests.connectors.proxy import Proxy, bulk_operations, proxy
from tests.connectors.test_store_contract import (
    APPLIED,
    LACKING,
    REJECTED,
    STALE,
    apply,
    having,
    plan,
    rows,
    texts,
    vector_of,
    vectors_of,
)
from tests.programs import needed


@pytest.fixture
def chunks(target: OpenSearch) -> Iterator[OpenSearchStore]:
    store = OpenSearchStore(target, 4, "m", patience_s=5)
    store.prepare()
    yield store
    store.close()


def through(way: Proxy, target: OpenSearch, patience_s: float = 0.3) -> OpenSearchStore:
    return OpenSearchStore(target.model_copy(update={"hosts": (way.url,)}), 4, "m", patience_s)


def held_chunks(url: str, index: str) -> dict[str, list[tuple[int, str]]]:
    """What the index holds, past the store."""
    httpx.post(f"{url}/{index}/_refresh").raise_for_status()
    found = httpx.post(f"{url}/{index}/_search", json={"size": 1000}).raise_for_status().json()
    chunks: dict[str, list[tuple[int, str]]] = {}
    for hit in found["hits"]["hits"]:
        of = hit["_source"]
        chunks.setdefault(of["document_id"], []).append((of["ordinal"], of["text"]))
    return {document_id: sorted(each) for document_id, each in chunks.items()}


def entry(url: str, index: str, document_id: str) -> dict[str, Any]:
    """The ledger's entry, past the store."""
    found = httpx.get(f"{url}/{index}-ledger/_doc/d:{document_id}".replace("a/", "a%2F")).json()
    source: dict[str, Any] = found["_source"]
    return source


START = plan("public.a/1", "1", "one", "two", "three", metadata={"lang": "en"})
NEXT = {
    "swapped whole": (plan("public.a/1", "2", "four", "five"), [(0, "four"), (1, "five")]),
    "one of three": (
        plan("public.a/1", "2", "one", "zwei", "three", new=["zwei"], metadata={"lang": "en"}),
        [(0, "one"), (1, "zwei"), (2, "three")],
    ),
    "moved": (
        plan("public.a/1", "2", "three", "one", new=[], metadata={"lang": "de"}),
        [(0, "three"), (1, "one")],
    ),
    "deleted": (plan("public.a/1", "2"), None),
}


@pytest.mark.parametrize("delivered", [False, True], ids=["lost", "answer lost"])
@pytest.mark.parametrize("cut_at", range(7))
@pytest.mark.parametrize("change", NEXT)
def test_a_writer_cut_off_anywhere_is_completed_by_the_next(
    chunks: OpenSearchStore, way: Proxy, url: str, target: OpenSearch, change: str, cut_at: int, delivered: bool
) -> None:
    after, expected = NEXT[change]
    apply(chunks, START)
    dying = through(way, target, patience_s=0)
    dying._forget_at = time.monotonic() + 60  # type: ignore[attr-defined]
    way.cut_at, way.delivers_last = cut_at, delivered
    died = False
    try:
        apply(dying, after)
    except Unavailable:
        died = True
    assert died or cut_at >= 5
    assert apply(chunks, after) == [APPLIED]
    assert held_chunks(url, target.index).get("public.a/1") == expected
    assert all(hit.metadata == after.metadata for hit in rows(chunks))
    assert entry(url, target.index, "public.a/1")["complete"]
    dying.close()


@pytest.mark.parametrize("cut_at", range(7))
def test_a_clear_cut_off_anywhere_is_completed_by_the_next(
    chunks: OpenSearchStore, way: Proxy, url: str, target: OpenSearch, cut_at: int
) -> None:
    apply(chunks, START, plan("public.b/1", "1", "other"))
    way.cut_at = cut_at
    dying = through(way, target, patience_s=0)
    with pytest.raises(Unavailable):
        dying.clear("public.a", Position("5"))
    chunks.clear("public.a", Position("5"))
    assert held_chunks(url, target.index) == {"public.b/1": [(0, "other")]}
    assert apply(chunks, START) == [STALE]
    dying.close()


@pytest.mark.parametrize("cut_at", range(5))
def test_a_writer_that_a_clear_overtakes_leaves_no_ghost(
    chunks: OpenSearchStore, way: Proxy, url: str, target: OpenSearch, cut_at: int
) -> None:
    """It dies after each of its requests in turn; the clear comes then, or came before, and the plan comes again."""
    dying = through(way, target, patience_s=0)
    dying._forget_at = time.monotonic() + 60  # type: ignore[attr-defined]
    way.cut_at = cut_at
    with pytest.raises(Unavailable):
        apply(dying, START)
    chunks.clear("public.a", Position("5"))
    assert held_chunks(url, target.index) == {}
    assert apply(chunks, START) == [STALE]
    assert held_chunks(url, target.index) == {}
    dying.close()


def test_a_ghost_below_the_mark_is_removed_when_its_plan_comes_again(
    chunks: OpenSearchStore, url: str, target: OpenSearch
) -> None:
    """As left by a writer that died between moving the entry and reading a mark that was set meanwhile."""
    mark = {"doc": {"table": "public.a", "mark": "5"}, "doc_as_upsert": True}
    apply(chunks, START)
    httpx.post(f"{url}/{target.index}-ledger/_update/t:public.a", json=mark).raise_for_status()
    assert apply(chunks, START) == [STALE]
    assert held_chunks(url, target.index) == {}


def test_a_late_writer_removes_what_a_later_one_does_not_want(
    chunks: OpenSearchStore, way: Proxy, url: str, target: OpenSearch
) -> None:
    """A writer that was held up after its claim, for longer than deleted chunks remember their versions."""
    slow = through(way, target, patience_s=5)
    slow._forget_at = time.monotonic() + 60  # type: ignore[attr-defined]
    write = slow._writer._write

    def overtaken(claimed: Any) -> Any:
        httpx.put(f"{url}/{target.index}/_settings", json={"index.gc_deletes": "0s"}).raise_for_status()
        assert apply(chunks, plan("public.a/1", "2", "one", "later")) == [APPLIED]
        time.sleep(1.5)  # the server's clock for this ticks every second
        httpx.post(f"{url}/{target.index}/_refresh").raise_for_status()
        written = write(claimed)
        assert (1, "early") in held_chunks(url, target.index)["public.a/1"]
        return written

    slow._writer._write = overtaken  # type: ignore[method-assign]
    assert apply(slow, plan("public.a/1", "1", "one", "early")) == [APPLIED]
    assert held_chunks(url, target.index) == {"public.a/1": [(0, "one"), (1, "later")]}
    slow.close()


@pytest.mark.parametrize("status", [429, 503])
def test_only_the_refused_operations_are_sent_again(way: Proxy, target: OpenSearch, status: int) -> None:
    store = through(way, target, patience_s=5)
    store.prepare()
    refused: set[str] = set()

    def busy(action: dict[str, Any], number: int) -> int | None:
        of = next(iter(action.values()))["_id"]
        if number % 3 or of in refused:
            return None
        refused.add(of)
        return status

    way.busy = busy
    plans = [plan(f"d{number}", "1", f"text {number}") for number in range(30)]
    assert set(apply(store, *plans)) == {APPLIED}
    assert len(rows(store)) == 30
    # each with a guard before them
    bulks = [len(bulk_operations(each.body)) - 1 for each in way.asked if each.path.startswith("/_bulk")]
    assert bulks[:2] == [30, 10] and sum(bulks) < 3 * 30 + 2 * 30
    store.close()


def test_a_cluster_that_stays_busy_is_unavailable_after_the_patience(way: Proxy, target: OpenSearch) -> None:
    store = through(way, target, patience_s=0.5)
    store.prepare()
    way.busy = lambda action, number: 429
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:\d+ doesn't answer .*queue is full"):
        apply(store, plan("d", "1", "one"))
    store.close()


def test_bulks_are_bounded_in_bytes(way: Proxy, target: OpenSearch) -> None:
    store = through(way, target, patience_s=10)
    store.prepare()
    large = "all work and no play " * 100_000
    assert set(apply(store, *(plan(f"d{number}", "1", f"{number} {large}") for number in range(10)))) == {APPLIED}
    sizes = [len(each.body) for each in way.asked if each.path.startswith("/_bulk")]
    assert 4 * 2**20 < max(sizes) <= 8 * 2**20
    store.close()


def test_the_index_has_the_promised_fields(chunks: OpenSearchStore, url: str, target: OpenSearch) -> None:
    apply(chunks, plan("public.a/1", "1", "one", metadata={"lang": "en", "year": 2024, "a=b": "c", "none": None}))
    httpx.post(f"{url}/{target.index}/_refresh")
    (hit,) = httpx.get(f"{url}/{target.index}/_search").json()["hits"]["hits"]
    assert hit["_id"] == hit["_source"]["chunk_id"] and hit["_routing"] == "public.a/1"
    assert hit["_source"] == {
        "chunk_id": plan("public.a/1", "1", "one").chunk_ids[0],
        "document_id": "public.a/1",
        "ordinal": 0,
        "text": "one",
        "metadata": {"lang": "en", "year": 2024, "a=b": "c", "none": None},
        "filters": ["%elang=", "lang=en", "%eyear=", "%nyear=250000032024", "%ea%3Db=", "a%3Db=c", "%v=1"],
        "embedding": pytest.approx(vector_of("one").tolist(), abs=1e-7),
        "model": "m",
    }
    settings = httpx.get(f"{url}/{target.index}/_settings").json()[target.index]["settings"]["index"]
    assert (settings["gc_deletes"], settings["knn"]) == ("1h", "true")


def test_values_are_found_by_the_text_that_they_are_written_as(chunks: OpenSearchStore) -> None:
    long = "x" * 40_000
    metadata = {"n": 1.5, "yes": True, "list": [1, "a"], "long": long, "none": None, "a": "b=c", "a=b": "d"}
    apply(chunks, plan("public.a/1", "1", "one", metadata=metadata))
    for key, value in {"n": "1.5", "yes": "true", "list": "a", "long": long, "a": "b=c", "a=b": "d"}.items():
        assert len(chunks.search(vector_of("q"), 1, having({key: value}))) == 1, key
    for key, value in {"none": "null", "a": "b", "a=b": "c", "long": long + "x", "yes": "True"}.items():
        assert chunks.search(vector_of("q"), 1, having({key: value})) == [], key


def test_a_kept_chunk_is_not_written_again(chunks: OpenSearchStore, url: str, target: OpenSearch) -> None:
    def version(of: Plan) -> int:
        path = f"{url}/{target.index}/_doc/{of.chunk_ids[0]}?routing=d"
        return int(httpx.get(path).json()["_version"])

    first = plan("d", "1", "one", "two")
    apply(chunks, first)
    before = version(first)
    apply(chunks, plan("d", "2", "one", "zwei", new=["zwei"]))
    assert version(first) == before
    apply(chunks, plan("d", "3", "one", "zwei", new=[], metadata={"lang": "de"}))
    assert version(first) > before


def test_chunks_lost_behind_our_back_are_missed_by_the_next_change(
    chunks: OpenSearchStore, url: str, target: OpenSearch
) -> None:
    first = plan("d", "1", "one", "two")
    apply(chunks, first)
    httpx.delete(f"{url}/{target.index}/_doc/{first.chunk_ids[0]}?routing=d").raise_for_status()
    change = plan("d", "2", "one", "two", new=[], metadata={"lang": "de"})
    (outcome,) = chunks.apply([change], vectors_of([change]))
    assert (outcome.status, outcome.reason) == (REJECTED, LACKING)
    assert apply(chunks, plan("d", "2", "one", "two")) == [APPLIED]
    assert texts(chunks) == [("d", "one"), ("d", "two")]


def test_deletes_are_forgotten_after_their_time(chunks: OpenSearchStore, url: str, target: OpenSearch) -> None:
    apply(chunks, plan("public.a/1", "1", "one"), plan("public.a/2", "1", "two"))
    apply(chunks, plan("public.a/1", "3"))
    forgetful = OpenSearchStore(target, 4, "m", remember_deletes_s=0)
    time.sleep(0.01)
    assert apply(forgetful, plan("public.a/2", "2", "two")) == [APPLIED]
    assert apply(chunks, plan("public.a/1", "2", "one")) == [APPLIED], "what was deleted at 3 is forgotten"
    assert held_chunks(url, target.index)["public.a/1"] == [(0, "one")]
    assert apply(chunks, plan("public.a/2", "1", "late")) == [STALE], "what lives is not"
    forgetful.close()


def test_only_chunks_of_the_stores_model_answer(chunks: OpenSearchStore, target: OpenSearch) -> None:
    apply(chunks, plan("public.a/1", "1", "one"))
    other = OpenSearchStore(target, 4, "another model")
    stored = other.read(["public.a/1"])["public.a/1"]
    assert texts(other) == [] and (stored.chunks, dict(stored.others)) == ((), {"m": 1})
    assert other.search(vector_of("one"), 5) == other.match("one", 5) == []
    other.close()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"mappings": {"properties": {"text": {"type": "text"}}}}, r"embedding missing \(needed: knn_vector lucene"),
        ({}, "is not an index of Freshet's"),
    ],
)
def test_a_foreign_index_is_refused(target: OpenSearch, url: str, body: dict[str, Any], message: str) -> None:
    httpx.put(f"{url}/{target.index}", json=body).raise_for_status()
    with pytest.raises(ConfigError, match=message):
        OpenSearchStore(target, 4, "m").prepare()


def test_a_ledger_without_its_index_is_refused(chunks: OpenSearchStore, url: str, target: OpenSearch) -> None:
    httpx.delete(f"{url}/{target.index}").raise_for_status()
    with pytest.raises(ConfigError, match=f"delete {target.index}-ledger too"):
        chunks.prepare()
    with pytest.raises(ConfigError, match="no such index"):
        apply(chunks, plan("d", "1", "one"))


@pytest.mark.parametrize("index", ["", "Upper", "a,b", "*", "../_cluster", "_all", "a b", "x" * 201])
def test_an_index_of_no_name_is_refused(index: str) -> None:
    with pytest.raises(ValueError, match="index"):
        OpenSearch(hosts=("http://127.0.0.1:9200",), index=index)


@pytest.mark.parametrize("origin", ["http://elsewhere.example", "null"])
def test_the_stacks_own_does_nothing_for_a_page_of_another_site(url: str, origin: str) -> None:
    answer = httpx.post(f"{url}/test-none/_close", headers={"Origin": origin})
    assert answer.status_code == 403, answer.text


def test_user_and_password_are_sent_and_appear_in_no_message(way: Proxy, target: OpenSearch) -> None:
    login = {"hosts": (way.url,), "user": "freshet", "password": "hunter2"}
    store = OpenSearchStore(target.model_copy(update=login), 4, "m", patience_s=0.2)
    store.prepare()
    sent = {name.lower(): value for name, value in way.asked[0].headers.items()}
    assert sent["authorization"] == "Basic ZnJlc2hldDpodW50ZXIy"
    way.cut_at = 0
    for call in (store.prepare, lambda: rows(store), lambda: apply(store, plan("d", "1", "one"))):
        with pytest.raises(Unavailable) as away:
            call()
        error: BaseException | None = away.value
        while error is not None:
            assert "hunter2" not in repr(error) and "ZnJlc2hldDpodW50ZXIy" not in repr(error)
            error = error.__cause__
    with pytest.raises(ValueError, match="user and password have settings") as refused:
        OpenSearch(hosts=("https://freshet:hunter2@127.0.0.1",), index="a")
    assert "user and password have settings" in str(refused.value)
    store.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    program = needed("openssl")
    made = str(tmp_path / "certificate.pem"), str(tmp_path / "key.pem")
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-out", made[0], "-keyout", made[1], *names]
    subprocess.run([program, "req", *options], check=True, capture_output=True)
    return made


def test_certificates_are_verified(certificate: tuple[str, str], url: str, target: OpenSearch, tmp_path: Path) -> None:
    with proxy(url, certificate) as way:
        given: Callable[..., OpenSearchStore] = lambda **how: OpenSearchStore(  # noqa: E731
            target.model_copy(update={"hosts": (way.url,), **how}), 4, "m", patience_s=1
        )
        with pytest.raises(ConfigError, match="CERTIFICATE_VERIFY_FAILED"):
            given().prepare()
        assert way.asked == []
        trusting = given(ca_certs=certificate[0])
        trusting.prepare()
        assert apply(trusting, plan("d", "1", "one")) == [APPLIED]
        given(verify_certs=False).prepare()
    with pytest.raises(ConfigError, match=r"store\.opensearch\.ca_certs"):
        OpenSearchStore(target.model_copy(update={"hosts": (url,), "ca_certs": str(tmp_path / "no")}), 4, "m")


@pytest.mark.parametrize("service", ["es"])
def test_requests_are_signed_for_aws(
    way: Proxy, target: OpenSearch, monkeypatch: pytest.MonkeyPatch, service: Any
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    aws = Aws(region="eu-west-1", service=service)
    store = OpenSearchStore(target.model_copy(update={"hosts": (way.url,), "aws": aws}), 4, "m")
    store.prepare()
    assert apply(store, plan("public.a/naïve", "1", "one")) == [APPLIED]
    assert texts(store) == [("public.a/naïve", "one")]
    for asked in way.asked:
        sent = {name.lower(): value for name, value in asked.headers.items()}
        assert sent["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        assert f"/eu-west-1/{service}/aws4_request, SignedHeaders=" in sent["authorization"]
        assert sent["x-amz-content-sha256"] == hashlib.sha256(asked.body).hexdigest()
        assert "hunter2" not in json.dumps(sent)
    store.close()


def test_missing_aws_credentials_are_an_error_at_once(
    target: OpenSearch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ConfigError, match=r"store\.opensearch\.aws: no AWS credentials"):
        OpenSearchStore(target.model_copy(update={"aws": Aws(region="eu-west-1")}), 4, "m")
