"""Filters in OpenSearch: a chunk's terms (`core.stores.filters.terms`), and the queries over them.

All are in one field of keywords, which are compared as bytes; a mapping knows numbers as doubles alone, and has a field
for each name. Beside them is `%v=1`: the chunk has these terms; an earlier release wrote others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from core.stores.filters import terms
from core.stores.filters.language import And, Bound, Exists, Filter, In, Not, Or, Range
from core.stores.filters.values import Path, Value
from core.stores.fingerprint import TERMS

FIELD = "filters"

_HAS_TERMS = f"%v={TERMS}"


def terms_of(metadata: Mapping[str, Any], numbers: Collection[str] = ()) -> list[str]:
    """The terms of a document's metadata; `numbers` as a plan has them."""
    return [*terms.terms_of(metadata, numbers), _HAS_TERMS]


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
            return {"term": {FIELD: terms.existing(path)}}
        case In(path, values):
            return {"terms": {FIELD: [terms.term(path, value) for value in values]}}
        case Range(path, bounds):
            within = {bound: terms.term(path, value) for bound, value in bounds}
            return {"range": {FIELD: within | _of_kind(path, type(bounds[0][1]), within)}}


def _of_kind(path: Path, kind: type[Value], within: Collection[Bound]) -> dict[Bound, str]:
    """The bounds that are missing, so that no terms of another path or kind are within."""
    first = terms.head(path, kind)
    lower = {} if Bound.GT in within or Bound.GTE in within else {Bound.GTE: first}
    # a > comes next after an equals sign
    upper = {} if Bound.LT in within or Bound.LTE in within else {Bound.LT: f"{first[:-1]}>"}
    return lower | upper
