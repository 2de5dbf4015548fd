"""Filters as conditions of PostgreSQL on the jsonb that metadata is in; paths and values travel as parameters.

A condition is true or false, and never null: a leaf asks whether something EXISTS, so that NOT is its complement.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from psycopg.sql import SQL, Composable

from core.stores.filters.language import And, Bound, Exists, Filter, In, Not, Or, Range
from core.stores.filters.values import Instant, Path, Value

Condition = tuple[Composable, list[Any]]
"""And the parameters of it, in order."""

# In its lax mode a jsonpath opens an array that a name is asked of, one level; where there is nothing, it gives none.
_THERE = SQL("EXISTS (SELECT FROM jsonb_path_query(metadata, %s::jsonpath) AS found (value) WHERE {})")
_NOT_NULL = SQL("value <> 'null'::jsonb")
_EQUAL = SQL("value = ANY(%s::jsonb[])")
# jsonb's own order of texts is that of the database's collation
_ORDERED = {
    Decimal: SQL("jsonb_typeof(value) = 'number' AND value {} %s::jsonb"),
    str: SQL("""jsonb_typeof(value) = 'string' AND (value #>> '{{}}') COLLATE "C" {} %s"""),
    Instant: SQL("seconds {} %s::numeric"),
}

# As `instant_of` reads a text. A cast to timestamptz fails for the 30th of February, and with it the search; and it
# keeps microseconds. Nothing here fails: what isn't a text is none that the pattern takes.
_MOMENTS = SQL("""
EXISTS (
    SELECT FROM jsonb_path_query(metadata, %s::jsonpath) AS found (value),
    regexp_match(value #>> '{{}}',
        '^((?!0000)[0-9]{{4}})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt ]'
        '([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])'
        '(\\.[0-9]{{1,9}})?(?:[Zz]|([+-])([01][0-9]|2[0-3])(?::?([0-5][0-9]))?)$'
    ) AS read (part),
    LATERAL (SELECT make_date(part[1]::int, part[2]::int, 1) + (part[3]::int - 1)) AS calendar (day),
    LATERAL (
        SELECT (day - date '1970-01-01') * 86400::numeric + part[4]::int * 3600 + part[5]::int * 60
            + (part[6] || coalesce(part[7], ''))::numeric
            - coalesce((part[8] || '1')::int * (part[9]::int * 3600 + coalesce(part[10], '0')::int * 60), 0)
    ) AS moment (seconds)
    WHERE jsonb_typeof(value) = 'string' AND extract(month FROM day) = part[2]::int AND {}
)
""")
_ONE_OF = SQL("seconds = ANY(%s::numeric[])")
_SIGNS = {Bound.GT: SQL(">"), Bound.GTE: SQL(">="), Bound.LT: SQL("<"), Bound.LTE: SQL("<=")}


def condition_of(asked: Filter) -> Condition:
    """The condition on a row's `metadata` that a filter is."""
    match asked:
        case And(parts):
            return _joined(parts, " AND ", "true")
        case Or(parts):
            return _joined(parts, " OR ", "false")
        case Not(part):
            condition, parameters = condition_of(part)
            return SQL("NOT {}").format(condition), parameters
        case Exists(path):
            return _THERE.format(_NOT_NULL), [_at(path)]
        case In(path, values):
            return _one_of(path, values)
        case Range(path, bounds):
            kind = type(bounds[0][1])
            within = SQL(" AND ").join([_ORDERED[kind].format(_SIGNS[bound]) for bound, _ in bounds])
            read = _json if kind is Decimal else _plain
            return _leaf(kind).format(within), [_elements(path), *(read(value) for _, value in bounds)]


def _joined(parts: tuple[Filter, ...], by: str, none: str) -> Condition:
    if not parts:
        return SQL(none), []
    made = [condition_of(part) for part in parts]
    joined = SQL("({})").format(SQL(by).join([condition for condition, _ in made]))
    return joined, [each for _, parameters in made for each in parameters]


def _one_of(path: Path, values: tuple[Value, ...]) -> Condition:
    moments = [_plain(each) for each in values if isinstance(each, Instant)]
    others = [_json(each) for each in values if not isinstance(each, Instant)]
    same = [(_THERE.format(_EQUAL), others)] if others else []
    same += [(_MOMENTS.format(_ONE_OF), moments)] if moments else []
    either = SQL(" OR ").join([condition for condition, _ in same])
    parameters = [each for _, asked in same for each in (_elements(path), asked)]
    return (SQL("({})").format(either), parameters) if same else (SQL("false"), [])


def _leaf(kind: type[Value]) -> SQL:
    return _MOMENTS if kind is Instant else _THERE


def _at(path: Path) -> str:
    return "$" + "".join(f".{_json(name)}" for name in path)


def _elements(path: Path) -> str:
    return f"{_at(path)}[*]"


def _json(value: Value) -> str:
    return _plain(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)


def _plain(value: Value) -> str:
    if isinstance(value, Instant):
        return format(value.seconds, "f")
    return format(value, "f") if isinstance(value, Decimal) else str(value)
