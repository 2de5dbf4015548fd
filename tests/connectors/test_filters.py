"""Every store finds by a filter what the evaluator says, on its real server, whatever the values are."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from connectors.opensearch.store import OpenSearchStore
from core.config.file import load
from core.config.store import OpenSearch
from core.errors import FilterError
from core.plans import Plan
from core.stores.contract import VectorStore
from core.stores.filters.evaluation import passes
from core.stores.filters.language import Filter, parse
from core.stores.fingerprint import Fingerprint, Owner
from core.stores.owning import UNFOUND, Found, obstacles
from flink_jobs.running.owning import found_in, made_by
from operations.owning import unfound
from tests.connectors.servers import Server
from tests.connectors.test_store_contract import APPLIED, apply, plan, vector_of, vectors_of
from tests.operations.test_search import PIPELINE

# fmt: off
TEXTS = [
    "en", "de", "", " ", "a", "a ", "A", "ab", "é", "e\u0301", "ä", "z", "文字", "\U0001f600", "\uffff", "\u202ex",
    "\x01", "\x7f", "'; DROP TABLE chunks; --", '"quoted"\\back', "%s %(name)s {}", "a=b", "lang=en", "%25", "true",
    "null", "[]", "#", "4.9", "4.90", "10", "9", "-1", "1e3", "99999999999999999999999999999.9",
    "x" * 700, "x" * 700 + "y", "x" * 9_000, "x" * 500, "é" * 250,
]
NUMBERS = [
    0, -0.0, 1, -1, 9, 10, -10, -9, 4.9, 4.90001, 0.1, 1.5, -1.5, -1.25, 100, 0.001, 1e22, 1e300, -1e300, 5e-324,
    2**53, 2**53 + 1, 2**63, 10**40, -(10**40), 1000,
]
DIGITS = [
    "99999999999999999999999999999.9", "99999999999999999999999999999.90", "99999999999999999999999999999.8",
    "-99999999999999999999999999999.9", "0.000000000000000000000000000001", "0.00", "4.90", "NaN", "-0", "10.000",
    "7", "9" * 500, "9" * 499 + "8", "-" + "9" * 500, "9" * 900,
]
TIMES = [
    "2026-03-01T10:00:00Z", "2026-03-01T11:00:00+01:00", "2026-03-01 10:00:00.000000001+00",
    "2026-03-01T09:59:59.999999999Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00", "1969-12-31T23:59:59.5Z",
    "2024-02-29T00:00:00Z", "2026-02-29T00:00:00Z", "2026-02-30T00:00:00Z", "0000-01-01T00:00:00Z",
    "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z", "2026-03-01T24:00:00Z",
    "2026-03-01T10:00:60Z", "2026-03-01T10:00:00", "2026-03-01", "infinity", "2026-03-01T10:00:00Z\n",
    "\uff12026-03-01T10:00:00Z", "2026-03-01t10:00:00-00:30", "2026-03-01T10:00:00+0530",
]
COLUMNS = (
    "lang", "price", "exact", "at", "size", "tags", "size.width", "a=b", "%n", "%nlang", "", "not", "文字", "'; --",
    '"', "\\", "*",
)
# fmt: on
SCALARS = [*TEXTS, *NUMBERS, *TIMES, True, False, None]
INNER = ("width", "a.b", "", "$", '"', "\\", "文字", "%", "x" * 2_000, "*")


def value_of(order: random.Random, deep: int = 0) -> Any:
    """Any JSON."""
    kind = order.random()
    if deep < 3 and kind < 0.15:
        return [value_of(order, deep + 1) for _ in range(order.randrange(4))]
    if deep < 3 and kind < 0.35:
        return {name: value_of(order, deep + 1) for name in order.sample(INNER, order.randrange(4))}
    return order.choice(SCALARS)


def metadata_of(order: random.Random) -> dict[str, Any]:
    found = {name: value_of(order) for name in COLUMNS if order.random() < 0.7}
    found["size"] = {"width": order.choice(SCALARS), "a.b": value_of(order, 1), "": order.choice(SCALARS)}
    exact = order.sample(DIGITS, 2) if order.random() < 0.2 else order.choice(DIGITS)
    return found | {"exact": exact, "at": order.choice(TIMES)}


def documents(order: random.Random) -> list[Plan]:
    return [plan(f"d{at:03}", "1", f"t{at}", metadata=metadata_of(order), numbers=("exact",)) for at in range(60)]


def name_of(order: random.Random) -> str:
    """A column, or a path into it, as a filter names it."""
    inner = [order.choice(INNER) for _ in range(order.choice([0, 0, 0, 1, 1, 2]))]
    names = [order.choice([*COLUMNS, "size", "exact", "at"]), *inner]
    written = ".".join(name.replace("\\", "\\\\").replace(".", "\\.") for name in names)
    return f"\\{written}" if written in ("and", "or", "not") else written


def operand(order: random.Random, pool: Sequence[Any], longest: int = 8_000) -> Any:
    return order.choice([each for each in pool if not isinstance(each, str) or len(each) < longest])


def condition(order: random.Random) -> dict[str, Any]:
    name = name_of(order)
    pool = TIMES if name == "at" else [Decimal(each) for each in DIGITS if len(each) < 502 and each != "NaN"]
    pool = pool if name in ("at", "exact") and order.random() < 0.8 else SCALARS
    kind = order.randrange(5)
    if kind == 0:
        return {name: {"exists": order.random() < 0.5}}
    if kind == 1:
        return {name: {"in": [operand(order, pool) for _ in range(order.randrange(5))]}}
    if kind == 2:
        return {name: operand(order, pool)}
    ordered = [each for each in pool if isinstance(each, str | Decimal | int | float) and not isinstance(each, bool)]
    lower = operand(order, ordered, 501)
    upper = operand(order, [each for each in ordered if isinstance(each, str) == isinstance(lower, str)], 501)
    bounds = {order.choice(["gt", "gte"]): lower, order.choice(["lt", "lte"]): upper}
    return {name: dict(order.sample(list(bounds.items()), order.choice([1, 1, 2])))}


def filter_of(order: random.Random, deep: int = 0) -> dict[str, Any]:
    kind = order.random()
    if deep > 2 or kind < 0.4:
        return condition(order)
    if kind < 0.55:
        return {"not": filter_of(order, deep + 1)}
    return {order.choice(["and", "or"]): [filter_of(order, deep + 1) for _ in range(order.randrange(4))]}


def filters(order: random.Random, count: int) -> Iterator[tuple[Any, Filter]]:
    while count:
        said = filter_of(order)
        try:
            asked = parse(said, COLUMNS)
        except FilterError:
            continue
        count -= 1
        yield said, asked


@pytest.fixture(scope="module")
def filled(server: Server) -> Iterator[tuple[VectorStore, Mapping[str, Plan]]]:
    """A store with hostile documents."""
    store, plans = server.place()(), documents(random.Random(1))
    store.prepare()
    outcomes = store.apply(plans, vectors_of(plans))
    assert {(each.status, each.reason) for each in outcomes} == {(APPLIED, "")}
    yield store, {each.document_id: each for each in plans}
    store.close()


def found(store: VectorStore, asked: Filter) -> set[str]:
    return {hit.document_id for hit in store.search(vector_of("q"), 200, asked)}


def test_stores_find_what_the_evaluator_says(filled: tuple[VectorStore, Mapping[str, Plan]]) -> None:
    store, plans = filled
    sizes = set()
    for said, asked in filters(random.Random(2), 200):
        expected = {name for name, each in plans.items() if passes(asked, each.metadata, each.numbers)}
        assert found(store, asked) == expected, said
        sizes.add(len(expected))
    assert len(sizes) > 25, "they tell documents apart"


def older(url: str, target: OpenSearch) -> None:
    """Have the index as an earlier release wrote it."""
    for hit in httpx.post(f"{url}/{target.index}/_search", json={"version": True}).json()["hits"]["hits"]:
        place = f"{url}/{target.index}/_doc/{hit['_id']}?routing={quote(hit['_routing'], '')}"
        as_before = hit["_source"] | {"filters": ["lang=en", "%nyear=2024"]}
        version = f"&refresh=true&version={hit['_version']}&version_type=external_gte"
        httpx.put(place + version, json=as_before).raise_for_status()
        entry = quote(f"d:{hit['_source']['document_id']}", "")
        encoded = json.dumps(hit["_source"]["metadata"], ensure_ascii=False).encode()
        changed = {"doc": {"digest": blake2b(encoded, digest_size=16).hexdigest()}}
        httpx.post(f"{url}/{target.index}-ledger/_update/{entry}", json=changed).raise_for_status()


def test_chunks_of_an_earlier_release_are_counted_and_found_once_they_are_written_again(
    target: OpenSearch, url: str
) -> None:
    store, metadata = OpenSearchStore(target, 4, "m"), {"lang": "en", "year": 2024}
    store.prepare()
    assert set(apply(store, plan("public.a/1", "1", "one", "two", metadata=metadata))) == {APPLIED}
    asked = [parse(said, metadata) for said in ({"lang": "en"}, {"not": {"lang": "de"}}, {"year": {"gt": 2000}})]
    assert store.unindexed() == 0 and all(len(store.search(vector_of("q"), 5, each)) == 2 for each in asked)
    older(url, target)
    # what nobody knows of a chunk lets it through no filter
    assert store.unindexed() == 2 and all(store.search(vector_of("q"), 5, each) == [] for each in asked)
    assert len(store.search(vector_of("q"), 5)) == 2
    again = plan("public.a/1", "1", "one", "two", metadata=metadata)
    assert store.held([again]) == set(again.chunk_ids), "nothing is embedded again"
    assert apply(store, plan("public.a/1", "1", "one", "two", new=[], metadata=metadata)) == [APPLIED]
    assert store.unindexed() == 0 and all(len(store.search(vector_of("q"), 5, each)) == 2 for each in asked)
    store.close()


def test_a_run_is_asked_once_what_becomes_of_an_earlier_releases_index(
    target: OpenSearch, url: str, tmp_path: Path
) -> None:
    file = tmp_path / "pipeline.yaml"
    store = f'store: {{opensearch: {{hosts: ["{url}"], index: {target.index}}}}}'
    file.write_text(re.sub("store: .*", store, PIPELINE), encoding="utf-8")
    pipeline = load(file)
    now = made_by(pipeline)

    def run(made: Fingerprint) -> tuple[Found, list[str]]:
        store = OpenSearchStore(target, 4, "hash", owner=Owner("rivers", made.terms + 1, made))
        store.prepare()
        assert apply(store, plan("public.rivers/1", "1", "one")) == [APPLIED]
        older(url, target)
        (found,) = found_in(pipeline, {"opensearch": store}, now)
        note = unfound(pipeline, "opensearch", store)
        assert "no filter finds 1 of its chunks" in note and "--rebuild` makes them findable" in note
        store.close()
        return found, [str(each) for each in obstacles([found], "rivers", now, None, False)]

    found, why = run(replace(now, terms=0))
    assert (found.unindexed, found.models) == (1, {"hash": 1})
    assert why == [f"store.opensearch: index {target.index}: {UNFOUND}"]
    assert run(now)[1] == [], "a run of this release has it already"
