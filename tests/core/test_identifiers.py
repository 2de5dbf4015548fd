from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError, ProfileError
from core.identity import identifiers as of
from core.identity.identifiers import Identifier, identifiers

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
        ("212-555-0123 ext. 4", "+12125550123;ext=4", of.phone("US")),
        ("212-555-0123 x5", "+12125550123;ext=5", of.phone("US")),
        ("+12125550123;ext=４", "+12125550123;ext=4", of.phone("US")),
        ("+1 (212) 555-0177 home", "+12125550177", of.phone("US")),
        ("work: 212.555.0177 (Eva's)", "+12125550177", of.phone("US")),
        ("tel:+1-212-555-0177", "+12125550177", of.phone("US")),
        ("\u202a+1\u00a0212\u200b555 0177\u202c", "+12125550177", of.phone("US")),
        ("２１２５５５０１７７", "+12125550177", of.phone("US")),
        ("1-800-FLOWERS", "+18003569377", of.phone("US")),
        ("1 800 FLOWERS", "+18003569377", of.phone("US")),
        ("030 123456 home", "+4930123456", of.phone("DE")),
        ("000-000-0000", None, of.phone("US")),
        ("999 999 9999", None, of.phone("US")),
        ("123-456-7890", None, of.phone("US")),
        ("555-0123", None, of.phone("US")),
        ("212-555-0177 / 212-555-0188", None, of.phone("US")),
        ("", None, of.phone("US")),
        ('"Eva" <eva@example.org>', "eva@example.org", of.email),
        ("Eva Holm<EVA@example.org> ", "eva@example.org", of.email),
        ('"Holm, Eva @ work" <eva@example.org>', "eva@example.org", of.email),
        ("'eva@example.org' <eva@example.org>", "eva@example.org", of.email),
        ("eva@example.org <eva@example.org>", "eva@example.org", of.email),
        ("<eva@example.org>", "eva@example.org", of.email),
        ("eva@example.org (Eva)", "eva@example.org", of.email),
        ("mailto:Eva@example.org?subject=Hi", "eva@example.org", of.email),
        ('"eva"@example.org', "eva@example.org", of.email),
        ("\ufeffeva\u200b@example\u00ad.org\u00a0", "eva@example.org", of.email),
        ("ｅｖａ＠example。org", "eva@example.org", of.email),
        ("bo@example.org, Eva <eva@example.org>", None, of.email),
        ('"Bo" <bo@example.org>, "Eva" <eva@example.org>', None, of.email),
        ("bo@example.org;eva@example.org", None, of.email),
        ("Eva <eva>", None, of.email),
        ("MAILTO:Eva@example.org", "eva@example.org", of.email),
        ("GROSS@example.de", "gross@example.de", of.email),
        ("Groß@example.de", "groß@example.de", of.email),
        ("eva@Straße.DE", "eva@xn--strae-oqa.de", of.email),
        ("eva@STRAẞE.de", "eva@xn--strae-oqa.de", of.email),
        ("eva@XN--strae-oqa.de", "eva@xn--strae-oqa.de", of.email),
        ("eva@strasse.de", "eva@strasse.de", of.email),
        ("ΟΔΟΣ@example.gr", "οδοσ@example.gr", of.email),
        ("οδος@example.gr", "οδοσ@example.gr", of.email),
        ("eva@οδος.gr", "eva@xn--pxavbm.gr", of.email),
        ("eva@i❤.ws", "eva@xn--i-7iq.ws", of.email),
        ("eva@\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.ir", "eva@xn--mgba3gch31f.ir", of.email),
        ("eva@xn--mgba3gch31f060k.ir", "eva@xn--mgba3gch31f.ir", of.email),
        ("eva@xn--99999999.de", "eva@xn--99999999.de", of.email),
        ("eva@a..de", None, of.email),
        ("  A\u00a0 b ", "A b", of.text),
        ("\u200bA\u200d-\u00ad7\ufe0f", "A-7", of.text),
        ("\u200b \u2060", None, of.text),
        ("Ａ－７", "A-7", of.text),
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


UNSEEN = ["\u00ad", "\u034f", "\u061c", "\u180e", "\u200b", "\u200d", "\u200e", "\u202a", "\u2060", "\u3164", "\ufe0f"]
UNSEEN += ["\ufeff", "\U000e0100"]


@given(st.text(max_size=20), st.sampled_from(UNSEEN), st.integers(0, 20), st.sampled_from([of.text, of.fold, of.email]))
def test_what_is_not_shown_tells_nobody_apart(value: str, unseen: str, at: int, normalize: of.Normalizer) -> None:
    assert normalize(value[:at] + unseen + value[at:]) == normalize(value)


def test_people_are_who_they_are() -> None:
    file = Path(__file__).parents[1] / "fixtures" / "files" / "18-phones.jsonl"
    rows = [json.loads(line)["value"] for line in file.read_text(encoding="utf-8").splitlines()]
    phone = of.phone("US")
    of_row = {
        row["id"]: {
            *identifiers("phone", [row["phone"]], phone, nothing),
            *identifiers("email", [row["email"]], of.email, nothing),
        }
        for row in rows
    }
    together = {(one, two) for one in of_row for two in of_row if one < two and of_row[one] & of_row[two]}
    assert together == {(5, 6), (7, 8)}
    assert of_row[3] == {Identifier("email", "cy@three.example")}
