"""What is Milvus' own about its store: a file that several processes share, its limits, and what it isn't given."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from pymilvus import MilvusClient

from connectors.milvus import lite
from connectors.milvus.client import TIMES
from connectors.milvus.filters import expression_of
from connectors.milvus.store import MilvusStore
from core.change import Position
from core.config.store import Milvus
from core.errors import ConfigError, StoreGone, Unavailable
from core.plans import Plan
from core.stores.filters.language import parse
from tests.connectors.servers import Server
from tests.connectors.test_store_contract import APPLIED, REJECTED, STALE, apply, plan, texts, vector_of, vectors_of
from tests.pages import ROOT


@pytest.fixture
def target(milvus_server: Server) -> Milvus:
    return Milvus(uri=f"http://{milvus_server.address}", collection=f"test_{uuid4().hex[:12]}")


@pytest.fixture
def store(target: Milvus) -> Iterator[MilvusStore]:
    made = MilvusStore(target, 4, "m", 5.0)
    made.prepare()
    yield made
    made.close()


@pytest.fixture
def client(target: Milvus) -> Iterator[MilvusClient]:
    made = MilvusClient(target.uri, alias=uuid4().hex)
    yield made
    made.close()


JOIN = """
import sys
from tests.connectors.test_milvus import of_file
from tests.connectors.test_store_contract import apply, plan
store = of_file(sys.argv[1])
store.prepare()
print(*apply(store, plan(sys.argv[2], "1", "one of " + sys.argv[2])))
"""


def of_file(file: str) -> MilvusStore:
    return MilvusStore(Milvus(uri=file, collection="chunks"), 4, "m", 30.0)


def test_a_file_is_one_servers_which_the_first_starts_and_the_others_join(tmp_path: Path) -> None:
    file = tmp_path / "articles.db"
    others = [
        subprocess.Popen(
            [sys.executable, "-c", JOIN, str(file), f"public.a/{number}"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    assert [each.communicate()[0].strip() for each in others] == ["applied", "applied"]
    store = of_file(str(file))
    pid = lite.server_pid(file)
    assert pid is not None
    try:
        assert texts(store) == [("public.a/0", "one of public.a/0"), ("public.a/1", "one of public.a/1")]
        assert lite.listening(file).startswith("http://127.0.0.1:")
        os.kill(pid, signal.SIGKILL)
        # who asks next starts another one, on the data that is there
        assert apply(store, plan("public.a/2", "1", "two")) == [APPLIED]
        assert len(texts(store)) == 3 and lite.server_pid(file) not in (None, pid)
    finally:
        store.close()
        if (last := lite.server_pid(file)) is not None:
            os.kill(last, signal.SIGTERM)


def test_a_file_that_is_none_of_lites_is_named(tmp_path: Path) -> None:
    file = tmp_path / "notes.db"
    file.write_text("not a database")
    with pytest.raises(Unavailable, match=re.escape(f"Milvus Lite doesn't start on {file}")):
        of_file(str(file)).look()


NESTED = {"deep": {"list": [None, {"a": None}, [1, [2]]], "text": "x" * 40_000}, "none": None, "large": 10**40}
FITS = {"a text": ("x" * 65_535, {}), "metadata": ("x", NESTED)}
TOO_LARGE = {
    "a text": ("é" * 32_768, {}, "the text of chunk 0 has 65,536 bytes, Milvus takes 65,535"),
    "metadata": ("x", {"a": "x" * 65_535}, "the metadata, as JSON, has 65,544 bytes"),
    "values": ("x", {"a": list(range(4_096))}, "4098 values to filter by, Milvus takes 4096"),
    "texts to compare": ("x", {str(at): "x" * 400 for at in range(100)}, "values to filter by has"),
}


def test_what_it_cannot_hold_is_rejected_alone_and_what_it_can_comes_back(store: MilvusStore) -> None:
    plans = [plan(f"fits/{name}", "1", text, metadata=metadata) for name, (text, metadata) in FITS.items()]
    plans += [plan(f"large/{name}", "1", text, metadata=metadata) for name, (text, metadata, _) in TOO_LARGE.items()]
    outcomes = store.apply(plans, vectors_of(plans))
    assert [each.status for each in outcomes] == [APPLIED] * len(FITS) + [REJECTED] * len(TOO_LARGE)
    for outcome, (*_, why) in zip(outcomes[len(FITS) :], TOO_LARGE.values(), strict=True):
        assert why in outcome.reason
    assert {each: stored.metadata for each, stored in store.read([each.document_id for each in plans]).items()} == {
        f"fits/{name}": metadata for name, (_, metadata) in FITS.items()
    }


def test_other_clients_find_metadata_in_fields_of_its_own(
    store: MilvusStore, target: Milvus, client: MilvusClient
) -> None:
    metadata = {"lang": "en", "year": 2024, "tags": ["a", "b"], "text": "hidden", "not a name": 1, "huge": 10**40}
    apply(store, plan("d", "1", "one", metadata=metadata), plan("e", "1", "two", metadata={"lang": "de"}))
    (found,) = client.query(target.collection, filter='lang == "en" and year > 2000', output_fields=["*"], **TIMES)
    assert (found["document_id"], found["text"], found["tags"]) == ("d", "one", ["a", "b"])
    assert not {"not a name", "huge"} & found.keys() and json.loads(found["metadata"]) == metadata


def test_a_collection_of_someone_elses_is_refused(target: Milvus, client: MilvusClient) -> None:
    client.create_collection(target.collection, dimension=4, **TIMES)
    with pytest.raises(
        ConfigError, match=f"{target.collection} is not a collection of Freshet's: .*document_id missing"
    ):
        MilvusStore(target, 4, "m").look()
    with pytest.raises(ConfigError, match="is not a collection of Freshet's"):
        MilvusStore(target, 4, "m").prepare()
    assert not client.has_collection(target.ledger)


def test_a_collection_of_someone_elses_is_not_to_be_dropped_for_its_dimension(
    target: Milvus, client: MilvusClient
) -> None:
    client.create_collection(target.collection, dimension=5, vector_field_name="embedding", **TIMES)
    with pytest.raises(ConfigError, match=r"is not a collection of Freshet's: .*: name another collection$"):
        MilvusStore(target, 4, "m").look()


def test_a_file_is_refused_where_milvus_lite_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"store.milvus.uri, the file .*a.db, needs milvus_lite.*freshet\[milvus\]"):
        lite.address_of(str(tmp_path / "a.db"))


def test_a_collection_of_another_metric_or_index_is_refused(
    store: MilvusStore, target: Milvus, client: MilvusClient
) -> None:
    other = target.model_copy(update={"index": Milvus(uri="x", collection="x", index={"autoindex": {}}).index})
    with pytest.raises(ConfigError, match=r"store.milvus.index is AUTOINDEX, and .* has HNSW"):
        MilvusStore(other, 4, "m").look()
    client.release_collection(target.collection)
    client.drop_index(target.collection, "embedding")
    index = client.prepare_index_params("embedding", index_type="HNSW", index_name="embedding", metric_type="L2")
    client.create_index(target.collection, index, sync=False)
    with pytest.raises(ConfigError, match="compares vectors by L2, which must be COSINE"):
        store.look()


@pytest.mark.parametrize("index", [{"ivf_flat": {"nlist": 4, "nprobe": 4}}, {"autoindex": {}}, {"hnsw": {"m": 4}}])
def test_each_index_answers(target: Milvus, index: dict[str, Any]) -> None:
    made = MilvusStore(Milvus(uri=target.uri, collection=target.collection, index=index), 4, "m")
    made.prepare()
    plans = [plan(f"d{number}", "1", f"text {number}") for number in range(50)]
    apply(made, *plans)
    question = vector_of("question")
    expected = sorted(plans, key=lambda each: -float(question @ vector_of(each.write[0].text)))[:5]
    assert [hit.document_id for hit in made.search(question, 5)] == [each.document_id for each in expected]
    made.close()


def test_a_collection_that_is_gone_stays_gone(store: MilvusStore, target: Milvus, client: MilvusClient) -> None:
    apply(store, plan("d", "1", "one"))
    client.drop_collection(target.collection)
    with pytest.raises(StoreGone, match=re.escape("`freshet run pipeline.yaml --rebuild`")):
        apply(store, plan("d", "2", "two"))
    with pytest.raises(ConfigError, match=f"{target.ledger} is there without {target.collection}"):
        store.prepare()
    assert not client.has_collection(target.collection)


def test_what_a_crash_left_half_done_is_left_out_and_completed(store: MilvusStore) -> None:
    apply(store, plan("d", "1", "one", "two"))
    again = plan("d", "2", "two", "three", new=["three"])
    # as far as the new chunks, where the old ones aren't deleted yet
    write = store._server.delete
    store._server.delete = lambda *_: (_ for _ in ()).throw(Unavailable("killed"))  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="killed"):
        apply(store, again)
    store._server.delete = write  # type: ignore[method-assign]
    assert {text for _, text in texts(store)} == {"one", "two", "three"}, "no gap: new chunks beside old ones"
    assert store.stood(["d"]) == {} and store.positions(["d"]) == {"d": "2"}
    assert store.held([plan("d", "2", "two", "three")]) == set(again.chunk_ids)
    assert apply(store, plan("d", "2", "two", "three", new=[])) == [APPLIED]
    assert texts(store) == [("d", "two"), ("d", "three")]
    assert {hit.stood.position for hit in store.search(vector_of(""), 5) if hit.stood} == {"2"}


def test_a_table_that_is_cleared_while_it_is_written_stays_clear(store: MilvusStore, target: Milvus) -> None:
    other = MilvusStore(target, 4, "m")
    ledger, write = store._ledger, store._ledger.write

    def cleared_meanwhile(plans: list[Plan], complete: bool) -> None:
        if complete:
            other.clear("public.a", Position("5"))
        write(plans, complete)

    ledger.write = cleared_meanwhile  # type: ignore[method-assign, assignment]
    late = [plan("public.a/1", "4", "below"), plan("public.a/2", "6", "above"), plan("public.b/1", "1", "other")]
    assert apply(store, *late) == [STALE, APPLIED, APPLIED]
    ledger.write = write  # type: ignore[method-assign]
    assert texts(store) == [("public.a/2", "above"), ("public.b/1", "other")]
    assert store.positions(["public.a/1"]) == {}
    other.close()


def test_a_range_over_several_values_is_looked_at_again(store: MilvusStore) -> None:
    apply(store, *(plan(f"d{at}", "1", f"t{at}", metadata={"n": [0, at, 100]}) for at in range(60)))
    asked = parse({"n": {"gt": 20, "lt": 25}}, ["n"])
    assert not expression_of(asked).is_exact and expression_of(parse({"n": {"gt": 20}}, ["n"])).is_exact
    # more pass Milvus than are asked for at once: all are compared
    assert {hit.document_id for hit in store.search(vector_of("q"), 4, asked)} == {f"d{at}" for at in range(21, 25)}
    other = parse({"not": {"n": {"gt": 20, "lt": 25}}}, ["n"])
    assert len(store.search(vector_of("q"), 60, other)) == 56
    assert {hit.document_id for hit in store.match("t22 t30", 5, asked)} == {"d22"}


@pytest.fixture(params=[grpc.StatusCode.UNAUTHENTICATED])
def refusing(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that answers each call with a code."""

    class Refusing(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            def refuse(_: Any, context: Any) -> Any:
                context.abort(request.param, "auth check failure, the token has expired")

            return grpc.unary_unary_rpc_method_handler(refuse)

    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[Refusing()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop(0)


def test_a_token_that_is_refused_is_named_and_not_shown(refusing: str) -> None:
    store = MilvusStore(Milvus(uri=refusing, collection="chunks", token="root:hush"), 4, "m", 60.0)
    with pytest.raises(
        ConfigError, match=r"store.milvus.token: Milvus at 127.0.0.1:\d+ refuses it .*expired"
    ) as raised:
        store.prepare()
    assert "hush" not in str(raised.value)
    with pytest.raises(ConfigError, match=r"store.milvus.token isn't set, and Milvus at .* lets nobody in .*: set it"):
        MilvusStore(Milvus(uri=refusing, collection="chunks"), 4, "m", 60.0).look()


@pytest.mark.parametrize("refusing", [grpc.StatusCode.PERMISSION_DENIED], indirect=True)
def test_a_user_who_may_not_is_told_from_one_who_is_not_known(refusing: str) -> None:
    store = MilvusStore(Milvus(uri=refusing, collection="chunks", token="root:hush"), 4, "m", 60.0)
    with pytest.raises(ConfigError, match=r"store.milvus.token: .* doesn't let its user do that .*: grant what is"):
        store.prepare()
