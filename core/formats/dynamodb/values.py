"""DynamoDB's typed attributes as JSON values.

Sources of the rules: DynamoDB's API reference, "AttributeValue"; its developer guide, "Supported data types and naming
rules" (numbers have up to 38 digits, sets have no order, documents are nested up to 32 levels deep).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from core.errors import DecodeError, quote
from core.formats.json_values import LARGEST_INTEGER, exact_float

_DEEPEST = 32
_LONGEST_NAME = 100
_NUMBER = re.compile(r"[+-]?\d{1,200}(?:\.\d{1,200})?(?:[eE][+-]?\d{1,9})?", re.ASCII)
_DIGITS_OF_64_BITS = 18


def item(typed: dict[str, Any], what: str) -> dict[str, Any]:
    """An item's attributes as JSON values.

    Text, booleans, nulls, lists and maps are what they are. A number is an integer where it is a whole one of up to 64
    bits, a float where a float holds it exactly, else text: every digit stays. Binaries are the base64 text that they
    came as. Sets become sorted lists, numbers by size: the same set always gives the same text.
    Raises DecodeError where an attribute isn't one; `what` names the item there, as in `NewImage`.
    """
    return {name: _attribute(value, f"{what}.{name}"[:_LONGEST_NAME], _DEEPEST) for name, value in typed.items()}


def numbers_of_item(typed: Mapping[str, Any]) -> frozenset[str]:
    """The attributes of an item that are numbers, or sets of them, of which `item` makes text."""
    return frozenset(name for name, value in typed.items() if any(type(each) is str for each in _numbers_in(value)))


def _numbers_in(typed: Mapping[str, Any]) -> Iterable[Any]:
    said = typed.get("N", typed.get("NS"))
    return () if said is None else map(_number, said if isinstance(said, list) else (said,))


def _attribute(typed: Any, what: str, deeper: int) -> Any:
    if not isinstance(typed, dict) or len(typed) != 1:
        raise DecodeError(f'{what} is {quote(typed)}, must be an attribute with its type, as in {{"S": "text"}}')
    ((kind, value),) = typed.items()
    if kind == "S" and type(value) is str:
        return value
    if kind == "M" or kind == "L":
        return _nested(kind, value, what, deeper)
    read = _READERS.get(kind)
    if read is None:
        if kind == "S":
            raise _unlike(what, kind, value)
        raise DecodeError(f"{what} has the type {quote(kind)}, must be one of S, N, B, BOOL, NULL, M, L, SS, NS, BS")
    try:
        return read(value)
    except (ValueError, TypeError, ArithmeticError):
        raise _unlike(what, kind, value) from None


def _unlike(what: str, kind: str, value: Any) -> DecodeError:
    return DecodeError(f"{what} has the type {kind} and is {quote(value)}, which is none of that type")


def _nested(kind: str, value: Any, what: str, deeper: int) -> Any:
    if not deeper:
        raise DecodeError(f"{what} is nested more than {_DEEPEST} levels deep")
    if kind == "M" and isinstance(value, dict):
        return {name: _attribute(each, what, deeper - 1) for name, each in value.items()}
    if kind == "L" and isinstance(value, list):
        return [_attribute(each, what, deeper - 1) for each in value]
    raise _unlike(what, kind, value)


def _number(text: Any) -> int | float | str:
    if type(text) is not str or not _NUMBER.fullmatch(text):
        raise ValueError("not a number")
    if len(text) <= _DIGITS_OF_64_BITS and text.isdecimal():
        return int(text)
    number = Decimal(text)
    if number.adjusted() <= _DIGITS_OF_64_BITS and number == number.to_integral_value():
        whole = int(number)
        return whole if abs(whole) <= LARGEST_INTEGER else text
    found = exact_float(text)
    return found if type(found) is float else text


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError
    return value


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError
    return value


def _null(value: Any) -> None:
    if value is not True:
        raise TypeError


def _texts(value: Any) -> list[str]:
    if type(value) is not list:
        raise TypeError
    return sorted(map(_text, value))


def _numbers(value: Any) -> list[int | float | str]:
    by_size = sorted((Decimal(each), each) for each in _texts(value))
    return [_number(text) for _, text in by_size]


_READERS: dict[str, Callable[[Any], Any]] = {
    "N": _number,
    "B": _text,
    "BOOL": _flag,
    "NULL": _null,
    "SS": _texts,
    "NS": _numbers,
    "BS": _texts,
}
