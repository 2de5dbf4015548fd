"""Laws of merging: what a profile's values are is what its records' facts come to at once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ProfileError
from core.profiles.merging import Fact, Facts, Rule, Short, Summary, add, decimal, merge, remove

RULES = {
    "city": Rule("latest"),
    "name": Rule("most_trusted"),
    "language": Rule("most_frequent"),
    "tags": Rule("union"),
    "spent": Rule("sum"),
    "orders": Rule("count"),
    "recent": Rule("last", 3),
}

values = st.sampled_from(["a", "b", "c", 1, 1.5, None, ["a", "b"], {"x": 1}])
numbers = st.decimals(-1000, 1000, places=3).map(str)


@st.composite
def facts(draw: st.DrawFn, record: str) -> Facts:
    """What a record says: values by rule, at times that other records have too."""
    time, trust = draw(st.integers(0, 3)), draw(st.integers(0, 2))
    place = (0, time, draw(st.sampled_from(["p1", "p2"])), record)
    said = {
        "city": Fact(place, draw(values)),
        "name": Fact((trust, *place[1:]), draw(values)),
        "language": Fact(place, draw(st.sampled_from(["no", "en"]))),
        "tags": Fact(place, draw(st.lists(st.sampled_from(["x", "y", "z"]), max_size=3))),
        "spent": Fact(place, decimal("spent", draw(numbers))),
        "orders": Fact(place, True),
        "recent": Fact((draw(st.integers(0, 3)), *place[1:]), draw(values)),
    }
    return {name: fact for name, fact in said.items() if draw(st.integers(0, 5))}


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[str, Facts | None]]:
    """Records come, change and go: each entry is what one says now, None where it is gone."""
    keys = draw(st.lists(st.sampled_from([f"r{number}" for number in range(25)]), max_size=60))
    return [(key, draw(st.none() | facts(key))) for key in keys]


def expected(said: Sequence[Facts]) -> dict[str, object]:
    """The rules of `core.profiles.merging`, read off the facts themselves."""
    by_name = {name: [each[name] for each in said if name in each] for name in RULES}
    found: dict[str, object] = {}
    for name, given_ in by_name.items():
        if not given_:
            continue
        ordered = [each.value for each in sorted(given_, key=lambda fact: fact.place, reverse=True)]
        found[name] = ordered[0]
        if name == "language":
            counts = Counter(ordered)
            found[name] = min(counts, key=lambda value: (-counts[value], json.dumps(value)))
        if name == "tags":
            found[name] = sorted({tag for each in ordered for tag in each}, key=json.dumps)
        if name == "spent":
            total = sum(map(Decimal, ordered), Decimal(0)).normalize()
            found[name] = format(total, "f") if total else "0"
        if name == "orders":
            found[name] = len(ordered)
        if name == "recent":
            found[name] = ordered[:3]
    return found


def anew(said: Sequence[Facts]) -> Summary:
    summary: Summary = {}
    for each in said:
        summary = add(summary, each, RULES)
    return summary


@settings(max_examples=50)
@given(lives())
def test_what_comes_and_goes_leaves_what_is_there(life: list[tuple[str, Facts | None]]) -> None:
    there: dict[str, Facts] = {}
    summary: Summary = {}
    for key, said in life:
        before = there.pop(key, None)
        short = False
        if before is not None:
            try:
                summary = remove(summary, before, RULES)
            except Short:
                short = True
        if said is not None:
            there[key] = said
            summary = summary if short else add(summary, said, RULES)
        if short:
            summary = anew(list(there.values()))
        assert merge([summary], RULES) == expected(list(there.values()))


@settings(max_examples=50)
@given(lives(), st.data())
def test_groups_merge_to_what_their_records_say(life: list[tuple[str, Facts | None]], data: st.DataObject) -> None:
    there = {key: said for key, said in life if said is not None}
    groups: list[list[Facts]] = [[], [], []]
    for said in data.draw(st.permutations(list(there.values()))):
        groups[data.draw(st.integers(0, 2))].append(said)
    assert merge([anew(group) for group in groups], RULES) == expected(list(there.values()))


@given(st.lists(st.integers(0, 99), min_size=1, max_size=60, unique=True), st.integers(1, 4))
def test_a_summary_stays_small_and_says_when_it_is_short(times: list[int], most: int) -> None:
    rules = {"last": Rule("last", most)}
    said = {time: {"last": Fact((0, time, "", "r"), time)} for time in times}
    summary: Summary = {}
    for each in said.values():
        summary = add(summary, each, rules)
        assert len(summary["last"].best) <= most + 8
    for time in sorted(times, reverse=True):
        try:
            summary = remove(summary, said.pop(time), rules)
        except Short:
            assert len(times) > most + 8
            return
        assert merge([summary], rules).get("last", []) == sorted(said, reverse=True)[:most]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1.50", "1.5"),
        (3, "3"),
        (0.1, "0.1"),
        ("-0.00", "0"),
        ("1E+3", "1000"),
        ("1e-3", "0.001"),
        (10**59, "1" + "0" * 59),
    ],
)
def test_decimals_have_one_way_of_writing(value: object, text: str) -> None:
    assert decimal("spent", value) == text


@pytest.mark.parametrize("value", ["x", "NaN", "Infinity", True, None, [1], "1e1000000", "1e-61", "9" * 61, {}])
def test_what_is_no_number(value: object) -> None:
    with pytest.raises(ProfileError, match="spent is a sum, and"):
        decimal("spent", value)
