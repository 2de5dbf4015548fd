"""A history sent by any feed, and cut into waves, ends in its own truth."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.change import Change, Event, Operation
from core.formats import dms, rows
from core.formats.dms import DmsFormat
from core.formats.dynamodb import decoding as dynamodb
from core.formats.rows import RowsFormat
from workloads import feeds
from workloads.articles import Article, followed, history
from workloads.feeds import FEEDS, FEEDS_WITHOUT_NULLS

ARTICLES = [("One", ("first", "second")), ("Zwei", ("größer", "東京"))]


@given(st.lists(st.integers(0, 6)), st.integers(1, 5))
def test_each_key_comes_once_a_wave_and_in_its_order(keys: list[int], most: int) -> None:
    pairs = list(enumerate(keys))
    waves = feeds.waves(((key, number) for number, key in pairs), most)
    assert all(0 < len(wave) <= most for wave in waves)
    for key in set(keys):
        assert [wave[key] for wave in waves if key in wave] == [number for number, each in pairs if each == key]


def test_a_history_of_one_key_is_as_many_waves_and_one_of_many_is_full_ones() -> None:
    assert feeds.waves([("a", 1), ("a", 2)], 10) == [{"a": 1}, {"a": 2}]
    assert [len(wave) for wave in feeds.waves(((number, 0) for number in range(25)), 10)] == [10, 10, 5]


KEYS = {"public.articles": ("id",)}
DECODERS = {
    "rows": (feeds.rows, lambda event: rows.decode(event, RowsFormat("public.articles", keys=KEYS))),
    "rows with operation": (
        feeds.rows_with_operation,
        lambda event: rows.decode(event, RowsFormat("public.articles", operation_field="op", keys=KEYS)),
    ),
    "dms": (feeds.dms, lambda event: dms.decode(event, DmsFormat(include_null_and_empty=True, keys=KEYS))),
    "dynamodb": (feeds.dynamodb, lambda event: dynamodb.decode(event)),
}


def test_each_feed_that_can_be_written_is_decoded_here() -> None:
    """Debezium's has tests of its own."""
    assert {*FEEDS.values(), *FEEDS_WITHOUT_NULLS.values()} - {feed for feed, _ in DECODERS.values()} == {
        feeds.debezium
    }


@pytest.mark.parametrize("name", DECODERS)
def test_what_a_feed_tells_decodes_to_the_rows_at_the_end(name: str) -> None:
    feed, decode = DECODERS[name]
    truth: dict[int, Article] = {}
    table: dict[int, str] = {}
    last: dict[int, str] = {}
    steps = followed(islice(history(ARTICLES, "made.public.articles", 3, lambda: 10**18), 500), truth)
    for offset, record in enumerate(feed("made.public.articles", steps)):
        for change in decode(Event(record.topic, 0, offset, record.key, record.value, {})):
            assert isinstance(change, Change)
            assert change.table == "public.articles"
            key = int(str(change.key["id"]))
            assert change.position > last.get(key, "")
            last[key] = change.position
            if change.operation is Operation.DELETE:
                del table[key]
            else:
                table[key] = str(change.row["body"])
    assert table == {key: article.body for key, article in truth.items()}
    assert len(table) > 50
