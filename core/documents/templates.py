"""Templates of columns: `"{title}\n\n{body}"`, with alternatives in `{old|new}` and parts in `{attrs.lang}`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from string import Formatter
from typing import Any

from core.errors import DocumentError, quote

_NUL = "\x00"
_NO_NAME = re.compile(r"[\[\]{}]")
_OF_JINJA = re.compile(r"(?<!\{)\{\{-?\s*([^\W\d][^{}]*?)\s*-?\}\}(?!\})|\{%[^{}]*%\}")
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def columns(template: str) -> tuple[str, ...]:
    """The columns that a template names, in order.

    Raises ValueError where braces don't pair or hold anything but names, or are double as Jinja has them.
    """
    return tuple(name for _, names in parts(template) if names is not None for name in names if name)


@lru_cache(maxsize=256)
def parts(template: str) -> tuple[tuple[str, tuple[str, ...] | None], ...]:
    """Each literal with the alternatives behind it, if there are any. Cached: every change is rendered."""
    found: list[tuple[str, tuple[str, ...] | None]] = []
    if other := _OF_JINJA.search(template):
        instead = f"{{{other[1]}}}" if other[1] else "plain text, or no text at all"
        raise ValueError(f"{other[0]} is Jinja's, and would stand in every text as it is: write {instead}")
    for literal, name, format_spec, conversion in _parsed(template):
        if name is None:
            found.append((literal, None))
            continue
        names = tuple(name.split("|"))
        whole = all(names[:-1]) and names != ("",) and all(all(each.split(".")) for each in names if each)
        if not whole or format_spec or conversion or _NO_NAME.search(name):
            raise ValueError(f"{template!r} has a placeholder that is not a plain column name in braces")
        found.append((literal, names))
    return tuple(found)


def _parsed(template: str) -> list[tuple[str, str | None, str | None, str | None]]:
    try:
        return list(Formatter().parse(template))
    except ValueError:
        raise ValueError(
            "its braces don't pair; {column} is a column's value, and {{ or }} a brace of the text"
        ) from None


def render(template: str, row: Mapping[str, Any]) -> str:
    """The template with each column's value in its place; of `{old|new}`, that of the first column that the row has.

    `{extra|}` is nothing where the row has no such column. `{attrs.lang}` is what the object in column `attrs` has as
    `lang`, nothing where it has no such part; a column whose own name is `attrs.lang` goes first.

    A null renders as nothing, a list or object as JSON. NUL characters, which no text column of a database can hold,
    become U+FFFD. Raises DocumentError where a part is asked of what is no object.
    """
    pieces = [
        literal
        if names is None
        else literal + as_text(row[names[0]] if names[0] in row else value_of(chosen(names, row), row))
        for literal, names in parts(template)
    ]
    return "".join(pieces).replace(_NUL, "\ufffd")


def chosen(names: Sequence[str], row: Mapping[str, Any]) -> str:
    """The first that the row has; "" where it has none and may lack it, else the first."""
    if len(names) == 1:
        return names[0]
    return next((name for name in names if not name or column_of(name, row) in row), names[0])


def whole_columns(name: str) -> tuple[str, ...]:
    """The columns that a name may be, or be a part of: of `a.b` these are `a.b` and `a`."""
    pieces = name.split(".")
    return tuple(".".join(pieces[:upto]) for upto in range(len(pieces), 0, -1))


def column_of(name: str, row: Mapping[str, Any]) -> str:
    """The column of the row that has a name's value, whole or in part; the name itself where there is none."""
    if name in row or "." not in name:
        return name
    return next((each for each in whole_columns(name) if each in row), name)


def value_of(name: str, row: Mapping[str, Any]) -> Any:
    """The value of a column, or of a part of one; None where the row lacks it."""
    if name in row or "." not in name:
        return row.get(name)
    column = column_of(name, row)
    if column == name:
        return None
    value = row[column]
    for part in name[len(column) + 1 :].split("."):
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise DocumentError(
                f"{name} is a part of column {column!r}, which is {quote(row[column])} and no object with parts; a "
                f"JSON column whose events have no schema needs its type, as in types: {{{column}: jsonb}}"
            )
        value = value.get(part)
    return value


def as_text(value: Any) -> str:
    """A value as a template shows it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    # most are whole numbers; a bool is none, and is `true`
    return str(value) if type(value) is int else _to_json(value)
