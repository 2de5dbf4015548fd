"""Filters in Milvus: what is kept of a document's metadata, and the expressions over it.

Milvus' own comparisons of JSON know numbers as doubles, and of an array one element by its place. So a chunk has the
terms of its metadata (`core.stores.filters.terms`) as hashes, in an array, for what is equal; and for ranges the least
and the greatest value of each path and kind, in hexadecimal, which compares as the bytes do. No expression has a text
that others chose: there is nothing to escape.

A range of two bounds over several values can't be said by the least and the greatest: `Expression.certain` is then a
narrower one than `Expression.possible`, and who searches looks at what the second lets through (`passes`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.stores.filters import terms
from core.stores.filters.language import And, Bound, Exists, Filter, In, Not, Or, Range
from core.stores.filters.values import Path, Value
from core.stores.ledger import key_of

TERMS = "terms"
ORDERED = "ordered"

_SIGNS = {Bound.GT: ">", Bound.GTE: ">=", Bound.LT: "<", Bound.LTE: "<="}
_LOWER = (Bound.GT, Bound.GTE)
_EVERY, _NONE = 'id != ""', 'id == ""'


@dataclass(frozen=True, slots=True)
class Expression:
    """What a filter is in Milvus' words: all that passes is `possible`, all that is `certain` passes."""

    possible: str
    certain: str

    @property
    def is_exact(self) -> bool:
        """Whether nothing is left to look at."""
        return self.possible == self.certain


def searchable(metadata: Mapping[str, Any], numbers: Collection[str] = ()) -> tuple[list[str], dict[str, Any]]:
    """The fields TERMS and ORDERED of a document's chunks; `numbers` as a plan has them."""
    found = terms.terms_of(metadata, numbers)
    values: dict[str, set[str]] = {}
    for each in found:
        first, sign, value = each.partition("=")
        if _has_order(first):
            values.setdefault(f"{first}{sign}", set()).add(value.encode().hex())
    ordered: dict[str, Any] = {}
    for first, there in values.items():
        key = key_of(first)
        ordered |= {f"l{key}": min(there), f"h{key}": max(there)}
        if len(there) > 1:
            ordered[f"v{key}"] = sorted(there)
    return [*map(key_of, found), *map(key_of, values)], ordered


def _has_order(first: str) -> bool:
    # whatever a name begins with, it is written otherwise than these marks
    return not first.startswith(("%e", "%b"))


def expression_of(asked: Filter) -> Expression:
    """The expression of a filter."""
    match asked:
        case And(parts):
            return _joined([expression_of(part) for part in parts], " and ", _EVERY)
        case Or(parts):
            return _joined([expression_of(part) for part in parts], " or ", _NONE)
        case Not(part):
            inner = expression_of(part)
            return Expression(f"not ({inner.certain})", f"not ({inner.possible})")
        case Exists(path):
            return _exactly(_has(terms.existing(path)))
        case In(_, ()):
            return _exactly(_NONE)
        case In(path, values):
            named = json.dumps([key_of(terms.term(path, value)) for value in values])
            return _exactly(f"array_contains_any({TERMS}, {named})")
        case Range(path, bounds):
            return _range(path, bounds)


def _exactly(condition: str) -> Expression:
    return Expression(condition, condition)


def _joined(parts: Sequence[Expression], by: str, none: str) -> Expression:
    if not parts:
        return _exactly(none)
    return Expression(by.join(f"({each.possible})" for each in parts), by.join(f"({each.certain})" for each in parts))


def _has(term: str) -> str:
    return f'array_contains({TERMS}, "{key_of(term)}")'


def _range(path: Path, bounds: Sequence[tuple[Bound, Value]]) -> Expression:
    # of a row without any such value the comparison is neither true nor false: so it is asked last
    first = terms.head(path, type(bounds[0][1]))
    there, key = _has(first), key_of(first)

    def within(side: str, some: Sequence[tuple[Bound, Value]]) -> str:
        return " and ".join(
            f'{ORDERED}["{side}{key}"] {_SIGNS[bound]} "{terms.bounded(value).encode().hex()}"' for bound, value in some
        )

    lower = [each for each in bounds if each[0] in _LOWER]
    upper = [each for each in bounds if each[0] not in _LOWER]
    if not (lower and upper):
        return _exactly(f"{there} and {within('h' if lower else 'l', bounds)}")
    return Expression(
        f"{there} and {within('h', lower)} and {within('l', upper)}",
        f"{there} and (({within('l', bounds)}) or ({within('h', bounds)}))",
    )


def passes(asked: Filter, has: Collection[str], ordered: Mapping[str, Any]) -> bool:
    """Whether a chunk with these fields, TERMS and ORDERED, passes a filter."""
    match asked:
        case And(parts):
            return all(passes(part, has, ordered) for part in parts)
        case Or(parts):
            return any(passes(part, has, ordered) for part in parts)
        case Not(part):
            return not passes(part, has, ordered)
        case Exists(path):
            return key_of(terms.existing(path)) in has
        case In(path, values):
            return any(key_of(terms.term(path, value)) in has for value in values)
        case Range(path, bounds):
            key = key_of(terms.head(path, type(bounds[0][1])))
            there = ordered.get(f"v{key}") or [each for each in (ordered.get(f"l{key}"),) if each is not None]
            limits = [(bound, terms.bounded(value).encode().hex()) for bound, value in bounds]
            return any(all(_is_within(each, bound, limit) for bound, limit in limits) for each in there)


def _is_within(value: str, bound: Bound, limit: str) -> bool:
    match bound:
        case Bound.GT:
            return value > limit
        case Bound.GTE:
            return value >= limit
        case Bound.LT:
            return value < limit
        case Bound.LTE:
            return value <= limit
