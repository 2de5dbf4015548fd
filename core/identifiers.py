"""Identifiers as they are compared: normalized, without those that say nothing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from core.errors import ConfigError, ProfileError

LONGEST = 512
"""Characters that an identifier may have. An e-mail address has at most 254 (RFC 3696's erratum 1690)."""

_SPACES = re.compile(r"\s+")


class Identifier(NamedTuple):
    """What a person is known by: the same type and value mean the same person, within the limits."""

    type: str
    value: str


Normalizer = Callable[[str], str | None]
"""A value as it is compared; None where it is none of its kind, as "n/a" is no e-mail address."""


def text(value: str) -> str | None:
    """Unicode's NFKC, without spaces around it, those within as one; None where nothing is left."""
    return _SPACES.sub(" ", unicodedata.normalize("NFKC", value)).strip() or None


def fold(value: str) -> str | None:
    """As `text`, in one case. Folding a case can undo the normal form, so that it is made again."""
    plain = text(value)
    return plain and text(plain.casefold())


def email(value: str) -> str | None:
    """An address in one case, its domain in ASCII (IDNA). None unless it has a name and a domain with a dot."""
    folded = fold(value)
    name, _, domain = (folded or "").rpartition("@")
    domain = domain.rstrip(".")
    if not name or "@" in name or " " in (folded or "") or "." not in domain:
        return None
    try:
        return f"{name}@{domain.encode('idna').decode('ascii')}"
    except UnicodeError:
        return None


def phone(region: str) -> Normalizer:
    """Numbers as E.164, those without a country code being of `region` (two letters, as in "NO").

    Raises ConfigError for a region that doesn't exist, or where the extra `profiles` isn't installed.
    """
    try:
        import phonenumbers
    except ImportError:
        raise ConfigError(["normalize: phone needs the extra: pip install 'freshet[profiles]'"]) from None
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise ConfigError([f"normalize: phone: {region!r} is no region; write two letters, as in NO"])

    @lru_cache(maxsize=65_536)  # parsing takes 50 µs, and people's numbers come again
    def e164(value: str) -> str | None:
        try:
            number = phonenumbers.parse(value, region)
        except phonenumbers.NumberParseException:
            return None
        if not phonenumbers.is_possible_number(number):
            return None
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)

    return e164


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
