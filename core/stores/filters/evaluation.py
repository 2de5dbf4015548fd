"""What a filter means: whether a document's metadata passes it. Every store gives the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from core.stores.filters.language import And, Bound, Exists, Filter, In, Not, Or, Range
from core.stores.filters.values import Instant, Value, at, compared, exact

_Ordered = TypeVar("_Ordered", str, Decimal)


def passes(asked: Filter, metadata: Mapping[str, Any], numbers: Collection[str] = ()) -> bool:
    """Whether metadata passes a filter; `numbers`, as a plan has them, name texts that are numbers."""
    return _passes(asked, exact(metadata, numbers))


def _passes(asked: Filter, metadata: Mapping[str, Any]) -> bool:
    match asked:
        case And(parts):
            return all(_passes(part, metadata) for part in parts)
        case Or(parts):
            return any(_passes(part, metadata) for part in parts)
        case Not(part):
            return not _passes(part, metadata)
        case Exists(path):
            return bool(at(metadata, path))
        case In(path, values):
            there = [each for found in at(metadata, path) for each in compared(found)]
            return any(type(one) is type(other) and one == other for one in there for other in values)
        case Range(path, bounds):
            there = [each for found in at(metadata, path) for each in compared(found)]
            return any(all(_within(each, bound, value) for bound, value in bounds) for each in there)


def _within(value: Value, bound: Bound, limit: Value) -> bool:
    match value, limit:
        case (Decimal() as one, Decimal() as other) | (Instant(one), Instant(other)):
            return _compare(one, bound, other)
        case str(), str():
            return _compare(value, bound, limit)
    return False


def _compare(one: _Ordered, bound: Bound, other: _Ordered) -> bool:
    match bound:
        case Bound.GT:
            return one > other
        case Bound.GTE:
            return one >= other
        case Bound.LT:
            return one < other
        case Bound.LTE:
            return one <= other
