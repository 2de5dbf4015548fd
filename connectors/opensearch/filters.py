"""Filters in OpenSearch: the terms by which chunks are found, and the queries over them.

A term is `<mark><path>=<value>`, all in one field of keywords, which are compared as bytes:

`lang=en`             a text
`%nprice=2…`          a number, written so that a smaller one comes first
`%tupdated_at=2…`     a text that names a moment, as its seconds since 1970, likewise
`%bactive=true`       true or false
`%etags=`             something is there, and isn't null
`%v=1`                the chunk has these terms; an earlier release wrote others

So a range of values is a range of terms, exact for as many digits as there are, of whatever name; a mapping knows
numbers as doubles alone, and has a field for each name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from hashlib import sha256
from typing import Any

from core.stores.filters.language import LONGEST_BOUND, And, Bound, Exists, Filter, In, Not, Or, Range
from core.stores.filters.values import Instant, Path, Value, compared, exact
from core.stores.fingerprint import TERMS

FIELD = "filters"

_HAS_TERMS = f"%v={TERMS}"
_MARKS: dict[type[Value], str] = {str: "", Decimal: "%n", Instant: "%t", bool: "%b"}
_LONGEST_PATH = 200  # bytes
# bytes of a value, more than a bound has; Lucene takes 1,000 of a bound, 32,766 of a term
_LONGEST = LONGEST_BOUND + 100
_MIDDLE = 5 * 10**6  # exponents are written as differences from here
_COMPLEMENTS = str.maketrans("0123456789", "9876543210")


def terms_of(metadata: Mapping[str, Any], numbers: Collection[str] = ()) -> list[str]:
    """The terms of a document's metadata; `numbers` as a plan has them."""
    found = [term for name, value in exact(metadata, numbers).items() for term in _terms((name,), value)]
    return list(dict.fromkeys([*found, _HAS_TERMS]))


def _terms(path: Path, value: Any, element: bool = False) -> Iterator[str]:
    """Of a value at a path, and of all behind it. An array stands for its elements, but not one that is an element."""
    if value is None:
        return
    if not element:
        yield _exists(path)
        yield from (_term(path, each) for each in compared(value))
        for each in value if isinstance(value, list) else ():
            yield from _terms(path, each, element=True)
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _terms((*path, name), inner)


def query_of(asked: Filter) -> dict[str, Any]:
    """The query that a filter is. Chunks without these terms pass none."""
    return {"bool": {"filter": [{"term": {FIELD: _HAS_TERMS}}, _query(asked)]}}


def without_terms() -> dict[str, Any]:
    """The query for chunks that an earlier release wrote."""
    return {"bool": {"must_not": [{"term": {FIELD: _HAS_TERMS}}]}}


def _query(asked: Filter) -> dict[str, Any]:
    match asked:
        case And(parts):
            return {"bool": {"filter": [_query(part) for part in parts]}} if parts else {"match_all": {}}
        case Or(()):
            return {"match_none": {}}
        case Or(parts):
            return {"bool": {"should": [_query(part) for part in parts], "minimum_should_match": 1}}
        case Not(part):
            return {"bool": {"must_not": [_query(part)]}}
        case Exists(path):
            return {"term": {FIELD: _exists(path)}}
        case In(path, values):
            return {"terms": {FIELD: [_term(path, value) for value in values]}}
        case Range(path, bounds):
            within = {bound: _term(path, value) for bound, value in bounds}
            return {"range": {FIELD: within | _of_kind(path, type(bounds[0][1]), within)}}


def _of_kind(path: Path, kind: type[Value], within: Collection[Bound]) -> dict[Bound, str]:
    """The bounds that are missing, so that no terms of another path or kind are within."""
    name = f"{_MARKS[kind]}{_written(path)}"
    lower = {} if Bound.GT in within or Bound.GTE in within else {Bound.GTE: f"{name}="}
    # a > comes next after an equals sign
    upper = {} if Bound.LT in within or Bound.LTE in within else {Bound.LT: f"{name}>"}
    return lower | upper


def _exists(path: Path) -> str:
    return f"%e{_written(path)}="


def _term(path: Path, value: Value) -> str:
    return f"{_MARKS[type(value)]}{_written(path)}={_bounded(_ordered(value))}"


def _written(path: Path) -> str:
    """A path whose names can't be taken for each other's, nor for a mark; a long one as its hash."""
    names = (each.replace("%", "%25").replace("=", "%3D").replace(".", "%2E") for each in path)
    written = ".".join(names)
    raw = written.encode()
    return written if len(raw) <= _LONGEST_PATH else f"%h{sha256(raw).hexdigest()}"


def _bounded(value: str) -> str:
    """A value, or of a long one its beginning and its hash: against what is shorter than that it compares as it did."""
    raw = value.encode()
    if len(raw) <= _LONGEST:
        return value
    return f"{raw[:_LONGEST].decode(errors='ignore')}#{sha256(raw).hexdigest()}"


def _ordered(value: Value) -> str:
    """A value as a text that comes before another's as the value does."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case Instant(seconds):
            return _digits(seconds)
        case Decimal():
            return _digits(value)


def _digits(number: Decimal) -> str:
    """A number's sign, its exponent in seven digits, and its digits, those of a negative one complemented."""
    if not number:
        return "1"
    sign, digits, _ = number.as_tuple()
    shown = f"{number.adjusted() + _MIDDLE:07d}{''.join(map(str, digits)).rstrip('0')}"
    # a tilde comes behind every digit: of negative numbers the one with more digits comes first
    return f"0{shown.translate(_COMPLEMENTS)}~" if sign else f"2{shown}"
