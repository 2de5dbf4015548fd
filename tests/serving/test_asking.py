"""`freshet serve`, as a process of its own, on real stores: what it answers, what it refuses, and who sees what."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import jsonschema
import psycopg
import pytest
import yaml

from connectors.opening.stores import open_stores, stores_of
from operations.pipeline_file import load
from serving.asking import application
from serving.keys import add
from serving.offer import opened
from serving.problems import as_problem
from serving.server import served
from serving.settings import read
from stack.local import Stack
from tests.cli.test_profile import HISTORY, fill
from tests.connectors.proxy import Proxy, proxy
from tests.connectors.servers import Server, new_schema
from tests.flink_jobs.people import PROFILES, TEXT, RowEvent, change_of, customer
from tests.search_server import LANGUAGES, TENANTS, Serving, documents, serving, written
from udfs.embedding.embedder import embedder


@dataclass(frozen=True)
class There:
    """A folder with the files of a server, and the way from it to OpenSearch."""

    folder: Path
    tickets: Proxy


@pytest.fixture(scope="module")
def there(stack: Stack, opensearch_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[There]:
    """All that is served, in its stores."""
    folder = tmp_path_factory.mktemp("serve")
    dsn = new_schema(stack.postgres.dsn)
    columns = ["tenant", "lang", "number"]
    pgvector = {"pgvector": {"dsn": dsn, "table": "manuals"}}
    people = {"profiles": PROFILES, "embedding": {"model": "hash", "text": TEXT}}
    of_people = {"postgres": {"dsn": new_schema(stack.postgres.dsn)}, "pgvector": {"dsn": dsn, "table": "people"}}
    profiles = {**documents(of_people, columns, **people), "name": "people"}
    del profiles["documents"]
    with proxy(f"http://{opensearch_server.address}") as way:
        opensearch = {"opensearch": {"hosts": [way.url], "index": f"tickets-{os.getpid()}"}}
        texts = {"manuals": documents(pgvector, columns), "tickets": documents(opensearch, columns), "people": profiles}
        for name, text in texts.items():
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")
        written(folder / "manuals.yaml")
        written(folder / "tickets.yaml")
        erased = RowEvent("customers", 9, customer(9, "per@x.no", "Per"), 6), RowEvent("customers", 9, None, 7)
        rules = load(folder / "people.yaml")
        fill(rules, [change_of(each, rules) for each in (*HISTORY, *erased)])
        served = {
            "name": "helpdesk",
            "indexes": {name: {"pipeline": f"{name}.yaml", "connections": 3} for name in ("manuals", "tickets")},
            "profiles": {"pipeline": "people.yaml", "connections": 2},
        }
        (folder / "open.yaml").write_text(yaml.safe_dump(served), encoding="utf-8")
        (folder / "serve.yaml").write_text(yaml.safe_dump({**served, "keys": "keys.yaml"}), encoding="utf-8")
        yield There(folder, way)


@pytest.fixture(scope="module")
def server(there: There) -> Iterator[Serving]:
    both = {"indexes": ["manuals", "tickets"], "filter": "{}"}
    acme = json.dumps({"tenant": "acme"})
    given = {
        "all": {**both, "profiles": True, "metrics": True},
        "acme": {**both, "filter": acme},
        "manuals": {**both, "indexes": ["manuals"]},
        "bergen": {"indexes": [], "profiles": True, "filter": '{"city": "Bergen"}'},
        "slow": {**both, "per_minute": 3},
    }
    keys = {name: add(there.folder / "keys.yaml", name, settings) for name, settings in given.items()}
    with serving(there.folder, there.folder / "serve.yaml", keys) as running:
        yield running


@pytest.fixture(scope="module")
def description(server: Serving) -> dict[str, Any]:
    described: dict[str, Any] = server.ask("GET", "/openapi.json", "").json()
    return described


def held(described: dict[str, Any], method: str, path: str, answer: httpx.Response) -> httpx.Response:
    """An answer that is as `/openapi.json` says."""
    answers = described["paths"][path][method]["responses"]
    there = answers.get(str(answer.status_code), answers["default"])["content"]
    kind = answer.headers["Content-Type"]
    assert kind in there, (answer.status_code, kind)
    schema = {**there[kind]["schema"], "components": described["components"]}
    jsonschema.Draft202012Validator(schema).validate(answer.json())
    return answer


def test_the_first_answer_is_quick_and_equals_the_stores_own(server: Serving, there: There) -> None:
    began = time.monotonic()
    answer = server.search(query="parcel 3", k=7)
    assert answer.status_code == 200 and time.monotonic() - began < 1
    pipeline, model = load(there.folder / "manuals.yaml"), embedder("hash")
    (store,) = open_stores(stores_of(pipeline), model.dimension).values()
    bare = store.search(model.embed(["parcel 3"])[0], 7)
    store.close()
    hits = answer.json()["hits"]
    assert [(hit["document_id"], hit["ordinal"], hit["text"]) for hit in hits] == [
        (each.document_id, each.ordinal, each.text) for each in bare
    ]
    assert [hit["cosine"] for hit in hits] == [hit["score"] for hit in hits] == [float(each.score) for each in bare]
    assert hits[0]["metadata"].keys() == {"tenant", "lang", "number"}


@pytest.mark.parametrize("index", ["manuals", "tickets"])
def test_a_search_by_vector_filter_and_least_cosine(server: Serving, description: dict[str, Any], index: str) -> None:
    vector = embedder("hash").embed(["parcel 3"])[0].tolist()
    path = "/v1/indexes/{index}/search"
    whole = {"query": "parcel 3", "k": 10, "filter": {}, "mode": "vector", "min_score": -1}
    schema = {"$ref": "#/components/schemas/Search", "components": description["components"]}
    jsonschema.Draft202012Validator(schema).validate(whole)
    by_query = held(description, "post", path, server.search(index, **whole)).json()
    by_vector = held(description, "post", path, server.search(index, vector=[3 * each for each in vector])).json()
    assert len(by_query["hits"]) == 10
    assert [hit["document_id"] for hit in by_vector["hits"]] == [hit["document_id"] for hit in by_query["hits"]]
    among = {"and": [{"lang": "de"}, {"number": {"gte": 10, "lt": 20}}]}
    found = server.search(index, query="parcel", k=100, filter=among).json()["hits"]
    assert {hit["metadata"]["number"] for hit in found} == {11, 13, 15, 17, 19}
    least = by_query["hits"][4]["cosine"]
    few = server.search(index, query="parcel 3", min_score=least).json()["hits"]
    assert few == [hit for hit in by_query["hits"] if hit["cosine"] >= least] and len(few) >= 5
    assert server.search(index, query="parcel", min_score=1).json()["hits"] == []


@pytest.mark.parametrize("index", ["manuals", "tickets"])
def test_a_search_by_words_and_by_both(server: Serving, description: dict[str, Any], index: str) -> None:
    path = "/v1/indexes/{index}/search"
    asked = {"query": "Article 17", "filter": {"tenant": TENANTS[2]}, "k": 5}
    by_words = held(description, "post", path, server.search(index, mode="text", **asked)).json()
    assert by_words["mode"] == "text" and by_words["hits"][0]["document_id"] == "public.articles/17"
    assert {hit["cosine"] for hit in by_words["hits"]} == {None}
    with_cosines = server.search(index, mode="text", min_score=0.01, **asked).json()["hits"]
    assert with_cosines and all(hit["cosine"] >= 0.01 and hit["score"] != hit["cosine"] for hit in with_cosines)
    by_both = held(description, "post", path, server.search(index, mode="hybrid", **asked)).json()
    scores = [hit["score"] for hit in by_both["hits"]]
    assert scores == sorted(scores, reverse=True) and max(scores) <= 2 / 61
    assert all(-1 <= hit["cosine"] <= 1 and hit["metadata"]["tenant"] == TENANTS[2] for hit in by_both["hits"])
    assert by_both["hits"][0]["document_id"] == "public.articles/17"
    # how rare a word is in all chunks isn't said to whoever sees a part
    asked = {"query": "Article 18", "mode": "text", "k": 5}
    whole, part = (
        server.search(index, key, filter={"tenant": "acme"}, **asked).json()["hits"] for key in ("all", "acme")
    )
    assert [hit["document_id"] for hit in part] == [hit["document_id"] for hit in whole] != []
    assert [hit["score"] for hit in part] == [1 / rank for rank in range(61, 66)]


@pytest.mark.parametrize("index", ["manuals", "tickets"])
def test_a_document_and_the_neighbours_of_a_chunk(server: Serving, description: dict[str, Any], index: str) -> None:
    path = "/v1/indexes/{index}/documents/{id}"
    whole = held(description, "get", path, server.ask("GET", f"/v1/indexes/{index}/documents/public.articles/5")).json()
    ordinals = [each["ordinal"] for each in whole["chunks"]]
    assert whole["position"] == "7" and ordinals == list(range(len(ordinals))) and len(ordinals) > 4
    assert "".join(each["text"] for each in whole["chunks"]).startswith("Article 5 of shipping.")
    near = server.ask("GET", f"/v1/indexes/{index}/documents/public.articles%2F5?around=2&neighbours=1").json()
    assert near["chunks"] == whole["chunks"][1:4]
    first = server.ask("GET", f"/v1/indexes/{index}/documents/public.articles/5?around=0").json()
    assert first["chunks"] == whole["chunks"][:2]
    odd = server.ask("GET", f"/v1/indexes/{index}/documents/public.articles/a%252Fb/%C3%BC%3F%23").json()
    assert odd["document_id"] == "public.articles/a%2Fb/ü?#"


def test_profiles_by_identifier_and_id_and_what_made_them(server: Serving, description: dict[str, Any]) -> None:
    of, by = "/v1/profiles/{type}/{value}", "/v1/profiles/{id}"
    kari = held(description, "get", of, server.ask("GET", "/v1/profiles/email/%20KARI@X.no")).json()
    assert kari["values"] == {"name": "Kari", "city": "Bergen", "language": "no"}
    assert kari["identifiers"][0] == {"type": "customer_id", "value": "1"} and "made_of" not in kari
    assert kari["records"] == {"public.customers": 1, "public.visits": 2}
    same = held(description, "get", by, server.ask("GET", f"/v1/profiles/{kari['profile_id']}?explain=true")).json()
    made_of = same.pop("made_of")
    assert same == kari and {each["record"] for each in made_of["records"]} == {
        "public.customers/1", "public.visits/1", "public.visits/2",
    }  # fmt: skip
    (merged,) = (each for each in made_of["history"] if each["kind"] == "merged")
    for earlier in {merged["profile_id"], *merged["others"]} - {kari["profile_id"]}:
        moved = held(description, "get", by, server.ask("GET", f"/v1/profiles/{earlier}?explain=false"))
        assert moved.status_code == 307
        assert moved.headers["Location"] == f"/v1/profiles/{kari['profile_id']}?explain=false"
    by_row = held(description, "get", of, server.ask("GET", "/v1/profiles/record/public.visits/2"))
    assert by_row.json() == kari
    assert server.ask("GET", "/v1/profiles/record/public.visits/2", "bergen").status_code == 200
    assert server.ask("GET", "/v1/profiles/record/public.customers/2", "bergen").status_code == 404
    for path in ("/v1/profiles/record/public.customers/9", "/v1/profiles/record/", "/v1/profiles/email/per@x.no"):
        assert server.ask("GET", path).status_code == 404
    for path in ("/v1/profiles/email/nobody@x.no", "/v1/profiles/0123", "/v1/profiles/shoe/44", "/v1/profiles/email/"):
        assert server.ask("GET", path).status_code == 404


def test_an_erased_profile_is_gone_to_whoever_may_see_all(
    server: Serving, there: There, description: dict[str, Any]
) -> None:
    dsn = load(there.folder / "people.yaml").store.targets["postgres"].dsn  # type: ignore[attr-defined]
    with psycopg.connect(dsn) as connection:
        ((erased,),) = connection.execute("SELECT profile_id FROM people_aliases WHERE into_id IS NULL").fetchall()
    gone = held(description, "get", "/v1/profiles/{id}", server.ask("GET", f"/v1/profiles/{erased}"))
    assert (gone.status_code, gone.json()["field"]) == (410, "id")
    # nobody knows whether they would have seen it
    assert server.ask("GET", f"/v1/profiles/{erased}", "bergen").status_code == 404


LARGE = "x" * 1_000_000
DEEP = '{"not":' * 1000 + "{}" + "}" * 1000
BAD: dict[str, tuple[str | bytes, int, str]] = {
    "a query of 1 MB": (json.dumps({"query": LARGE}), 422, "query"),
    "a NUL": ('{"query": "a\\u0000b"}', 422, "query"),
    "half a surrogate": ('{"query": "a\\ud800b"}', 422, "query"),
    "half a surrogate in a filter": ('{"query": "a", "filter": {"lang": "\\udc00"}}', 422, "filter"),
    "k of -1": ('{"query": "a", "k": -1}', 422, "k"),
    "k of ten millions": ('{"query": "a", "k": 10000000}', 422, "k"),
    "k of a hundred digits": ('{"query": "a", "k": 1' + "0" * 100 + "}", 422, "k"),
    "k as a text": ('{"query": "a", "k": "5"}', 422, "k"),
    "another dimension": ('{"vector": [1, 2, 3]}', 422, "vector"),
    "NaN": ('{"vector": [NaN]}', 422, "vector"),
    "infinity": ('{"vector": [1e999]}', 422, "vector[0]"),
    "no direction": (json.dumps({"vector": [0] * 384}), 422, "vector"),
    "neither": ("{}", 422, "query"),
    "both": ('{"query": "a", "vector": [1]}', 422, "query"),
    "an empty query": ('{"query": ""}', 422, "query"),
    "no such field": ('{"query": "a", "top_k": 5}', 422, "top_k"),
    "no such field, of 1 MB": (json.dumps({"query": "a", LARGE: 5}), 422, LARGE[:500]),
    "no such mode": ('{"query": "a", "mode": "guess"}', 422, "mode"),
    "a vector by text": ('{"vector": [1], "mode": "text"}', 422, "mode"),
    "a cosine of 2": ('{"query": "a", "min_score": 2}', 422, "min_score"),
    "a filter 1,000 deep": ('{"query": "a", "filter": ' + DEEP + "}", 422, "filter"),
    "a filter of another column": ('{"query": "a", "filter": {"langg": "en"}}', 422, "filter.langg"),
    "a filter that is none": ('{"query": "a", "filter": 5}', 422, "filter"),
    "no JSON": ("query=a", 400, ""),
    "no UTF-8": (b'{"query": "\xff"}', 400, ""),
    "a filter in no UTF-8": (b'{"query": "a", "filter": {"l\xffng": 1}}', 422, "filter"),
    "nothing": ("", 400, ""),
    "a list": ("[1]", 422, ""),
    "5 MB": (" " * 5_000_000, 413, ""),
}


DESCRIBED = {
    "a query of 1 MB", "k of -1", "k of ten millions", "k as a text", "an empty query", "no such field", "no such mode",
    "a cosine of 2", "a filter that is none", "a list",
}  # fmt: skip
"""What `/openapi.json` says of a search that is wrong in these."""


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_a_problem_that_names_the_field(server: Serving, description: dict[str, Any], what: str) -> None:
    body, status, field = BAD[what]
    answer = server.ask("POST", "/v1/indexes/manuals/search", content=body)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), answer.text
    problem = held(description, "post", "/v1/indexes/{index}/search", answer).json()
    if what in DESCRIBED:
        schema = {"$ref": "#/components/schemas/Search", "components": description["components"]}
        assert not jsonschema.Draft202012Validator(schema).is_valid(json.loads(body))
    assert problem.get("field", "") == field and problem["status"] == status and len(problem["detail"]) <= 500
    assert server.search(query="parcel").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "field"),
    [
        ("GET", "/v1/indexes/manuals/documents/a%00b", 422, "id"),
        ("GET", "/v1/indexes/manuals/documents/none", 404, "id"),
        ("GET", "/v1/indexes/manuals/documents/public.articles/5?around=x", 422, "around"),
        ("GET", "/v1/indexes/manuals/documents/public.articles/5?around=-1", 422, "around"),
        ("GET", "/v1/indexes/manuals/documents/public.articles/5?around=99", 404, "around"),
        ("GET", "/v1/indexes/manuals/documents/public.articles/5?neighbours=3", 422, "around"),
        ("GET", "/v1/indexes/manuals/documents/public.articles/5?around=1&neighbours=99999", 422, "neighbours"),
        ("GET", "/v1/indexes/none/documents/a", 404, "index"),
        ("GET", "/v1/profiles/email/a?explain=maybe", 422, "explain"),
        ("GET", "/v1/profiles/a%00", 422, "id"),
        ("GET", "/v1/profiles/email/a%00", 422, "value"),
        ("GET", "/v1/indexes/manuals/search", 405, ""),
        ("GET", "/v2", 404, ""),
    ],
)
def test_bad_paths_are_problems_too(server: Serving, method: str, path: str, status: int, field: str) -> None:
    answer = server.ask(method, path)
    assert (answer.status_code, answer.json().get("field", "")) == (status, field), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_store_that_is_away_is_said_and_others_answer(server: Serving, there: There) -> None:
    there.tickets.cut_at = 0
    try:
        away = server.search("tickets", query="parcel")
        assert away.status_code == 503 and away.headers["Retry-After"] == "1"
        assert away.json()["detail"] == "the store of index tickets doesn't answer: ask again"
        assert server.ask("GET", "/v1/indexes/tickets/documents/a").status_code == 503
        assert server.search("manuals", query="parcel").status_code == 200
        assert server.ask("GET", "/ready", "").status_code == 503
        assert server.ask("GET", "/health", "").json() == {"status": "alive"}
    finally:
        there.tickets.cut_at = None
    assert server.search("tickets", query="parcel").status_code == 200
    assert server.ask("GET", "/ready", "").json() == {"status": "ready"}


def test_a_store_that_hangs_is_given_up_and_others_answer(there: There) -> None:
    dsn = yaml.safe_load((there.folder / "manuals.yaml").read_text(encoding="utf-8"))["store"]["pgvector"]["dsn"]
    with (
        opened(read(there.folder / "open.yaml")) as offer,
        served(application(offer, Event(), answer_s=2.0), refusal=as_problem) as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        # one thread calls a model
        assert offer.indexes["manuals"].questions is offer.indexes["tickets"].questions
        with psycopg.connect(dsn) as holder:
            holder.execute("LOCK TABLE manuals IN ACCESS EXCLUSIVE MODE")
            late = [client.post("/v1/indexes/manuals/search", json={"query": "parcel"}) for _ in range(4)]
            assert {each.status_code for each in late} == {504}
            assert late[0].json()["detail"] == "there was no answer after 2 s: ask for less, or again"
            assert client.post("/v1/indexes/tickets/search", json={"query": "parcel"}).status_code == 200
            assert client.get("/ready").status_code in (503, 504)
        assert client.post("/v1/indexes/manuals/search", json={"query": "parcel"}).status_code == 200


def test_an_index_that_keeps_no_words_is_searched_by_vectors(there: There) -> None:
    settings = yaml.safe_load((there.folder / "manuals.yaml").read_text(encoding="utf-8"))
    settings["store"]["pgvector"]["text_search_config"] = "none"
    for name, text in (
        ("wordless", settings),
        ("small", {"name": "small", "indexes": {"manuals": {"pipeline": "wordless.yaml"}}}),
    ):
        (there.folder / f"{name}.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")
    with (
        opened(read(there.folder / "small.yaml")) as offer,
        served(application(offer, Event()), refusal=as_problem) as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        ask = partial(client.post, "/v1/indexes/manuals/search")
        assert ask(json={"query": "parcel"}).json()["hits"] != []
        for mode in ("text", "hybrid"):
            refused = ask(json={"query": "parcel", "mode": mode})
            why = f"mode is {mode}, and this index keeps no words: search by vector"
            assert (refused.status_code, refused.json()["detail"]) == (422, why)


def test_who_has_no_key_is_let_in_nowhere(server: Serving) -> None:
    for headers in ({}, {"Authorization": "Bearer fsk_x"}, {"Authorization": f"Basic {server.keys['all']}"}):
        for method, path in (("POST", "/v1/indexes/manuals/search"), ("GET", "/metrics"), ("GET", "/v1/profiles/a")):
            answer = server.ask(method, path, "", headers=headers)
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_a_key_opens_what_it_is_for(server: Serving) -> None:
    assert server.search("tickets", "manuals", query="a").status_code == 404
    assert server.search("manuals", "bergen", query="a").status_code == 404
    assert server.ask("GET", "/v1/profiles/email/kari@x.no", "acme").status_code == 404
    assert server.ask("GET", "/metrics", "acme").status_code == 403
    assert server.ask("GET", "/v1/profiles/customer_id/2", "all").json()["values"]["city"] == "Oslo"
    ola = server.ask("GET", "/v1/profiles/customer_id/2", "bergen")
    nobody = server.ask("GET", "/v1/profiles/customer_id/3", "bergen")
    assert (ola.status_code, ola.text) == (404, nobody.text.replace("'3'", "'2'"))
    kari = server.ask("GET", "/v1/profiles/customer_id/1?explain=true", "bergen").json()
    assert kari["values"]["city"] == "Bergen" and kari["made_of"]["history"] == []


def test_a_key_that_asks_too_often_waits(server: Serving) -> None:
    answers = [server.search(key="slow", query="a") for _ in range(4)]
    assert [each.status_code for each in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[3].headers["Retry-After"]) <= 20
    assert server.search(query="a").status_code == 200


def value(chance: random.Random) -> Any:
    return chance.choice([*TENANTS, *LANGUAGES, None, 3, 7.5, True, "", "%", "' OR 1=1 --", 10**30, "\\", "acme\u200b"])


def condition(chance: random.Random, depth: int) -> dict[str, Any]:
    kind = chance.randrange(7 if depth else 4)
    column = chance.choice(["tenant", "tenant", "lang", "number", "tenant.x"])
    if kind == 0:
        return {column: value(chance)}
    if kind == 1:
        return {column: {"in": [value(chance) for _ in range(chance.randrange(4))]}}
    if kind == 2:
        return {column: {"exists": chance.random() < 0.5}}
    if kind == 3:
        return {column: {chance.choice(["gt", "gte", "lt", "lte"]): chance.choice(["a", "z", -1, 100])}}
    parts = [condition(chance, depth - 1) for _ in range(chance.randrange(4))]
    return {"and": parts} if kind == 4 else {"or": parts} if kind == 5 else {"not": condition(chance, depth - 1)}


def test_no_request_widens_a_key(server: Serving) -> None:
    """300 requests by chance, over both stores: not one foreign chunk; and all of its own are found."""
    own = {f"public.articles/{number}" for number in range(60) if number % 3 == 0} | {"public.articles/a%2Fb/ü?#"}

    def asked(seed: int) -> tuple[str, int, set[str]]:
        chance = random.Random(seed)
        index = chance.choice(["manuals", "tickets"])
        if seed % 3 == 0:
            name = f"public.articles/{chance.randrange(60)}"
            query = chance.choice(["", "?around=0", "?filter=%7B%7D&key=all", "?around=1&neighbours=9"])
            answer = server.ask("GET", f"/v1/indexes/{index}/documents/{name}{query}", "acme")
            assert answer.status_code == (200 if name in own else 404), name
            return "document", answer.status_code, {name} if answer.status_code == 200 else set()
        mode = chance.choice(["vector", "vector", "hybrid", "text"])
        body = {"query": "parcel", "k": chance.choice([1, 10, 1000]), "mode": mode, "filter": condition(chance, 3)}
        answer = server.search(index, "acme", **body)
        hits = answer.json().get("hits", [])
        assert all(hit["metadata"]["tenant"] == "acme" for hit in hits), body
        return "search", answer.status_code, {hit["document_id"] for hit in hits}

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(asked, range(300)))
    assert all(seen <= own for _, _, seen in answers)
    assert {status for _, status, _ in answers} <= {200, 404, 422}
    found = [seen for kind, status, seen in answers if kind == "search" and status == 200]
    assert len(found) > 100 and set().union(*found) == own


def test_figures_tell_each_step(server: Serving) -> None:
    server.search(query="figures")
    text = server.ask("GET", "/metrics").text
    for step in ("embed", "store", "whole"):
        (count,) = re.findall(rf'freshet_serve_query_seconds_count{{index="manuals",step="{step}"}} (\S+)', text)
        assert float(count) > 0
    assert 'freshet_serve_requests_total{route="/v1/indexes/{index}/search",status="422"}' in text


def test_nothing_in_the_log_is_a_traceback_or_a_secret(server: Serving) -> None:
    log = server.log.read_text(encoding="utf-8")
    assert "Traceback" not in log and not any(key in log for key in server.keys.values())


def test_without_keys_this_machine_alone_asks_and_it_ends_in_order(there: There, tmp_path: Path) -> None:
    with serving(tmp_path, there.folder / "open.yaml", {}) as running:
        assert running.search(query="parcel").status_code == 200
        elsewhere = running.ask("GET", "/health", headers={"Host": "evil.example"})
        assert (elsewhere.status_code, elsewhere.headers["Content-Type"]) == (421, "application/problem+json")
        page = running.ask("GET", "/health", headers={"Origin": "http://evil.example"})
        assert page.status_code == 403
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0
    assert running.log.read_text(encoding="utf-8") == ""
