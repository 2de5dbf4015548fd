"""Filters in Pinecone: what is kept of a document's metadata, and the conditions over it.

Its own conditions know flat metadata, numbers as doubles, and ranges of numbers alone. So a chunk has the terms of its
metadata (`core.stores.filters.terms`) as hashes, in a list of texts, for what is equal; and for ranges the beginnings
of the least and the greatest value of each path and kind, as numbers in their order. No condition has a text that
others chose.

A condition lets through all that passes a filter, and may let through more: whoever searches looks at the metadata of
what comes. There is no `not` but of a condition's own: it is moved to where they are.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from core.stores.filters import terms
from core.stores.filters.language import And, Bound, Exists, Filter, In, Not, Or, Range
from core.stores.filters.values import Path, Value

TERMS = "terms"

_LOWER = (Bound.GT, Bound.GTE)
_EVERY: Mapping[str, Any] = {"slot": {"$gte": 0}}
_NONE: Mapping[str, Any] = {"slot": {"$lt": 0}}
_NOTHING = "-"
"""A term that every chunk has: whether a list may be empty isn't documented."""
_BYTES = 6
_DIGITS = 16
"""What a double holds exactly: 6 bytes as a whole number, and 16 digits the first of which is 2 at most."""

Condition = Mapping[str, Any]


def _short(text: str) -> str:
    """A term as conditions name it, 16 characters: metadata has room for 40 kB."""
    return urlsafe_b64encode(blake2b(text.encode(), digest_size=12).digest()).decode()


def searchable(metadata: Mapping[str, Any], numbers: Collection[str] = ()) -> dict[str, Any]:
    """The fields by which a document's chunks are filtered; `numbers` as a plan has them."""
    found = terms.terms_of(metadata, numbers)
    values: dict[str, set[float]] = {}
    for each in found:
        name, sign, value = each.partition("=")
        if _has_order(name):
            values.setdefault(f"{name}{sign}", set()).add(_beginning(name, value))
    bounds: dict[str, float] = {}
    for first, there in values.items():
        bounds |= {f"l{_short(first)}": min(there), f"h{_short(first)}": max(there)}
    return {TERMS: [_NOTHING, *map(_short, found)], **bounds}


def _has_order(name: str) -> bool:
    # whatever a name begins with, it is written otherwise than these marks
    return not name.startswith(("%e", "%b"))


def _beginning(name: str, value: str) -> float:
    """A number that is less than another's, or equal, where the term's value comes before it."""
    if not name.startswith(("%n", "%t")):
        return float(int.from_bytes(value.encode()[:_BYTES].ljust(_BYTES, b"\0")))
    digits, tilde, _ = value.partition("~")
    # the tilde of a negative number comes behind every digit
    return float(int(digits[:_DIGITS].ljust(_DIGITS, "9" if tilde else "0")))


def condition_of(asked: Filter) -> Condition:
    """What holds for all chunks whose metadata passes a filter, and for others perhaps."""
    return _condition(asked, True)


def _condition(asked: Filter, passes: bool) -> Condition:
    """What holds for all that passes, or for all that doesn't."""
    match asked:
        case And(parts) | Or(parts):
            every = isinstance(asked, And) is passes
            return _joined([_condition(part, passes) for part in parts], every)
        case Not(part):
            return _condition(part, not passes)
        case Exists(path):
            return _among([terms.existing(path)], passes)
        case In(_, ()):
            return _NONE if passes else _EVERY
        case In(path, values):
            return _among([terms.term(path, value) for value in values], passes)
        case Range(path, bounds):
            return _range(path, bounds, passes)


def _joined(parts: Sequence[Condition], every: bool) -> Condition:
    if not parts:
        return _EVERY if every else _NONE
    return parts[0] if len(parts) == 1 else {"$and" if every else "$or": list(parts)}


def _among(some: Sequence[str], there: bool) -> Condition:
    return {TERMS: {"$in" if there else "$nin": [_short(each) for each in some]}}


def _range(path: Path, bounds: Sequence[tuple[Bound, Value]], passes: bool) -> Condition:
    first = terms.head(path, type(bounds[0][1]))
    name = first.partition("=")[0]
    limits = [(bound in _LOWER, _beginning(name, terms.bounded(value))) for bound, value in bounds]
    least, greatest = f"l{_short(first)}", f"h{_short(first)}"
    if passes:
        parts = [{greatest: {"$gte": at}} if lower else {least: {"$lte": at}} for lower, at in limits]
        return _joined(parts, True)
    # neither the least nor the greatest value is surely within all bounds
    outside = [
        _joined([{side: {"$lte": at}} if lower else {side: {"$gte": at}} for lower, at in limits], False)
        for side in (least, greatest)
    ]
    return _joined([_joined(outside, True), {least: {"$exists": False}}], False)
