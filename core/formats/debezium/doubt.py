"""Values of columns whose type nobody tells: what of them could be something else than it looks.

Source of the rules: Debezium's documentation, "Debezium connector for PostgreSQL: Data type mappings": decimals and
bits are base64, dates, times and intervals whole numbers; only the event's schema, which the JSON converter leaves out
with `schemas.enable=false`, says which are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from core.errors import DecodeError, quote
from core.formats.json_values import json_value
from core.formats.wrapping import is_wrapped

_LONGEST_NAME = 200
_LONGEST = 128  # letters of base64 of 230 digits; what is longer is text
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:==|[A-Za-z0-9+/]=))?", re.ASCII)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+", re.ASCII)
_TYPES = {"text": '"numeric(10,2)"', "integer": "date", '"text[]"': '"numeric(10,2)[]"', '"integer[]"': '"date[]"'}


def may_be(value: Any) -> str:
    """What a value could be, where that is more than one thing; "" where it is what it looks like. Of an array, what
    the first such element could be.

    Text could be an encoded number where it is canonical base64 and no word: base64 without padding that happens to be
    all small letters, all capitals or all digits (of three bytes one in twelve) looks just like a word.
    """
    if type(value) is not list:
        return _may_be(value)
    return next((doubt for each in _elements(value) if (doubt := _may_be(each))), "")


def _may_be(value: Any) -> str:
    if type(value) is int:
        return "a whole number, or a date or a time as Debezium counts it"
    if type(value) is not str or not 0 < len(value) <= _LONGEST or len(value) % 4:
        return ""
    return "text, or a number or bits in base64" if _BASE64.fullmatch(value) and not _WORD.fullmatch(value) else ""


def _elements(value: Any) -> Iterator[Any]:
    """Those of an array, whatever its dimensions; else the value."""
    left = [value]
    while left:
        each = left.pop()
        if type(each) is list:
            left += reversed(each)
        else:
            yield each


def remedy(name: str, value: Any) -> str:
    """What tells the type of a column that has such a doubtful value."""
    first = next(each for each in _elements(value) if _may_be(each))
    named = "integer" if type(first) is int else "text"
    named = f'"{named}[]"' if type(value) is list else named
    name = name[:_LONGEST_NAME]
    return (
        "set value.converter.schemas.enable=true at the connector, or reselect.postgres, or name the SQL type, as in "
        f"types: {{{name}: {named}}} or {{{name}: {_TYPES[named]}}}"
    )


def refuse_doubtful(row: Mapping[str, Any], names: Iterable[str], table: str) -> None:
    """Raises DecodeError where one of the columns has a value that could be two things."""
    for name in names:
        doubt = may_be(row.get(name))
        if doubt:
            column = f"{table}.{name}"[:_LONGEST_NAME]
            raise DecodeError(
                f"{column} is {quote(row[name])}: {doubt}, and the event has no schema that says which: "
                f"{remedy(name, row[name])}"
            )


def has_fraction(value: Any) -> bool:
    """Whether a value as JSON has it is a number that may have had more digits than a float holds, or has such ones."""
    return type(value) is float or (type(value) is list and any(type(each) is float for each in _elements(value)))


def with_all_digits(event: bytes | None, names: Sequence[str]) -> dict[str, Any]:
    """These columns of an event's row, in which numbers that no float holds are `Digits`.

    A decimal comes as a JSON number where the connector's JSON converter has `decimal.format=NUMERIC` (Kafka Connect's
    documentation of JsonConverterConfig), with all its digits. Whether it is one, or a double, nothing tells: what a
    float holds is one.
    """
    if not names:
        return {}
    value = json_value(event or b"", "value")
    row = (value["payload"] if is_wrapped(value) else value)["after"]
    return {name: row[name] for name in names}
