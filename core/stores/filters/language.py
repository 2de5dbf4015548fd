"""The filter language: what a filter says, and how it is read from JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

from core.errors import FilterError, quote
from core.stores.exact_numbers import plain_digits
from core.stores.filters.values import Instant, Path, Value, instant_of

MOST_DEEP = 8
"""Levels of `and`, `or` and `not` around a condition. OpenSearch takes 20 of its own, and a level here may need two
(`indices.query.bool.max_nested_depth`)."""
MOST_CONDITIONS = 500
"""OpenSearch takes 1,024 clauses (`indices.query.bool.max_clause_count`)."""
MOST_VALUES = 10_000
LONGEST_TEXT = 8_000
"""Bytes of a text that is equalled."""
LONGEST_BOUND = 500
"""Bytes of a text that is a bound: Lucene makes an automaton of it, of 1,000 states at most."""
LARGEST = 2**20
"""Bytes of a filter, and of all texts in it."""
MOST_DIGITS = 500
"""Of a number that is compared; and its exponent is between minus this and this."""


class Bound(StrEnum):
    """On which side of a value, and whether it counts itself."""

    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"


@dataclass(frozen=True, slots=True)
class And:
    """All hold; of none, it holds."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One at least holds; of none, it doesn't."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """It doesn't hold."""

    part: Filter


@dataclass(frozen=True, slots=True)
class In:
    """What is there equals one of the values; an array, where one of its elements does."""

    path: Path
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """What is there is within all bounds, texts by their code points; an array, where one of its elements is.

    The values are of one kind, and none is a bool.
    """

    path: Path
    bounds: tuple[tuple[Bound, Value], ...]


@dataclass(frozen=True, slots=True)
class Exists:
    """Something is there, and isn't null."""

    path: Path


Filter = And | Or | Not | In | Range | Exists

EVERYTHING = And(())
"""What each document passes."""


def both(granted: Filter, asked: Filter) -> Filter:
    """What passes the filter of whoever asks, and the one that they ask by."""
    if granted == EVERYTHING:
        return asked
    return granted if asked == EVERYTHING else And((granted, asked))


_NOTHING = Or(())
_KINDS = {str: "a text", Decimal: "a number", bool: "true or false", Instant: "a time"}
_LOWER = (Bound.GT, Bound.GTE)
_OPERATORS = (*Bound, "in", "exists")


def parse_text(text: str, columns: Collection[str], name: str = "filter") -> Filter:
    """As `parse`, of JSON text, whose numbers are read with all their digits. Raises FilterError."""
    if len(text) > LARGEST:
        raise FilterError(name, f"has {len(text):,} characters, must have {LARGEST:,} at most: ask for less at once")
    try:
        value = json.loads(
            text, parse_int=Decimal, parse_float=Decimal, parse_constant=_not_json, object_pairs_hook=_object
        )
    except RecursionError:
        raise FilterError(name, _TOO_DEEP) from None
    except ArithmeticError:  # an exponent beyond those of Decimal
        raise FilterError(name, f"is {quote(text)}, {_TOO_LARGE}") from None
    except ValueError as error:
        raise FilterError(name, f"is {quote(text)}, must be JSON: {error}") from None
    return parse(value, columns, name)


def parse(value: Any, columns: Collection[str], name: str = "filter") -> Filter:
    """The filter that a JSON value is, over the columns that the pipeline keeps as metadata.

    `name` is how the value is called where it came from; errors begin with it and the place in it.
    Raises FilterError where it is none, names another column, or is larger than the limits above.
    """
    return _Reading(frozenset(columns)).whole(value, name, 0)


def equals(path: Path, text: str, place: str) -> Filter:
    """What is there is the text, or the number, moment or truth that it is the digits or the name of.

    Raises FilterError, with the place, where no store can have the text.
    """
    _check_characters(text, place)
    values: list[Value] = [instant_of(text) or text]
    if number := plain_digits(text):
        values.append(Decimal(number))
    if text in ("true", "false"):
        values.append(text == "true")
    return In(path, tuple(values))


_TOO_DEEP = f"is nested deeper than {MOST_DEEP} levels of and, or and not: join conditions in one list"

_TOO_LARGE = (
    f"a number must have {MOST_DIGITS} digits at most, and an exponent between -{MOST_DIGITS} and {MOST_DIGITS}"
)


def _not_json(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, many in Counter(name for name, _ in pairs).items() if many > 1)
        raise ValueError(f"{quote(twice)} stands twice in one object, give both in a list of `and`")
    return found


class _Reading:
    """Reads one filter, and counts what it has."""

    def __init__(self, columns: frozenset[str]) -> None:
        self._columns = columns
        self._most_steps = 1 + max((column.count(".") for column in columns), default=0)
        self._conditions = 0
        self._values = 0
        self._bytes = 0

    def whole(self, value: Any, place: str, deep: int) -> Filter:
        if not isinstance(value, Mapping):
            raise FilterError(place, f'is {_shown(value)}, must be an object, as {{"column": value}}')
        if deep > MOST_DEEP:
            raise FilterError(place, _TOO_DEEP)
        if not value:
            self._count(place, 0)
        return _all([self._field(key, each, f"{place}.{_printable(key)}", deep) for key, each in value.items()])

    def _field(self, key: Any, value: Any, place: str, deep: int) -> Filter:
        match key:
            case "and":
                return _all(self._list(value, place, deep))
            case "or":
                parts = self._list(value, place, deep)
                return parts[0] if len(parts) == 1 else Or(tuple(parts))
            case "not":
                return Not(self.whole(value, place, deep + 1))
            case str():
                return self._column(self._path(key, place), value, place)
        raise FilterError(place, f"is named {_shown(key)}, a name must be a text")

    def _list(self, value: Any, place: str, deep: int) -> list[Filter]:
        if not _is_list(value):
            raise FilterError(place, f"is {_shown(value)}, must be a list of filters")
        if not value:
            self._count(place, 0)
        return [self.whole(each, f"{place}[{at}]", deep + 1) for at, each in enumerate(value)]

    def _path(self, key: str, place: str) -> Path:
        self._check_text(key, place)
        steps = tuple(_steps(key))
        for end in range(min(len(steps), self._most_steps), 0, -1):
            if (column := ".".join(steps[:end])) in self._columns:
                return column, *steps[end:]
        there = sorted(self._columns)
        near = get_close_matches(steps[0][:100], there, 1)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(there) or 'none'}"
        raise FilterError(place, f"{quote(steps[0])} is no column of the pipeline's metadata; {meant}")

    def _column(self, path: Path, value: Any, place: str) -> Filter:
        if not isinstance(value, Mapping):
            return self._in(path, [value], [place], place)
        if not value:
            raise FilterError(place, f"is an empty object, must have one of {', '.join(_OPERATORS)}")
        parts = [
            self._operator(path, key, each, f"{place}.{_printable(key)}")
            for key, each in value.items()
            if key not in tuple(Bound)
        ]
        bounds = {Bound(key): each for key, each in value.items() if key in tuple(Bound)}
        return _all([*parts, *([self._range(path, bounds, place)] if bounds else [])])

    def _operator(self, path: Path, key: Any, value: Any, place: str) -> Filter:
        if key == "in":
            if not _is_list(value):
                raise FilterError(place, f"is {_shown(value)}, must be a list of values")
            return self._in(path, value, [f"{place}[{at}]" for at in range(len(value))], place)
        if key == "exists":
            if not isinstance(value, bool):
                raise FilterError(place, f"is {_shown(value)}, must be true or false")
            self._count(place, 0)
            return Exists(path) if value else Not(Exists(path))
        near = get_close_matches(str(key)[:100], _OPERATORS, 1)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(_OPERATORS)}"
        raise FilterError(place, f"{_shown(key)} compares nothing; {meant}")

    def _in(self, path: Path, values: Sequence[Any], places: Sequence[str], place: str) -> Filter:
        self._count(place, len(values))
        read = (self._value(each, where) for each, where in zip(values, places, strict=True) if each is not None)
        return In(path, tuple(read))

    def _range(self, path: Path, bounds: Mapping[Bound, Any], place: str) -> Filter:
        self._count(place, len(bounds))
        for side in (_LOWER, tuple(each for each in Bound if each not in _LOWER)):
            if all(each in bounds for each in side):
                raise FilterError(place, f"has both {' and '.join(side)}, must have one of them")
        read = {key: self._value(each, f"{place}.{key}") for key, each in bounds.items() if each is not None}
        for key, each in read.items():
            _check_bound(each, f"{place}.{key}")
        kinds = [_KINDS[type(each)] for each in read.values()]
        if len(set(kinds)) > 1:
            raise FilterError(place, f"is between {kinds[0]} and {kinds[1]}, both must be of one kind")
        return Range(path, tuple(read.items())) if len(read) == len(bounds) else _NOTHING

    def _value(self, value: Any, place: str) -> Value:
        if isinstance(value, bool):
            return value
        if isinstance(value, int | float | Decimal):
            return _number(value, place)
        if isinstance(value, str):
            self._check_text(value, place)
            return instant_of(value) or value
        several = '; one of several is {"in": […]}' if isinstance(value, list) else ""
        raise FilterError(place, f"is {_shown(value)}, must be a text, a number, true, false or null{several}")

    def _check_text(self, text: str, place: str) -> None:
        _check_characters(text, place)
        size = len(text.encode())
        self._bytes += size
        if size > LONGEST_TEXT:
            raise FilterError(place, f"is a text of {size:,} bytes, must have {LONGEST_TEXT:,} at most")
        if self._bytes > LARGEST:
            raise FilterError(place, f"is where the texts have more than {LARGEST:,} bytes: ask for less at once")

    def _count(self, place: str, values: int) -> None:
        self._conditions += 1
        self._values += values
        if self._conditions > MOST_CONDITIONS:
            raise FilterError(place, f"is one condition more than {MOST_CONDITIONS}: ask for less at once")
        if self._values > MOST_VALUES:
            raise FilterError(place, f"is where there are more than {MOST_VALUES:,} values: ask for less at once")


def _check_characters(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise FilterError(place, f"is {quote(text)}, half a surrogate pair is no character") from None
    if "\x00" in text:
        raise FilterError(place, f"is {quote(text)}, no store has a NUL character")


def _check_bound(value: Value, place: str) -> None:
    if isinstance(value, bool):
        raise FilterError(place, f"is {_shown(value)}, must be a number, a text or a time")
    if isinstance(value, str) and (size := len(value.encode())) > LONGEST_BOUND:
        raise FilterError(place, f"is a text of {size:,} bytes, a bound must have {LONGEST_BOUND} at most")


def _all(parts: Sequence[Filter]) -> Filter:
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _printable(key: Any) -> str:
    return str(key).encode(errors="backslashreplace").decode()


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _steps(key: str) -> Iterator[str]:
    """The names between a key's dots; a backslash takes what follows as it is."""
    step: list[str] = []
    letters = iter(key)
    for letter in letters:
        if letter == ".":
            yield "".join(step)
            step = []
        else:
            step.append(next(letters, letter) if letter == "\\" else letter)
    yield "".join(step)


def _number(value: int | float | Decimal, place: str) -> Decimal:
    if isinstance(value, int) and value.bit_length() > 4 * MOST_DIGITS:
        raise FilterError(place, f"is {_shown(value)}, {_TOO_LARGE}")
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not number.is_finite():
        raise FilterError(place, f"is {_shown(value)}, must be a number of JSON")
    if len(number.as_tuple().digits) > MOST_DIGITS or abs(number.adjusted()) > MOST_DIGITS:
        raise FilterError(place, f"is {_shown(value)}, {_TOO_LARGE}")
    return number


def _shown(value: Any) -> str:
    """A value as JSON writes it, as far as a message has room."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, Decimal):
        return f"a number of {digits} digits" if (digits := len(value.as_tuple().digits)) > 60 else str(value)
    return quote(value)
