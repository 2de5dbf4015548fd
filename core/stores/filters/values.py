"""What a filter finds in metadata: the values at a path, and what each can be compared as."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from core.stores.exact_numbers import is_number

Path = tuple[str, ...]
"""A column of the metadata, and the names that lead on from there in its JSON."""

_ZONED = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]{1,9}))?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3])(?::?([0-5][0-9]))?)"
)
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment: seconds since 1970 in UTC, exact to the nanosecond, without leap seconds."""

    seconds: Decimal


Value = str | Decimal | bool | Instant
"""What is compared: each with its own kind alone."""


def instant_of(text: str) -> Instant | None:
    """The moment that a text names: a date, a time to the second or finer, and a zone, of the years 1 to 9999.

    As ISO 8601 and RFC 3339 have it, and PostgreSQL prints it: `2026-03-01T10:00:00.5Z`, `2026-03-01 10:00:00+01`.
    None for any other text, also for one without a zone: nobody knows which moment that is.
    """
    matched = _ZONED.fullmatch(text)
    if matched is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = matched.groups()
    try:
        days = date(int(year), int(month), int(day)).toordinal() - _EPOCH
    except ValueError:
        return None
    of_day = int(hour) * 3600 + int(minute) * 60 + int(second)
    ahead = int(f"{sign}1") * (int(hours) * 3600 + int(minutes or 0) * 60) if sign else 0
    return Instant(Decimal(f"{days * 86_400 + of_day - ahead}") + Decimal(f"0.{fraction or 0}"))


def exact(metadata: Mapping[str, Any], numbers: Collection[str]) -> Mapping[str, Any]:
    """Metadata in which those texts that stores keep as numbers are numbers; `numbers` as a plan has them."""
    if not numbers:
        return metadata
    return {name: _exact(value) if name in numbers else value for name, value in metadata.items()}


def _exact(value: Any) -> Any:
    if isinstance(value, list):
        return [_exact(each) for each in value]
    return Decimal(value) if is_number(value) else value


def at(metadata: Mapping[str, Any], path: Path) -> list[Any]:
    """The values at a path, nulls left out.

    Where a step meets an array, it goes on into each of its objects; arrays that are elements themselves end it.
    """
    found: list[Any] = [metadata]
    for name in path:
        opened = [inner for each in found for inner in (each if isinstance(each, list) else [each])]
        found = [each[name] for each in opened if isinstance(each, Mapping) and each.get(name) is not None]
    return found


def compared(value: Any) -> Iterator[Value]:
    """What a value that is there can be compared as: an array as each of its elements, an object as nothing.

    A text that names a moment can be compared as that too.
    """
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, bool | Decimal):
            yield each
        elif isinstance(each, int):
            yield Decimal(each)
        elif isinstance(each, float):
            yield Decimal(repr(each))  # the digits that JSON has of it
        elif isinstance(each, str):
            yield each
            if (moment := instant_of(each)) is not None:
                yield moment
