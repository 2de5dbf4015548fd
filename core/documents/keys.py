"""What tells a table's rows apart, as their documents' ids have it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from core.change import Position
from core.documents.templates import as_text
from core.errors import DocumentError

_IN_IDS = re.compile(r"[%/\x00-\x1f\x7f]")
_LITERALS = ("true", "false")
_LONGEST_NAME = 200


def id_of(table: str, key: Mapping[str, Any]) -> str:
    """`schema.table/key`, composite keys joined by `/`; `%`, `/` and control characters in it are percent-encoded.

    The texts `true` and `false` are in double quotes there, which tells them from the booleans.
    Raises DocumentError where a value is null: that distinguishes no row from another.
    """
    found = [escaped(table)]
    for name, value in key.items():
        if value is None:
            raise DocumentError(
                f"{table[:_LONGEST_NAME]}: key column {name[:_LONGEST_NAME]} is null, which tells no row from another: "
                "a primary key has no nulls; have documents.….key name columns that don't"
            )
        found.append(str(value) if type(value) is int else escaped(_key_text(value)))
    return "/".join(found)


def _key_text(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) and value.strip('"') in _LITERALS else as_text(value)


def escaped(part: str) -> str:
    """A part of an id, without what ids mean something by."""
    return _IN_IDS.sub(lambda match: quote(match[0], safe=""), part)


def kinds(key: Mapping[str, Any]) -> str:
    """The kind of JSON value that each of a key's columns is, a letter each."""
    return "".join(_kind(value) for value in key.values())


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "t"
    return "b" if isinstance(value, bool) else "n" if isinstance(value, int | float) else "o"


def refuse_other_kinds(before: str, now: str, identity: str) -> None:
    """Raises DocumentError where a document's key was of another kind before: 1 and "1" are two rows of one id."""
    if before and now and before != now:
        raise DocumentError(
            f'{identity[:_LONGEST_NAME]} is the id of a row whose key has other types of JSON values, as 1 and "1" '
            "have: have the producer write a key's values always as the same type"
        )


def refuse_other_width(before: Position, now: Position, table: str) -> None:
    """Raises DocumentError where two positions of one feed don't compare, as they are of different width.

    Positions that end alike, in an arrival, are of one feed. What stands before it is text of the producer's, or was
    another type of position.
    """
    if not before or len(before) == len(now):
        return
    own, _, came = now.rpartition(".")
    earlier, _, came_before = before.rpartition(".")
    if len(came) == len(came_before) and len(own) != len(earlier):
        raise DocumentError(
            f"{table[:_LONGEST_NAME]}: the position {own[:80]!r} is of another width than this row's last one, "
            f"{earlier[:80]!r}: as text they don't compare. Write all of one length, as v09 and v10, or use "
            "position_type integer or timestamp. Where the pipeline file changed, start anew: --without-state, "
            "and a new table"
        )
