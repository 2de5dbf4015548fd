from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import identifiers as of
from core.errors import ConfigError, ProfileError
from core.identifiers import Identifier, identifiers

nothing = of.blocker(["", "null", "anonymous", "^0+$", "test@.*"])


@pytest.mark.parametrize(
    ("value", "is_", "normalize"),
    [
        (" Kari@Example.ORG ", "kari@example.org", of.email),
        ("ＫＡＲＩ@example.org", "kari@example.org", of.email),
        ("kari@blåbær.no", "kari@xn--blbr-roah.no", of.email),
        ("kari@example.org.", "kari@example.org", of.email),
        ("kari", None, of.email),
        ("kari@localhost", None, of.email),
        ("a@b@example.org", None, of.email),
        ("kari @example.org", None, of.email),
        (f"kari@{'x' * 64}.no", None, of.email),
        ("22 22 55 55", "+4722225555", of.phone("NO")),
        ("0047 22225555", "+4722225555", of.phone("NO")),
        ("+1 650-253-0000", "+16502530000", of.phone("NO")),
        ("650 253 0000", "+16502530000", of.phone("US")),
        ("ring me", None, of.phone("NO")),
        ("12", None, of.phone("NO")),
        ("  A\u00a0 b ", "A b", of.text),
        ("Straße", "strasse", of.fold),
        ("ﬁn", "fin", of.fold),
        (" \t", None, of.fold),
    ],
)
def test_values_as_they_are_compared(value: str, is_: str | None, normalize: of.Normalizer) -> None:
    assert normalize(value) == is_


@given(st.text(max_size=30), st.sampled_from([of.text, of.fold, of.email, of.phone("NO")]))
def test_what_is_normal_stays_as_it_is(value: str, normalize: of.Normalizer) -> None:
    normal = normalize(value)
    assert normal is None or normalize(normal) == normal


@pytest.mark.parametrize("value", ["", " ", "NULL", "anonymous", "000", "Test@example.org", None])
def test_blocked_values_are_no_identifiers(value: str | None) -> None:
    assert identifiers("email", [value], of.text, nothing) == []


def test_a_value_is_blocked_as_a_whole_and_once_it_is_normal() -> None:
    assert identifiers("key", ["1000"], of.text, nothing) == [Identifier("key", "1000")]
    assert identifiers("key", ["ｎｕｌｌ"], of.text, nothing) == []


def test_lists_have_several_and_numbers_are_texts() -> None:
    found = identifiers("key", [["a", "b", None, "a"], 7], of.text, nothing)
    assert found == [Identifier("key", "a"), Identifier("key", "b"), Identifier("key", "7")]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("x" * 1_000_000, "identifier key has 1000000 characters; it may have 512"),
        ({"a": 1}, "identifier key is a dict; it must be a text or a number"),
        (True, "identifier key is a bool"),
        ("a\x00b", "no database can hold"),
        ("a\ud800", "no database can hold"),
    ],
)
def test_bad_identifiers_say_so_without_their_value(value: object, says: str) -> None:
    with pytest.raises(ProfileError, match=says) as raised:
        identifiers("key", [value], of.text, nothing)
    assert len(str(raised.value)) < 120


def test_what_no_region_is() -> None:
    with pytest.raises(ConfigError, match="'XX' is no region"):
        of.phone("XX")


def test_what_no_pattern_is() -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        of.blocker(["("])
