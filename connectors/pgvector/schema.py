"""The tables of the pgvector store: made where they are missing, looked at where they are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql

from connectors.pgvector import sql as statements
from core.errors import ConfigError

SETTING = "store.pgvector"
_MOST_DIMENSIONS = 2000  # what an HNSW index on `vector` takes (pgvector's README, "HNSW")


def make(
    connection: psycopg.Connection[Any], names: Mapping[str, sql.Composable], table: str, dimension: int, server: str
) -> None:
    """Make what is missing: extension, table, indexes, ledger.

    Raises ConfigError where the table there has other columns or another dimension.
    """
    with connection.transaction():
        connection.execute(statements.ONE_AT_A_TIME)
        _make_extension(connection, server)
        existing = dict(connection.execute(statements.COLUMNS.format(**names)).fetchall())
        if existing:
            _check_columns(existing, statements.columns(dimension), table)
        else:
            connection.execute(statements.CREATE_TABLE.format(**names, dimension=sql.Literal(dimension)))
        _check_config(connection, names["config"].as_string(None).strip("'"))
        for probe, create in statements.PARTS:
            if not connection.execute(probe.format(**names)).fetchall():
                connection.execute(create.format(**names))
    register_vector(connection)


def look(
    connection: psycopg.Connection[Any], names: Mapping[str, sql.Composable], table: str, dimension: int, server: str
) -> bool:
    """Whether table and ledger are there. Where they aren't, they are made in a transaction that is rolled back.

    Raises as `make` does.
    """
    existing = dict(connection.execute(statements.COLUMNS.format(**names)).fetchall())
    if existing:
        _check_columns(existing, statements.columns(dimension), table)
    ledger = connection.execute(sql.SQL("SELECT to_regclass({ledger_name}) IS NOT NULL").format(**names)).fetchall()
    if existing and ledger[0][0]:
        return True
    # an index of chunks that are there is not made for a look
    if not existing:
        with connection.transaction(force_rollback=True):
            make(connection, names, table, dimension, server)
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
        problem = f"the database has no such text search configuration; it has {', '.join(there)}"
        raise ConfigError([f"{SETTING}.text_search_config is {config!r}: {problem}"])


def set_up(connection: psycopg.Connection[Any]) -> None:
    """What each new connection needs."""
    if connection.execute(statements.VERSION).fetchall():
        register_vector(connection)


def indexable(dimension: int) -> int:
    """The dimension. Raises ConfigError where pgvector can't index so many."""
    if not 0 < dimension <= _MOST_DIMENSIONS:
        raise ConfigError(
            [f"embedding.model has {dimension} dimensions, pgvector indexes up to {_MOST_DIMENSIONS}: choose another"]
        )
    return dimension


def _check_columns(seen: Mapping[str, str], expected: Mapping[str, str], table: str) -> None:
    if seen.get("embedding", "").startswith("vector(") and seen["embedding"] != expected["embedding"]:
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
