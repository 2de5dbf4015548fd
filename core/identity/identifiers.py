"""Identifiers as they are compared: normalized, without those that say nothing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import idna

from core.errors import ConfigError, ProfileError, not_installed

LONGEST = 512
"""Characters that an identifier may have. An e-mail address has at most 254 (RFC 3696's erratum 1690)."""

_SPACES = re.compile(r"\s+")
# Unicode's Default_Ignorable_Code_Point, of what is assigned
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_ACE = "xn--"
_LONGEST_LABEL = 63  # RFC 1035, 2.3.4
_NOT_IN_NAMES = re.compile("[@<>,;]")


class Identifier(NamedTuple):
    """What a person is known by: the same type and value mean the same person, within the limits."""

    type: str
    value: str


Normalizer = Callable[[str], str | None]
"""A value as it is compared; None where it is none of its kind, as "n/a" is no e-mail address."""


def text(value: str) -> str | None:
    """Unicode's NFKC, without spaces around it, those within as one; None where nothing is left.

    Characters that are not shown count for nothing, as in Unicode's NFKC_Casefold: zero-width spaces and joiners, marks
    of direction, soft hyphens, variation selectors.
    """
    plain = value if value.isascii() else unicodedata.normalize("NFKC", _UNSEEN.sub("", value))
    return _SPACES.sub(" ", plain).strip() or None


def fold(value: str) -> str | None:
    """As `text`, in one case, as Unicode's default caseless matching has it: "ß" is "ss" there, as STRASSE is written.

    Folding a case can undo the normal form, so that it is made again.
    """
    plain = text(value)
    return plain and text(plain.casefold())


def email(value: str) -> str | None:
    """An address in small letters, its domain in ASCII. None unless it has a name and a domain with a dot.

    Small letters and no folded case (RFC 8265, 3.3): groß@ and gross@ may be two people of one firm, and straße.de and
    strasse.de are two domains (UTS 46, nontransitional, as browsers have it). A capital sigma doesn't say which of its
    small letters was meant: in names they are one. It may have a display name (`"Eva" <eva@example.org>`) or a comment
    behind it (RFC 5322, 3.4 and 3.2.2), or be a link (`mailto:`, RFC 6068). Of several addresses none is taken.
    """
    said = _address(text(value) or "")
    name, _, domain = said.rpartition("@")
    if len(name) > 2 and name[0] == name[-1] == '"':
        name = name[1:-1]  # RFC 5322, 3.2.4: quotes are no part of what they quote
    name = (text(name.lower()) or "").replace("ς", "σ")
    domain = _domain(domain)
    if not name or _NOT_IN_NAMES.search(name) or " " in said or "." not in domain:
        return None
    return f"{name}@{domain}"


def _domain(said: str) -> str:
    """A domain in ASCII, without a dot at its end; "" for what is none. A label that says xn-- is read, too."""
    try:
        labels = _mapped(said).rstrip(".").split(".")
        found = [_in_ascii(_mapped(_UNSEEN.sub("", _read(label)))) for label in labels]
    except (idna.IDNAError, UnicodeError):
        return ""
    return ".".join(found) if all(0 < len(label) <= _LONGEST_LABEL for label in found) else ""


def _mapped(said: str) -> str:
    return said.lower() if said.isascii() else idna.uts46_remap(said, std3_rules=False, transitional=False)


def _read(label: str) -> str:
    if not label.startswith(_ACE):
        return label
    try:
        plain = label.removeprefix(_ACE).encode().decode("punycode")
    except UnicodeError:
        return label
    return label if plain.isascii() else plain


def _in_ascii(label: str) -> str:
    return label if label.isascii() else _ACE + label.encode("punycode").decode("ascii")


def _address(said: str) -> str:
    """What stands in angle brackets, or a link leads to; without a comment behind it."""
    if said.endswith(")"):
        said = said.rpartition("(")[0].rstrip()
    if said.endswith(">"):
        shown, _, inner = said[:-1].rpartition("<")
        shown = shown.strip()
        quoted = len(shown) > 1 and shown[0] == shown[-1] and shown[0] in "\"'" and shown[0] not in shown[1:-1]
        said = "" if not quoted and set(shown) & set("@<>,;") and shown != inner.strip() else inner.strip()
    if said[:7].lower() == "mailto:":
        said = said[7:].partition("?")[0]
    return said


def phone(region: str) -> Normalizer:
    """Numbers as E.164, those without a country code being of `region` (two letters, as in "NO").

    An extension is part of it, as `;ext=` and its digits (RFC 3966): who shares a switchboard is not one person.
    A number that nobody can have is none. Possible and valid are two things (libphonenumber's FAQ): 000-000-0000 is as
    long as a number, and a local one without its area is many people's. What follows the last digit is a remark
    ("home") where there is a number without it, else letters are digits as on keys (1-800-FLOWERS).
    Raises ConfigError for a region that doesn't exist, or where the extra `profiles` isn't installed.
    """
    try:
        import phonenumbers
    except ImportError:
        raise not_installed("normalize: phone", "phonenumbers", "profiles") from None
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise ConfigError([f"normalize: phone: {region!r} is no region; write two letters, as in NO"])

    def number(value: str) -> str | None:
        try:
            parsed = phonenumbers.parse(value, region)
        except phonenumbers.NumberParseException:
            return None
        if not phonenumbers.is_valid_number(parsed):
            return None
        plain = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
        extension = phonenumbers.normalize_digits_only(parsed.extension or "")
        return f"{plain};ext={extension}" if extension else plain

    @lru_cache(maxsize=65_536)  # parsing takes 50 µs, and people's numbers come again
    def e164(value: str) -> str | None:
        plain = text(value) or ""
        bare = _to_last_digit(plain)
        return number(bare) or (number(plain) if bare != plain else None)

    return e164


def _to_last_digit(value: str) -> str:
    end = len(value)
    while end and not value[end - 1].isdigit():
        end -= 1
    return value[:end]


def blocker(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether a value is one of those that say nothing: a regular expression matches the whole of it, in any case.

    Raises ValueError for what is no regular expression.
    """
    compiled = []
    for pattern in patterns:
        try:
            compiled.append(re.compile(pattern, re.IGNORECASE))
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return lambda value: any(each.fullmatch(value) for each in compiled)


def identifiers(
    kind: str, values: Iterable[Any], normalize: Normalizer, blocked: Callable[[str], bool]
) -> list[Identifier]:
    """The identifiers of one type in a row's values, a list's items each one; null and blocked values are none.

    Raises ProfileError for an identifier that is too long, or is no text or number.
    """
    found: dict[Identifier, None] = {}
    for value in _flat(values):
        raw = _as_text(kind, value)
        if raw is None or blocked(raw.strip()):
            continue
        normal = normalize(raw)
        if normal is not None and not blocked(normal):
            found[Identifier(kind, normal)] = None
    return list(found)


def _flat(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from value
        else:
            yield value


def _as_text(kind: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ProfileError(f"identifier {kind} is a {type(value).__name__}; it must be a text or a number")
    raw = str(value)
    if len(raw) > LONGEST:
        raise ProfileError(f"identifier {kind} has {len(raw)} characters; it may have {LONGEST}")
    if "\x00" in raw or (not raw.isprintable() and _unpaired(raw)):
        raise ProfileError(f"identifier {kind} has characters that no database can hold (NUL or half a surrogate pair)")
    return raw


def _unpaired(raw: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in raw)
