"""The filter language: what it reads, what it refuses, and the laws of what it means."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import FilterError
from core.stores.filters.evaluation import passes
from core.stores.filters.language import (
    EVERYTHING,
    LARGEST,
    LONGEST_BOUND,
    LONGEST_TEXT,
    MOST_CONDITIONS,
    MOST_DEEP,
    MOST_VALUES,
    And,
    Bound,
    Exists,
    Filter,
    In,
    Not,
    Or,
    Range,
    equals,
    parse,
    parse_text,
)
from core.stores.filters.values import Instant, instant_of

COLUMNS = ("lang", "price", "tags", "size", "at", "a.b", "not")
ROW = {
    "lang": "en",
    "price": 12.5,
    "tags": ["red", 3, None, ["deep"], {"name": "x", "none": None}],
    "size": {"width": 3, "a.b": True, "": [], "parts": [{"n": 1}, {"n": 30}, [{"n": 99}]]},
    "at": "2026-03-01T11:00:00+01:00",
    "a.b": None,
}


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('{"lang": "en"}', In(("lang",), ("en",))),
        ('{"lang": null}', In(("lang",), ())),
        ('{"lang": {"in": ["en", null, true]}}', In(("lang",), ("en", True))),
        ('{"price": {"gte": 10, "lt": 1e2}}', Range(("price",), ((Bound.GTE, Decimal(10)), (Bound.LT, Decimal(100))))),
        ('{"tags": {"exists": false}}', Not(Exists(("tags",)))),
        ('{"size.width": 3}', In(("size", "width"), (Decimal(3),))),
        ('{"a.b": 1, "size.a\\\\.b": true}', And((In(("a.b",), (Decimal(1),)), In(("size", "a.b"), (True,))))),
        ('{"\\\\not": ""}', In(("not",), ("",))),
        ('{"at": {"gt": "2026-03-01 10:00:00Z"}}', Range(("at",), ((Bound.GT, Instant(Decimal(1772359200))),))),
        ('{"not": {"or": []}}', Not(Or(()))),
        ('{"and": []}', EVERYTHING),
        ("{}", EVERYTHING),
        ('{"lang": {"lt": null}}', Or(())),
    ],
)
def test_what_is_read(text: str, read: Filter) -> None:
    assert parse_text(text, COLUMNS) == read


@pytest.mark.parametrize(
    ("said", "place", "problem"),
    [
        ('{"langs": 1}', "filter.langs", "'langs' is no column of the pipeline's metadata; did you mean lang?"),
        ('{"zzz.x": 1}', "filter.zzz.x", "'zzz' is no column of the pipeline's metadata; there are a.b, at, lang"),
        ('{"price": {"gtt": 1}}', "filter.price.gtt", "'gtt' compares nothing; did you mean gt?"),
        ('{"price": {"near": 1}}', "filter.price.near", "there are gt, gte, lt, lte, in, exists"),
        ('{"price": {}}', "filter.price", "is an empty object"),
        ('{"price": [1]}', "filter.price", 'null; one of several is {"in": […]}'),
        ('{"price": {"gt": 1, "gte": 1}}', "filter.price", "has both gt and gte"),
        ('{"price": {"gt": 1, "lt": "x"}}', "filter.price", "is between a number and a text"),
        ('{"price": {"gt": true}}', "filter.price.gt", "is true, must be a number, a text or a time"),
        ('{"lang": {"in": "en"}}', "filter.lang.in", "is 'en', must be a list of values"),
        ('{"lang": {"exists": 1}}', "filter.lang.exists", "is 1, must be true or false"),
        ('{"and": [{}, {"or": [{"lang": [{}]}]}]}', "filter.and[1].or[0].lang", "is a list of 1"),
        ('{"and": {"lang": 1}}', "filter.and", "is an object of 1 fields, must be a list of filters"),
        ("[]", "filter", "is [], must be an object"),
        ('"en"', "filter", "is 'en', must be an object"),
        ("", "filter", "is '', must be JSON: Expecting value"),
        ('{"lang": "a", "lang": "b"}', "filter", "'lang' stands twice in one object"),
        ('{"price": NaN}', "filter", "NaN is no number of JSON"),
        ('{"price": 1e501}', "filter.price", "is 1E+501, a number must have 500 digits at most"),
        ('{"price": 1e99999999999999999999}', "filter", "a number must have 500 digits at most"),
        ('{"price": ' + "1" * 501 + "}", "filter.price", "is a number of 501 digits, a number must have 500"),
        ('{"lang": "\\ud800"}', "filter.lang", "is '\\ud800', half a surrogate pair is no character"),
        ('{"\\udfff": 1}', "filter.\\udfff", "half a surrogate pair"),
        ('{"lang": "a\\u0000"}', "filter.lang", "is 'a\\x00', no store has a NUL character"),
        ('{"not":' * 9 + "{}" + "}" * 9, "filter" + ".not" * (MOST_DEEP + 1), "is nested deeper than 8 levels"),
        ('{"and":[' * 100_000, "filter", "is nested deeper than 8 levels"),
        ('{"lang": "' + "x" * (LONGEST_TEXT + 1) + '"}', "filter.lang", "is a text of 8,001 bytes"),
        ('{"lang": {"gt": "' + "é" * LONGEST_BOUND + '"}}', "filter.lang.gt", "a bound must have 500 at most"),
        ('{"or": [' + '{"lang": 1},' * MOST_CONDITIONS + "{}]}", "filter.or[500]", "one condition more than 500"),
        ('{"or": [' + "{}," * MOST_CONDITIONS + "{}]}", "filter.or[500]", "one condition more than 500"),
        ('{"lang": {"in": [' + "1," * MOST_VALUES + "1]}}", "filter.lang.in", "more than 10,000 values"),
        (" " * (LARGEST + 1), "filter", "has 1,048,577 characters"),
        ('{"' + "." * 8_000 + '": 1}', "filter." + "." * 492, "is no column"),
    ],
)
def test_what_is_refused_is_named_with_its_place(said: str, place: str, problem: str) -> None:
    with pytest.raises(FilterError, match=re.escape(problem)) as refused:
        parse_text(said, COLUMNS)
    assert str(refused.value).startswith(place) and len(str(refused.value)) < 1_300
    assert len(place) > 400 or refused.value.place == place


@pytest.mark.parametrize("said", [None, 1.5, {1: 2}, {"price": float("nan")}, {"price": Decimal("sNaN")}, {"at": b"x"}])
def test_what_no_json_has_is_refused_too(said: Any) -> None:
    with pytest.raises(FilterError):
        parse(said, COLUMNS)


@pytest.mark.parametrize(
    ("said", "holds"),
    [
        ({"lang": "en"}, True), ({"lang": "EN"}, False), ({"lang": {"gt": "de", "lt": "fr"}}, True),
        ({"price": {"gte": 12.5, "lt": 20}}, True), ({"price": {"gt": 12.5}}, False), ({"price": "12.5"}, False),
        ({"tags": "red"}, True), ({"tags": "deep"}, False), ({"tags": {"gt": 1, "lt": 4}}, True),
        ({"tags.name": "x"}, True), ({"tags.none": {"exists": True}}, False), ({"tags": None}, False),
        ({"size.width": 3}, True), ({"size.width": True}, False), ({"size.a\\.b": True}, True),
        ({"size.": {"exists": True}}, True), ({"size.": {"in": [1, ""]}}, False), ({"size.parts.n": 30}, True),
        ({"size.parts.n": 99}, False), ({"size.parts.n": {"gt": 5, "lt": 20}}, False),
        ({"size": {"exists": True}}, True),
        ({"at": "2026-03-01T10:00:00.000Z"}, True), ({"at": {"lt": "2026-03-01T10:00:00.000000001Z"}}, True),
        ({"at": {"gte": "2026-03-01T11"}}, True), ({"lang": {"gt": "2026-03-01T10:00:00Z"}}, False),
        ({"a.b": {"exists": True}}, False), ({"not": {"a.b": 1}}, True), ({"a.b": None}, False),
    ],
)  # fmt: skip
def test_what_a_row_passes(said: Any, holds: bool) -> None:
    assert passes(parse(said, COLUMNS), ROW) is holds


def test_digits_that_are_a_number_are_compared_as_one() -> None:
    exact = {"price": ["99999999999999999999999999999.90", "NaN"]}
    asked = parse_text(
        '{"price": {"gt": 99999999999999999999999999999.8, "lte": 99999999999999999999999999999.9}}', COLUMNS
    )
    assert passes(asked, exact, ("price",)) and not passes(asked, exact)
    assert passes(parse({"price": "NaN"}, COLUMNS), exact, ("price",))


def test_the_shorthand_takes_a_text_for_what_it_names_too() -> None:
    for text, value in (("4.9", 4.90), ("4.9", "4.9"), ("true", True), ("2026-03-01T10:00:00Z", ROW["at"]), ("", "")):
        assert passes(equals(("x",), text, ""), {"x": value}), text
    assert not passes(equals(("x",), "4.9", ""), {"x": "4.90"})
    for text in ("\ud800", "\x00"):
        with pytest.raises(FilterError, match="--where x: "):
            equals(("x",), text, "--where x")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", "0"), ("1970-01-01 01:00:00+01", "0"),
        ("1970-01-01t00:00:00.000000001z", "0.000000001"),
        ("0001-01-01T00:00:00Z", "-62135596800"), ("2024-02-29T12:00:00-0530", "1709227800"),
        ("2026-02-29T00:00:00Z", None), ("0000-01-01T00:00:00Z", None), ("2026-01-01T24:00:00Z", None),
        ("2026-01-01T00:00:60Z", None), ("2026-01-01T00:00:00", None), ("2026-01-01", None), ("infinity", None),
        ("\u0662026-01-01T00:00:00Z", None), ("2026-01-01T00:00:00Z\n", None),
        ("2026-01-01T00:00:00.0000000001Z", None),
    ],
)  # fmt: skip
def test_moments_are_texts_with_a_zone(text: str, seconds: str | None) -> None:
    assert instant_of(text) == (None if seconds is None else Instant(Decimal(seconds)))


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, 1.0, "", "a", "b", "1", "2026-03-01T10:00:00Z"])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
)
rows = st.dictionaries(st.sampled_from("xy"), values)
names = st.sampled_from(["x", "y", "x.a", "x.a.b", "y.b"])
bounds = st.sampled_from(list(Bound)).flatmap(
    lambda bound: st.sampled_from([0, 1, 0.5, "", "a", "2026-03-01T10:00:00Z"]).map(lambda value: {bound.value: value})
)
conditions = st.builds(
    lambda name, said: {name: said},
    names,
    scalars | bounds | st.builds(lambda some: {"in": some}, st.lists(scalars, max_size=3))
    | st.booleans().map(lambda there: {"exists": there}),
)  # fmt: skip
asked = st.recursive(
    conditions,
    lambda inner: (
        st.builds(lambda by, some: {by: some}, st.sampled_from(["and", "or"]), st.lists(inner, max_size=3))
        | inner.map(lambda one: {"not": one})
    ),
    max_leaves=6,
)


def holds(said: Any, row: Any) -> bool:
    try:
        read = parse(said, "xy")
    except FilterError as error:
        assert "nested deeper" in str(error)
        return False
    return passes(read, row)


def small(said: Any) -> bool:
    """Whether there is room for what the laws put around it."""
    return json.dumps(said).count('"not"') + json.dumps(said).count('"and"') + json.dumps(said).count('"or"') < 5


@given(asked.filter(small), asked.filter(small), rows)
def test_filters_are_a_boolean_algebra(one: Any, other: Any, row: Any) -> None:
    first, second = holds(one, row), holds(other, row)
    assert holds({"not": one}, row) is not first
    assert holds({"and": [one, other]}, row) == (first and second)
    assert holds({"or": [one, other]}, row) == (first or second)
    assert holds({"not": {"and": [one, other]}}, row) == holds({"or": [{"not": one}, {"not": other}]}, row)
    assert holds({"not": {"or": [one, other]}}, row) == holds({"and": [{"not": one}, {"not": other}]}, row)
    assert holds({"and": [one, one]}, row) == holds({"or": [one, one]}, row) == first
    assert holds({**one, "and": [other]}, row) == (first and second) or "and" in one


@given(rows, names, scalars, scalars)
def test_conditions_agree_with_each_other(row: Any, name: str, one: Any, other: Any) -> None:
    assert holds({name: {"in": [one, other]}}, row) == (holds({name: one}, row) or holds({name: other}, row))
    if holds({name: one}, row):
        assert one is not None and holds({name: {"exists": True}}, row)
    if isinstance(one, str | float) or type(one) is int:
        assert holds({name: {"gte": one, "lte": one}}, row) == holds({name: one}, row)
        for strict, loose in (("gt", "gte"), ("lt", "lte")):
            either = holds({name: {strict: one}}, row) or holds({name: one}, row)
            assert holds({name: {loose: one}}, row) == either


@given(rows, names)
def test_missing_and_null_are_the_same(row: dict[str, Any], name: str) -> None:
    column = name[0]
    without = {key: value for key, value in row.items() if key != column}
    for said in ({name: {"exists": True}}, {name: {"gt": ""}}, {name: "a"}, {name: None}):
        assert not holds(said, without) and not holds(said, {**without, column: None})
    assert holds({name: {"exists": False}}, without)


@given(asked, rows)
def test_json_text_is_read_as_the_value_is(said: Any, row: Any) -> None:
    text = json.dumps(said)
    try:
        read = parse(said, "xy")
    except FilterError:
        return
    assert parse_text(text, "xy") == read
