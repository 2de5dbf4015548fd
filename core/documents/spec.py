"""What a table's rows are as documents: their ids, and the columns that they are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from core.change import Change, Operation
from core.documents.keys import escaped, id_of
from core.documents.sources import of_source
from core.documents.templates import chosen, column_of, parts
from core.errors import DocumentError


@dataclass(frozen=True, slots=True)
class Chunker:
    """Cuts a text into ranges that cover it. `name` changes whenever the same text might be cut otherwise."""

    name: str
    ranges: Callable[[str], Sequence[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class DocumentSpec:
    """How one table's rows become documents.

    table     `schema.table`
    text      a template: column names in braces, as in `"{title}\\n\\n{body}"`; `{old|new}` is the first that is there,
              `{extra|}` nothing where it isn't
    metadata  columns kept beside each chunk; `old|new` and `extra|` as in the text
    key       columns that identify a row; empty: those of the event's key
    id_from_source  whether its id says which database a row is of
    """

    table: str
    text: str
    metadata: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    id_from_source: bool = False


def document_id(spec: DocumentSpec, change: Change) -> str:
    """The id of a row's document: `id_of`; with `id_from_source` the table is `schema.table@source`.

    Raises DocumentError where the row has no key, a null in it, or lacks a column that `key:` names, SourceError where
    it doesn't say its source.
    """
    key = {name: _key_column(spec, change, name) for name in spec.key} or change.key
    if not key:
        raise DocumentError(f"{spec.table} has no primary key: give the table one, or set documents.{spec.table}.key")
    return id_of(of_source(spec.table, change.source) if spec.id_from_source else spec.table, key)


def table_id(table: str) -> str:
    """What the ids of a table's documents begin with, before the first slash."""
    return escaped(table)


def _key_column(spec: DocumentSpec, change: Change, name: str) -> Any:
    value = change.row.get(name, change.key.get(name))
    if value is None and name in change.row and change.operation is Operation.UPSERT and name not in change.doubtful:
        raise DocumentError(
            f"documents.{spec.table}.key names {name}, which is null in this row, so no document is of it: give it a "
            "value, or use columns of the primary key"
        )
    if value is None or name in change.unavailable:
        raise DocumentError(
            f"documents.{spec.table}.key names {name}, which this {change.operation} doesn't carry: "
            "use columns of the primary key, or have the feed send whole rows (PostgreSQL: REPLICA IDENTITY FULL)"
        )
    return value


def used_columns(spec: DocumentSpec, row: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns that a document is made of; of alternatives, the first that the row has, else the first."""
    names_of = _alternatives(spec.text, spec.metadata)
    used = [names[0] if names[0] in row else column_of(chosen(names, row), row) for names in names_of]
    return tuple([name for name in dict.fromkeys(used) if name])


@lru_cache(maxsize=256)
def _alternatives(text: str, metadata: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    in_text = (names for _, names in parts(text) if names is not None)
    return tuple(dict.fromkeys((*in_text, *(tuple(names.split("|")) for names in metadata))))
