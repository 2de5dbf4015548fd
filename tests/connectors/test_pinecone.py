"""What is Pinecone's own about its store: an index that shows writes later, its limits, and whose index it takes."""

from __future__ import annotations

import json
import logging
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from connectors.opening.stores import open_stores, stores_of
from connectors.pinecone import namespace, searching
from connectors.pinecone.filters import _beginning
from connectors.pinecone.store import PineconeStore
from core.change import Position
from core.config.file import load
from core.config.pinecone import Pinecone
from core.config.problems import sentence
from core.errors import ConfigError, StoreGone, Unavailable
from core.plans import Chunk, Plan
from core.stores.filters import terms
from core.stores.filters.language import parse
from core.stores.ranking import Mode
from operations.index import Index
from operations.search import search
from tests.connectors import pinecone_server
from tests.connectors.pinecone_server import KEY, pinecone_service
from tests.connectors.test_store_contract import APPLIED, REJECTED, STALE, apply, plan, texts, vector_of, vectors_of
from tests.operations.test_search import PIPELINE
from udfs.embedding.embedder import dimension, questioner

SERVERLESS = {"dimension": 4, "metric": "cosine", "spec": {"serverless": {"cloud": "aws", "region": "us-east-1"}}}


@pytest.fixture
def service() -> Iterator[pinecone_server.Pinecone]:
    with pinecone_service() as made:
        yield made


def target_of(service: pinecone_server.Pinecone, **others: Any) -> Pinecone:
    settings = {"index": "articles", "namespace": "chunks", "api_key": SecretStr(KEY), "host": service.url}
    return Pinecone(**{**settings, **others})


def open_store(service: pinecone_server.Pinecone, patience_s: float = 5.0, **others: Any) -> PineconeStore:
    return PineconeStore(target_of(service, **others), 4, "m", patience_s)


@pytest.fixture
def store(service: pinecone_server.Pinecone) -> Iterator[PineconeStore]:
    made = open_store(service)
    made.prepare()
    yield made
    made.close()


def test_an_index_is_made_for_the_model_and_one_that_fits_is_taken_as_it_is(service: pinecone_server.Pinecone) -> None:
    store = open_store(service, cloud="gcp", region="europe-west4")
    assert store.look() is False
    store.prepare()
    assert store.look() is True
    made = {"name": "articles", "dimension": 4, "metric": "cosine", "vector_type": "dense"}
    assert ("/indexes", {**made, "spec": {"serverless": {"cloud": "gcp", "region": "europe-west4"}}}) in service.asked
    service.make("theirs", **{**SERVERLESS, "spec": {"byoc": {"environment": "x"}}})
    taken = open_store(service, index="theirs")
    taken.prepare()
    assert apply(taken, plan("d", "1", "one")) == [APPLIED]
    assert sum(path == "/indexes" for path, _ in service.asked) == 1
    taken.close()
    store.close()


OTHERS = {
    "dimension": ({"dimension": 5}, r"has vector\(5\), the model has vector\(4\): name another index"),
    "metric": ({"metric": "euclidean"}, "compares vectors by euclidean, which must be cosine"),
    "pods": ({"spec": {"pod": {"environment": "x"}}}, "is made of pods, must be serverless"),
    "sparse": ({"vector_type": "sparse", "dimension": None, "metric": "dotproduct"}, "has sparse vectors"),
    "embeds": ({"embed": {"model": "llama-text-embed-v2"}}, "embeds by itself"),
}


def test_an_index_that_does_not_fit_is_refused_and_nothing_is_written(service: pinecone_server.Pinecone) -> None:
    for name, (settings, why) in OTHERS.items():
        service.make(name, **{**SERVERLESS, **settings})
        store = open_store(service, index=name)
        for call in (store.look, store.prepare):
            with pytest.raises(ConfigError, match=f"store.pinecone.index: {name} {why}"):
                call()
        store.close()
    assert service.spaces == {}


def ask(service: pinecone_server.Pinecone, path: str, **body: Any) -> Any:
    """As another client."""
    url = f"http://{service.indexes['articles']['host']}{path}"
    headers = {"Api-Key": KEY, "X-Pinecone-Api-Version": "2025-10"}
    answer = httpx.post(url, json={"namespace": "chunks", **body}, headers=headers)
    answer.raise_for_status()
    return answer.json()


def test_a_namespace_of_someone_elses_is_refused(store: PineconeStore, service: pinecone_server.Pinecone) -> None:
    ask(service, "/vectors/upsert", vectors=[{"id": "theirs", "values": [1, 0, 0, 0], "metadata": {"a": 1}}])
    time.sleep(0.05)
    for call in (store.look, store.prepare):
        with pytest.raises(ConfigError, match=r"namespace: chunks of index .* none of Freshet's, as theirs"):
            call()


def test_other_clients_find_metadata_in_fields_of_its_own(
    store: PineconeStore, service: pinecone_server.Pinecone
) -> None:
    metadata = {"lang": "en", "year": 2024, "tags": ["a", "b"], "text": "hidden", "$no": 1, "huge": 10**40, "n": None}
    apply(store, plan("d", "1", "one", metadata=metadata), plan("e", "1", "two", metadata={"lang": "de"}))
    asked = {"lang": "en", "year": {"$gt": 2000}, "tags": {"$in": ["b"]}}
    (found,) = ask(service, "/query", vector=[1, 0, 0, 0], topK=5, filter=asked, includeMetadata=True)["matches"]
    of = found["metadata"]
    assert (of["document_id"], of["text"], of["chunk"]) == ("d", "one", plan("d", "1", "one").chunk_ids[0])
    assert not {"$no", "huge", "n"} & of.keys() and json.loads(of["metadata"]) == metadata


@pytest.mark.parametrize("key", ["hush-1234", KEY])
def test_a_key_that_is_refused_is_named_and_no_key_is_shown(
    service: pinecone_server.Pinecone, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        store = open_store(service, api_key=SecretStr(key))
        if key != KEY:
            for call in (store.prepare, lambda: apply(store, plan("d", "1", "one"))):
                with pytest.raises(ConfigError, match=r"store.pinecone.api_key: index articles of .* 401") as raised:
                    call()
                assert key not in str(raised.value)
        else:
            store.prepare()
            apply(store, plan("d", "1", "one"))
    assert caplog.records and key not in caplog.text and key not in repr(target_of(service, api_key=SecretStr(key)))
    store.close()


def test_who_is_asked_too_often_is_left_alone_for_as_long_as_it_says(
    store: PineconeStore, service: pinecone_server.Pinecone
) -> None:
    begun = time.monotonic()
    service.instead = [(429, {"Retry-After": "1.2"}), (503, {}), (429, {"Retry-After": "soon"})]
    assert apply(store, plan("d", "1", "one")) == [APPLIED]
    assert time.monotonic() - begun >= 1.2 and service.instead == []
    hasty = open_store(service, 0.1)
    service.instead = [(429, {"Retry-After": "0.01"})] * 50
    with pytest.raises(Unavailable, match=r"articles of Pinecone at .* is asked too often \(429: as it was asked to\)"):
        apply(hasty, plan("d", "2", "two"))
    service.instead = []
    hasty.close()


def chunks(document: str, *ids: str) -> Plan:
    return Plan(document, Position("1"), ids, tuple(Chunk(each, at, each[:5]) for at, each in enumerate(ids)))


TOO_LARGE = {
    "text": (plan("x", "1", "é" * 20_400), r"chunk 0 has 41,\d+ bytes of text and metadata, Pinecone takes 40,960"),
    "metadata": (plan("x", "1", "x", metadata={"a": ["x" * 21_000]}), r"bytes of text and metadata"),
    "values": (plan("x", "1", "x", metadata={"a": list(range(2_000))}), r"bytes of text and metadata"),
    "chunk": (chunks("x", "c" * 480), "the id of a chunk, with its document's key, has 513 bytes, Pinecone takes 512"),
    "letters": (chunks("x", "ü"), "letters that are no ASCII"),
    "position": (plan("x", "1" * 193, "x"), "the change's position has 193 bytes, Pinecone takes 192"),
    "tables": (Plan("x/" * 1_200, Position("1")), "the document's id, with its tables, has"),
}


def test_what_it_cannot_hold_is_rejected_alone(store: PineconeStore) -> None:
    fits = [plan("a", "1", "é" * 20_000), chunks("b", "c" * 479), plan("c", "1", "x", metadata={"a": ["x" * 17_000]})]
    plans = [*fits, *(each for each, _ in TOO_LARGE.values())]
    outcomes = store.apply(plans, vectors_of(plans))
    assert [each.status for each in outcomes] == [APPLIED] * len(fits) + [REJECTED] * len(TOO_LARGE)
    for outcome, (_, why) in zip(outcomes[len(fits) :], TOO_LARGE.values(), strict=True):
        assert re.search(why, outcome.reason), outcome.reason
    assert sorted(store.document_ids()) == ["a", "b", "c"]


def test_a_kept_chunk_that_metadata_makes_too_large_is_rejected_and_stays(store: PineconeStore) -> None:
    apply(store, plan("d", "1", "x" * 30_000))
    outcomes = apply(store, plan("d", "2", "x" * 30_000, new=[], metadata={"a": ["x" * 9_000]}), plan("e", "1", "e"))
    assert outcomes == [REJECTED, APPLIED]
    assert store.positions(["d", "e"]) == {"d": "1", "e": "1"} and len(texts(store)) == 2


def test_requests_have_as_much_as_it_takes_and_answers_as_much_as_it_gives(
    store: PineconeStore, service: pinecone_server.Pinecone
) -> None:
    small = plan("small", "1", *(f"piece {number}" for number in range(1_500)))
    large = [plan(f"large {number}", "1", f"{number} {'x' * 36_000}") for number in range(120)]
    assert set(apply(store, small, *large)) == {APPLIED}
    upserts = [body["vectors"] for path, body in service.asked if path == "/vectors/upsert"]
    of_chunks = [each for each in upserts if "chunk" in each[0]["metadata"]]
    assert max(map(len, of_chunks)) == 1_000 and len(of_chunks) >= 4
    assert sum(map(len, of_chunks)) == 1_620, "none was refused, and sent again in halves"
    # 4.3 MB of metadata, more than an answer may have: it is asked for in smaller pages
    found = store.read([each.document_id for each in (small, *large)])
    assert [len(each.chunks) for each in found.values()].count(1_500) == 1 and len(found) == 121


def test_a_batch_is_applied_once_queries_show_it(service: pinecone_server.Pinecone) -> None:
    store, other = open_store(service), open_store(service)
    store.prepare()
    apply(store, plan("d", "1", "one"))
    for lagging, position, text in (("chunks", "2", "two"), ("chunks_ledger", "3", "three")):
        (replica,) = service.spaces["articles", lagging].replicas
        replica.lag_s, begun = 0.4, time.monotonic()
        assert apply(store, plan("d", position, text)) == [APPLIED]
        assert time.monotonic() - begun > 0.4
        assert texts(other) == [("d", text)] and set(other.stood(["d"])) == {"d"}
        replica.lag_s = 0.0
    store.close()
    other.close()


def test_a_replica_that_is_behind_lets_no_earlier_change_through() -> None:
    # of two replicas that answer in turn one shows writes late
    with pinecone_service([0.0, 10.0]) as service:
        first = open_store(service)
        first.prepare()
        for number in range(3):
            assert apply(first, plan(f"d{number}", "2", "two")) == [APPLIED]
            # another writer, that hasn't written yet, reads what was written before it came
            second = open_store(service)
            assert apply(second, plan(f"d{number}", "1", "one")) == [STALE]
            assert second.read([f"d{number}"])[f"d{number}"].position == "2"
            second.close()
        first.close()


def test_who_clears_a_table_misses_nothing_that_others_wrote_since_it_read() -> None:
    with pinecone_service([0.0, 1.0]) as service:
        writer, other = open_store(service), open_store(service)
        writer.prepare()
        assert other.read(["public.a/1"]) == {}
        apply(writer, plan("public.b/1", "1", "x"))
        assert other.read(["public.a/1"]) == {}
        time.sleep(1.1)
        # now both replicas show what it has asked for, and the next that answers lacks this
        assert apply(writer, plan("public.a/1", "1", "x")) == [APPLIED]
        assert other.clear("public.a", Position("2")) == 1
        writer.close()
        other.close()


def test_an_index_that_stays_behind_is_waited_for_and_named(
    service: pinecone_server.Pinecone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namespace, "_INDEXED_WITHIN_S", 0.2)
    service.lags_s = (30.0,)
    store = open_store(service)
    store.prepare()
    with pytest.raises(Unavailable, match=r"namespace chunks in index articles .* up to LSN 0 of 1, after 0 s"):
        apply(store, plan("d", "1", "one"))
    store.close()


def test_an_index_that_tells_no_lsn_is_refused(store: PineconeStore, service: pinecone_server.Pinecone) -> None:
    service.silent_on_lsn = True
    with pytest.raises(ConfigError, match=r"doesn't say with which LSN it writes.*take a serverless index"):
        apply(store, plan("d", "1", "one"))


def test_an_index_that_is_gone_is_named(store: PineconeStore, service: pinecone_server.Pinecone) -> None:
    apply(store, plan("d", "1", "one"))
    service.delete_index("articles")
    with pytest.raises(StoreGone, match=re.escape("`freshet run pipeline.yaml --rebuild`")):
        apply(store, plan("d", "2", "two"))
    assert service.indexes == {}


def test_what_a_crash_left_half_done_is_left_out_and_completed(
    store: PineconeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(store, plan("d", "1", "one", "two"))
    again = plan("d", "2", "two", "three", new=["three"])

    def killed(_: object) -> None:
        raise Unavailable("killed")

    with monkeypatch.context() as patched:
        # as far as the new chunks, where the old ones aren't deleted yet
        patched.setattr(store._chunks, "delete", killed)
        with pytest.raises(Unavailable, match="killed"):
            apply(store, again)
    store._chunks.settle()
    assert {text for _, text in texts(store)} == {"one", "two", "three"}, "no gap: new chunks beside old ones"
    assert store.stood(["d"]) == {} and store.positions(["d"]) == {"d": "2"}
    assert store.held([plan("d", "2", "two", "three")]) == set(again.chunk_ids)
    assert apply(store, plan("d", "2", "two", "three", new=[])) == [APPLIED]
    assert texts(store) == [("d", "two"), ("d", "three")]
    assert {hit.stood.position for hit in store.search(vector_of(""), 5) if hit.stood} == {"2"}


def test_a_table_that_is_cleared_while_it_is_written_stays_clear(
    store: PineconeStore, service: pinecone_server.Pinecone, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = open_store(service)
    write = store._ledger.write

    def cleared_meanwhile(plans: list[Plan], complete: bool) -> None:
        if complete:
            other.clear("public.a", Position("5"))
        write(plans, complete)

    late = [plan("public.a/1", "4", "below"), plan("public.a/2", "6", "above"), plan("public.b/1", "1", "other")]
    with monkeypatch.context() as patched:
        patched.setattr(store._ledger, "write", cleared_meanwhile)
        assert apply(store, *late) == [STALE, APPLIED, APPLIED]
    assert texts(store) == [("public.a/2", "above"), ("public.b/1", "other")]
    assert store.positions(["public.a/1"]) == {}
    other.close()


def test_positions_are_compared_with_all_their_bytes(store: PineconeStore) -> None:
    order = random.Random(1)
    positions = sorted({"".join(order.choices("09af", k=order.randrange(1, 30))) for _ in range(60)})
    apply(store, *(plan(f"public.a/{each}", each, "x") for each in positions))
    for mark in (positions[20], positions[20] + "0", positions[40][:-1] or "0"):
        store.clear("public.a", Position(mark))
        assert sorted(store.document_ids()) == [f"public.a/{each}" for each in positions if each >= mark]


@pytest.mark.parametrize("most", [30, 10_000])
def test_what_metadata_is_looked_through_for_is_found_however_much_passes_the_index(
    store: PineconeStore, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    for module in (namespace, searching):
        monkeypatch.setattr(module, "MOST_HITS", most)
    # they begin with the same six bytes, and the numbers with the same eight digits
    metadata = [{"t": f"prefix-{at:03}", "n": 1_000_000_000 + at, "l": [0, at, 999]} for at in range(70)]
    apply(store, *(plan(f"d{at:03}", "1", f"t{at}", metadata=each) for at, each in enumerate(metadata)))
    near = {f"d{at:03}": float(vector_of("q") @ vector_of(f"t{at}")) for at in range(70)}
    for said, expected in (
        ({"t": {"gt": "prefix-060", "lte": "prefix-062"}}, {"d061", "d062"}),
        ({"n": {"lt": 1_000_000_002}}, {"d000", "d001"}),
        ({"l": {"gt": 66, "lt": 69}}, {"d067", "d068"}),
        ({"not": {"t": {"gte": "prefix-002"}}}, {"d000", "d001"}),
    ):
        asked = parse(said, ["t", "n", "l"])
        assert {hit.document_id for hit in store.search(vector_of("q"), 4, asked)} == expected, said
        assert store.search(vector_of("q"), 1, asked)[0].document_id == max(expected, key=near.__getitem__)


def test_what_is_more_than_a_query_gives_is_read_in_parts(
    store: PineconeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(store, plan("long", "1", *(f"piece {number}" for number in range(100))))
    apply(store, *(plan(f"d{number}", "1", "one", "two") for number in range(100)))
    monkeypatch.setattr(namespace, "MOST_HITS", 40)
    monkeypatch.setattr(namespace, "_ORDINALS", 20)
    assert sorted(store.document_ids()) == sorted(["long", *(f"d{number}" for number in range(100))])
    assert [chunk.ordinal for chunk in store.read(["long"])["long"].chunks] == list(range(100))
    assert store.models() == {"m": 300}
    assert apply(store, plan("long", "2", "piece 7", new=[])) == [APPLIED]
    assert len(store.read(["long"])["long"].chunks) == 1


# fmt: off
ORDERED = {
    "texts": [
        "", " ", "-1", "10", "9", "A", "a", "a ", "ab", "abcdef", "abcdefg", "abcdefh", "e\u0301", "z", "\u00e9",
        "\uffff", "\U0001f600",
    ],
    "numbers": [
        -1e300, -(10**40), -100, -10.5, -10, -9, -1.25, -1, -5e-324, 0, 5e-324, 0.001, 1, 9, 10, 2**53, 2**53 + 1,
        10**40,
    ],
    "digits": [
        "-99999999999999999999.9", "-99999999999999999999.8", "-12.345", "-12.34", "0.00", "0.0000000000000000001",
        "4.9", "4.90000000001", "9" * 500,
    ],
    "times": ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59.5Z", "2024-02-29T00:00:00Z", "2024-02-29T00:00:00.001Z"],
}
# fmt: on


@pytest.mark.parametrize("kind", ORDERED)
def test_the_beginnings_of_values_stand_in_the_order_of_the_values(kind: str) -> None:
    numbers = ("v",) if kind == "digits" else ()
    begun: dict[str, list[float]] = {}
    for value in ORDERED[kind]:
        for each in terms.terms_of({"v": value}, numbers):
            name, _, text = each.partition("=")
            if not name.startswith("%e"):
                begun.setdefault(name, []).append(_beginning(name, text))
    for found in begun.values():
        assert len(found) == len(ORDERED[kind]) and found == sorted(found) and len(set(found)) > len(found) // 2


def test_a_pipelines_search_and_index_ask_it_by_vector_alone(
    service: pinecone_server.Pinecone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINECONE_API_KEY", KEY)
    key = "${PINECONE_API_KEY}"
    line = f'store: {{pinecone: {{index: articles, namespace: chunks, api_key: "{key}", host: "{service.url}"}}}}'
    (tmp_path / "pipeline.yaml").write_text(re.sub("store: .*", line, PIPELINE), encoding="utf-8")
    pipeline = load(tmp_path / "pipeline.yaml")
    said = {"fi": "a river in the north", "no": "a fjord in the west"}
    (store,) = open_stores(stores_of(pipeline), dimension(pipeline.embedding)).values()
    store.prepare()
    rows = questioner(pipeline.embedding).embed(list(said.values()))
    plans = [plan(f"public.rivers/{each}", "1", text, metadata={"country": each}) for each, text in said.items()]
    assert [each.status for each in store.apply(plans, [row.reshape(1, -1) for row in rows])] == [APPLIED, APPLIED]
    assert store.models() == {"hash": 2}
    store.close()
    assert [hit.text for hit in search(pipeline, "a fjord", 1)] == ["a fjord in the west"]
    assert [hit.text for hit in search(pipeline, "a fjord", 2, ["country=fi"])] == ["a river in the north"]
    with pytest.raises(ConfigError, match="finds nothing by words: search by vector"):
        search(pipeline, "a fjord", 1, mode=Mode.HYBRID)
    index = Index(pipeline, "pinecone", 1)
    index.connect()
    assert index.has_words is False
    index.close()


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"index": "Articles"}, "up to 45 small letters, digits and -"),
        ({"index": f"a{'b' * 45}"}, "up to 45 small letters"),
        ({"namespace": "a/b"}, "up to 100 letters, digits, _, . and -"),
        ({"region": "US East"}, "a cloud's region, as in us-east-1"),
        ({"cloud": "ibm"}, "aws, gcp or azure"),
        ({"host": "api.pinecone.io"}, "a server's address"),
        ({"api_key": "a\nhush"}, "has a character that no header can hold"),
    ],
)
def test_settings_that_pinecone_does_not_take_are_refused(settings: dict[str, Any], why: str) -> None:
    given = {"index": "articles", "namespace": "chunks", "api_key": "x", **settings}
    with pytest.raises(ValidationError) as raised:
        Pinecone.model_validate(given)
    (said,) = (sentence(each, given, Pinecone) for each in raised.value.errors())
    assert why in said and "hush" not in said
