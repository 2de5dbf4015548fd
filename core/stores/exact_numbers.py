"""Numbers of which no float has all the digits, in JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any

_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,20000})(?:\.\d{1,20000})?", re.ASCII)
_PRINTED = re.compile(r"-?(?:0|[1-9]\d{0,20000})(?:\.\d{1,20000})?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_LONGEST = 1_000
Writer = Callable[[Any], str]


def with_numbers(values: Mapping[str, Any], numbers: Collection[str], write: Writer = json.dumps) -> str:
    """The values as a JSON object, in which those of the names in `numbers` are numbers with the digits of their text.

    What is no number, as NaN, stays text. `write` makes JSON of any other value.
    """
    pairs = (
        f"{write(name)}: {_digits(value, write) if name in numbers else write(value)}" for name, value in values.items()
    )
    return "{" + ", ".join(pairs) + "}"


def _digits(value: Any, write: Writer) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_digits(each, write) for each in value) + "]"
    return value if is_number(value) else write(value)


def is_number(value: Any) -> bool:
    """Whether a value is text that JSON has as a number, and every store takes as one.

    Of more than 1,000 characters it is text: Jackson, and so OpenSearch, refuses longer numbers
    (StreamReadConstraints' `maxNumberLength`).
    """
    return isinstance(value, str) and len(value) <= _LONGEST and _NUMBER.fullmatch(value) is not None


def plain_digits(text: str) -> str:
    """The number that a text is, written so that equal ones are equal texts, as 99.9 for 99.90; "" where it is none.

    As a reader of JSON may print a number, an exponent of at most three digits is understood too.
    """
    if _PRINTED.fullmatch(text) is None:
        return ""
    digits = format(Decimal(text), "f")
    digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return "0" if digits == "-0" else digits


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal, where text that is a number's digits equals that number."""
    if one == other:
        return True
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if is_number(one) and isinstance(other, int | float) and not isinstance(other, bool):
        # a reader of JSON makes a float of what has a point
        return float(one) == other if isinstance(other, float) else Decimal(one) == other
    return False
