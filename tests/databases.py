"""Connection strings of the test servers' other databases and users."""

from __future__ import annotations

from urllib.parse import quote
from uuid import uuid4

import psycopg
from psycopg import sql


def in_database(dsn: str, name: str) -> str:
    """The same server and user, and another database."""
    address, _, parameters = dsn.partition("?")
    return f"{address.rpartition('/')[0]}/{name}?{parameters}".rstrip("?")


def new_database(dsn: str, name: str) -> str:
    """A database of this name, made now on the server: its connection string."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return in_database(dsn, name)


def with_parameter(dsn: str, name: str, value: str) -> str:
    """The same with one more parameter."""
    return f"{dsn}{'&' if '?' in dsn else '?'}{name}={quote(value)}"


def as_user(dsn: str, password: str, rights: str = "SUPERUSER") -> str:
    """The same database, by a user made now whose password is in the connection string, as people have it."""
    name = f"u{uuid4().hex[:8]}"
    made = sql.SQL("CREATE ROLE {} LOGIN {} PASSWORD {}").format(
        sql.Identifier(name),
        sql.SQL(rights),  # type: ignore[arg-type]
        sql.Literal(password),
    )
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(made)
    return dsn.replace("freshet@", f"{name}:{quote(password, safe='')}@").partition("?")[0]
