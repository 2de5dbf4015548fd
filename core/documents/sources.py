"""Several databases that have a table of one name: whose rows a document's table takes, and what tells them apart."""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping

from core.errors import SourceError


def of_source(table: str, source: str) -> str:
    """What a table is called whose documents have their database in their id: `public.articles@shop:app`.

    Positions of two databases have no order, so what happens to a whole table, as its TRUNCATE, is of one alone.
    Raises SourceError where the event doesn't say.
    """
    if not source:
        raise SourceError(
            f"the event's source has no name, and documents.{table}.id_from_source tells databases apart by it: have "
            "the connector send its source block whole"
        )
    return f"{table}@{source}"


def named_table(table: str, named: Collection[str]) -> str:
    """Of the tables that a pipeline names the one that this is, with its database behind it or without.

    Raises ValueError where it is none of them.
    """
    return table if table in named else max((each for each in named if table.startswith(f"{each}@")), key=len)


def hold_to_first(first: MutableMapping[str, str], table: str, source: str) -> None:
    """Remember whose a table is, if it isn't known yet. An event that doesn't say is taken for its owner's.

    Raises SourceError where it is another's.
    """
    if source and first.setdefault(table, source) != source:
        raise SourceError(
            f"{_cut(table)} is {_cut(first[table])}'s, and this event is {_cut(source)}'s: {_TWO}. {_REMEDY}"
        )


def two_databases(found: Mapping[str, set[str]]) -> list[str]:
    """A problem for each table whose events are of several databases, before any was read."""
    return [
        f"{table} comes from {' and '.join(map(_cut, sorted(names)))}: {_TWO}. {_REMEDY}"
        for table, names in found.items()
        if len(names) > 1
    ]


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else name[:_LONGEST] + "…"


_LONGEST = 100
_TWO = "two databases (source.name and source.db) have a table of this name, and rows of one would replace the other's"
_REMEDY = (
    "Have source.kafka name the topics of one alone, a pipeline a database; or set documents.….id_from_source: true, "
    "which puts the database into each document's id"
)
