"""The tables of the pgvector store: made where they are missing, looked at where they are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql

from connectors.pgvector import sql as statements
from connectors.pgvector.layout import MOST_DIMENSIONS, Layout, described, required, rows_before
from core.config.store import NO_WORDS, VectorType
from core.errors import ConfigError

SETTING = "store.pgvector"


@dataclass(frozen=True, slots=True)
class Shape:
    """How a table must be: its name as the file has it and in the statements' braces, dimension, layout, server."""

    table: str
    names: Mapping[str, sql.Composable]
    dimension: int
    layout: Layout
    server: str

    @property
    def columns(self) -> dict[str, str]:
        """Name to type, as `format_type` writes it."""
        return statements.columns(self.dimension, self.layout.vector_type)


def make(connection: psycopg.Connection[Any], shape: Shape) -> None:
    """Make what is missing: extension, table, indexes, ledger.

    Raises ConfigError where the table there has other columns, another dimension, or an index that isn't as it must be.
    """
    names = shape.names
    with connection.transaction():
        connection.execute(statements.ONE_AT_A_TIME)
        _make_extension(connection, shape.server)
        existing = dict(connection.execute(statements.COLUMNS.format(**names)).fetchall())
        if existing:
            _check_columns(existing, shape)
        else:
            connection.execute(statements.CREATE_TABLE.format(**names, dimension=sql.Literal(shape.dimension)))
        if shape.layout.has_words:
            _check_config(connection, shape.layout.text_search_config)
        _make_index(connection, shape)
        words = statements.INDEX_OF_WORDS if shape.layout.has_words else statements.NO_INDEX_OF_WORDS
        for probe, create in (*statements.PARTS, words):
            if not connection.execute(probe.format(**names)).fetchall():
                connection.execute(create.format(**names))
    register_vector(connection)


def look(connection: psycopg.Connection[Any], shape: Shape) -> bool:
    """Whether table and ledger are there. Where they aren't, they are made in a transaction that is rolled back.

    Raises as `make` does.
    """
    existing = dict(connection.execute(statements.COLUMNS.format(**shape.names)).fetchall())
    if existing:
        _check_columns(existing, shape)
        _check_index(connection, shape)
    there = sql.SQL("SELECT to_regclass({ledger_name}) IS NOT NULL")
    ledger = connection.execute(there.format(**shape.names)).fetchall()
    if existing and ledger[0][0]:
        return True
    # an index of chunks that are there is not made for a look
    if not existing:
        with connection.transaction(force_rollback=True):
            make(connection, shape)
    return False


def bereft(connection: psycopg.Connection[Any], names: Mapping[str, sql.Composable]) -> int:
    """See `VectorStore.bereft`."""
    there = sql.SQL("SELECT to_regclass({table_name}) IS NOT NULL, to_regclass({ledger_name}) IS NOT NULL")
    ((table, ledger),) = connection.execute(there.format(**names)).fetchall()
    if not ledger or (table and connection.execute(statements.ANY_CHUNK.format(**names)).fetchall()[0][0]):
        return 0
    return int(connection.execute(statements.LIVING.format(**names)).fetchall()[0][0])


def _make_extension(connection: psycopg.Connection[Any], server: str) -> None:
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    (version,) = connection.execute(statements.VERSION).fetchall()[0]
    if [int(part) for part in version.split(".")[:2]] < [0, 8]:
        raise ConfigError(
            [
                f"{SETTING}.dsn: {server} has pgvector {version}, Freshet needs 0.8 or later: "
                "run ALTER EXTENSION vector UPDATE"
            ]
        )


def _check_config(connection: psycopg.Connection[Any], config: str) -> None:
    there = [name for (name,) in connection.execute(statements.CONFIGURATIONS).fetchall()]
    if config not in there:
        has = f"it has {', '.join(there)}; {NO_WORDS} is no index of words"
        problem = f"the database has no such text search configuration; {has}"
        raise ConfigError([f"{SETTING}.text_search_config is {config!r}: {problem}"])


def set_up(connection: psycopg.Connection[Any]) -> None:
    """What each new connection needs."""
    if connection.execute(statements.VERSION).fetchall():
        register_vector(connection)


def indexable(dimension: int, kind: VectorType) -> int:
    """The dimension. Raises ConfigError where pgvector can't index so many."""
    most = MOST_DIMENSIONS[kind]
    if not 0 < dimension <= most:
        wider = max(MOST_DIMENSIONS.values())
        way = "set store.pgvector.vector_type: halfvec" if most < dimension <= wider else "choose another"
        raise ConfigError(
            [f"embedding.model has {dimension} dimensions, pgvector indexes up to {most} of type {kind}: {way}"]
        )
    return dimension


def _make_index(connection: psycopg.Connection[Any], shape: Shape) -> None:
    if _check_index(connection, shape):
        return
    least = rows_before(shape.layout.index)
    ((there,),) = connection.execute(statements.MANY.format(**shape.names), [least]).fetchall()
    if there >= least:
        connection.execute(statements.CREATE_VECTOR_INDEX.format(**shape.names))


def _check_index(connection: psycopg.Connection[Any], shape: Shape) -> bool:
    """Whether there is an index over the vectors. Raises ConfigError where none of them is as the file states it."""
    there = connection.execute(statements.VECTOR_INDEX.format(**shape.names)).fetchall()
    method, _ = described(shape.layout.index)
    wanted = required(shape.layout.index)
    for _, kind, options in there:
        has = dict(option.split("=", 1) for option in options)
        if kind == method and all(has.get(name) == str(value) for name, value in wanted.items()):
            return True
    if there and (wanted or all(kind != method for _, kind, _ in there)):
        seen = " and ".join(f"{name} ({kind}: {', '.join(options) or 'its defaults'})" for name, kind, options in there)
        stated = ", ".join(f"{name}={value}" for name, value in wanted.items()) or "whatever its options"
        raise ConfigError(
            [
                f"{SETTING}.index: {shape.table} has the index {seen}, the pipeline file says {method}: {stated}: "
                "drop the index, so that the next run makes it anew, or write in the file what is there"
            ]
        )
    return bool(there)


def _check_columns(seen: Mapping[str, str], shape: Shape) -> None:
    expected, table = shape.columns, shape.table
    kind, _, size = seen.get("embedding", "").partition("(")
    if kind in MOST_DIMENSIONS and kind != shape.layout.vector_type:
        raise ConfigError(
            [
                f"{SETTING}.vector_type is {shape.layout.vector_type}, and {table} has embedding {kind}({size}: "
                f"set vector_type: {kind}, name another table, or drop this one"
            ]
        )
    if kind in MOST_DIMENSIONS and seen["embedding"] != expected["embedding"]:
        raise ConfigError(
            [
                f"{SETTING}.table: {table} has embedding {seen['embedding']}, the model {expected['embedding']}: "
                "name another table, drop this one, or choose the model that made it"
            ]
        )
    wrong = [
        f"{name} {seen.get(name, 'missing')} (needed: {kind})"
        for name, kind in expected.items()
        if seen.get(name) != kind
    ]
    if wrong:
        raise ConfigError(
            [f"{SETTING}.table: {table} is not a table of Freshet's: {', '.join(wrong)}: name another table"]
        )
