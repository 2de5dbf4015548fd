"""A source's database restored on a new server, whose log begins anew: its positions are lower than those of before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from chaos.feed import Place
from stack import passfile, postgres, process
from stack.layout import HERE, Layout, free_port, layout_of, prepare


def copy(place: Place, dsn: str, tables: Sequence[str], names: Sequence[str]) -> str:
    """Start a new server with a copy of the tables; its dsn. `tables` make them, `names` are `schema.table`.

    Raises FreshetError where the server doesn't come up.
    """
    folder = place.stack.folder.parents[1]
    stop(folder)
    layout, port = _layout(folder), free_port()
    prepare(layout)
    postgres.start(layout, port, lambda _: None)
    if (password := passfile.password_of(layout.passfile, postgres.USER)) is not None:
        passfile.remember(layout_of(folder).connects_passfile, HERE, str(port), postgres.USER, password)
    with psycopg.connect(postgres.dsn(layout, port), autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(place.name)))
    # of the same name as before, as a restored database is
    new = postgres.dsn(layout, port, place.name)
    with psycopg.connect(dsn) as source, psycopg.connect(new) as target:
        for statement in tables:
            target.execute(statement.encode())
        for name in names:
            _copy(source, target, sql.Identifier(*name.split(".")))
    return new


def _copy(source: psycopg.Connection, target: psycopg.Connection, table: sql.Identifier) -> None:
    out = sql.SQL("COPY {} TO STDOUT (FORMAT binary)").format(table)
    into = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(table)
    with source.cursor().copy(out) as rows, target.cursor().copy(into) as copied:
        for row in rows:
            copied.write(row)


def stop(folder: Path) -> None:
    """Stop the server of the chaos run in `folder` and delete its data, if there is one."""
    layout = _layout(folder)
    if layout.folder.exists():
        process.stop(postgres.service(layout))
        postgres.wipe(layout)


def _layout(folder: Path) -> Layout:
    return Layout(layout_of(folder).folder / "restored")
