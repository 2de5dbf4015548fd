"""Whatever comes, each feed's decoder answers with changes, a truncate, a skip or its own error."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.fuzz_decoders import Feed, feed_decoder, feed_events, fuzz, mutated, outcome_by
from core.change import Event
from core.decoding import guarded
from core.errors import DecodeError
from core.formats import rows, s3
from tests.laws import examples

FEEDS: tuple[Feed, ...] = ("dynamodb", "dms", "rows", "s3")
REAL = {feed: feed_events(feed) for feed in FEEDS}

feeds = st.sampled_from(FEEDS)
chances = st.randoms(use_true_random=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(feeds, chances, st.binary() | st.none(), st.binary() | st.none(), st.dictionaries(st.text(), st.binary()))
def test_bytes(
    feed: Feed, chance: random.Random, key: bytes | None, value: bytes | None, headers: dict[str, bytes]
) -> None:
    outcome_by(Event("t", 0, 0, key, value, headers), feed_decoder(feed, chance))


@given(feeds, chances, json_values, json_values)
def test_json(feed: Feed, chance: random.Random, key: Any, value: Any) -> None:
    outcome_by(Event("t", 0, 0, json.dumps(key).encode(), json.dumps(value).encode()), feed_decoder(feed, chance))


@settings(max_examples=examples(500), deadline=None)
@given(feeds, st.integers(0, 10**6), chances)
def test_mutated_events(feed: Feed, number: int, chance: random.Random) -> None:
    line = REAL[feed][number % len(REAL[feed])]
    outcome_by(mutated(line, chance, wraps=False), feed_decoder(feed, chance))


REACHED = {
    "dynamodb": {"upsert", "delete", "decode error"},
    "dms": {"upsert", "delete", "truncate", "delete + upsert", "skip: schema-change", "decode error"},
    "rows": {"upsert", "delete", "decode error"},
    "s3": {"there", "gone", "decode error"},
}


@pytest.mark.parametrize("feed", FEEDS)
def test_the_fuzz_reaches_every_outcome(feed: Feed) -> None:
    counts = Counter(fuzz(3_000, 3, feed))
    assert counts.total() == 3_000
    assert counts.keys() >= REACHED[feed]
    assert counts["upsert"] + counts["there"] > 200 and counts["decode error"] > 200


DEEP = b"[" * 5000 + b"]" * 5000
HOSTILE = [
    DEEP,
    b'{"dynamodb":' + DEEP + b"}",
    b"[" * 100_000,
    b'{"a":' * 900 + b"1" + b"}" * 900,
    b'"\xff"',
    b"9" * 5000,
]
HOSTILE += [b'{"metadata":{"record-type":"data","operation":"load"},"data":{"a":' + b"[" * 99 + b"]" * 99 + b"}}"]
HOSTILE += [b'{"v":1,"a":' + b"[" * 99 + b"]" * 99 + b"}", b'"\\ud800"', b'{"a":1e999}', b"", b"null", b"NaN"]


@pytest.mark.parametrize("raw", HOSTILE)
@pytest.mark.parametrize("feed", FEEDS)
def test_hostile_bytes(feed: Feed, raw: bytes) -> None:
    for key in (None, raw):
        outcome_by(Event("t", 0, 0, key, raw), feed_decoder(feed, random.Random(0)))


def test_a_schema_that_is_no_json_is_refused() -> None:
    wrapped = b'{"schema":{"type":"struct","fields":[{"type":1e999999,"field":"id"}]},"payload":{"id":1}}'
    for key, value in ((wrapped, b'{"id":1}'), (None, wrapped)):
        with pytest.raises(DecodeError, match="schema is not JSON"):
            rows.decode(Event("t", 0, 0, key, value), rows.RowsFormat(table="t", keys={"t": ("id",)}))


def test_a_size_that_no_object_has_is_refused() -> None:
    for size in (2**64, -1):
        with pytest.raises(DecodeError, match="size"):
            s3.decode(Event("t", 0, 0, None, s3.notification("bucket", "a.txt", size)))


def test_a_decoders_own_fault_costs_one_event() -> None:
    def broken(event: Event) -> str:
        if event.value is None:
            raise DecodeError("no value")
        raise OverflowError("int too large")

    with pytest.raises(DecodeError, match="failed with OverflowError: 'int too large'; this is a fault of Freshet's"):
        guarded(broken)(Event("t", 0, 0, None, b"x"))
    with pytest.raises(DecodeError, match=r"^no value$"):
        guarded(broken)(Event("t", 0, 0, None, None))
