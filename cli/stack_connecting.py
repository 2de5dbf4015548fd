"""`freshet stack connect`: has the stack's Debezium report the changes of tables."""

from __future__ import annotations

import shlex
from hashlib import blake2b
from pathlib import Path
from typing import Annotated

import typer
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from rich.console import Console

from connectors.kafka.producer import ensure_topics
from connectors.postgres.catalog import Catalog, Table, catalog
from core.config.first_pipeline import prefix_of, topic_of
from core.errors import ConfigError
from stack import local as stack
from stack import passfile
from stack.connect import database_of, register_postgres, same_database
from stack.layout import HERE, Layout, layout_of
from terminal.plain import shown

_LONGEST = 55


def connect(
    tables: Annotated[list[str], typer.Argument(metavar="SCHEMA.TABLE…", help="The tables to report the changes of.")],
    dsn: Annotated[
        str | None, typer.Option(metavar="DSN", help="The database that they are in; else the stack's own.")
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the topics' names begin with; else the database's name.")
    ] = None,
    directory: Annotated[
        Path, typer.Option("--dir", help="The folder whose .freshet/stack has the data.", file_okay=False)
    ] = Path(),
) -> None:
    """Has Debezium send the tables' rows, and then their changes, to a topic each; can be repeated."""
    console = Console()
    here = stack.status(directory)
    if not here.connect.server.running or not here.kafka.server.running:
        raise ConfigError(["Kafka and Kafka Connect of this folder's stack don't run: `freshet stack up` starts them"])
    source = dsn or here.postgres.dsn
    with catalog(source, "--dsn" if dsn else "this folder's stack") as database:
        found = [database.table(each) for each in tables]
        topics = prefix or prefix_of(database.database)
        _refuse(found, database.wal_level(), database.server)
        if dsn is not None:
            source = _without_secret(database, dsn, layout_of(directory))
    for table in found:
        topic = topic_of(topics, table.name)
        with console.status(f"Connecting {table.name}"):
            made = _registered(here, source, topics, table, topic)
        how = "reports" if made else "reported already"
        line = f"[green]✓[/] {shown(table.name)}: Debezium {how} its changes to topic [bold]{shown(topic)}[/]"
        console.print(line, soft_wrap=True, highlight=False)
        if not table.key:
            console.print(f"[yellow]{shown(table.keyless)}[/]", soft_wrap=True, highlight=False)
    more = f" --prefix {shlex.quote(prefix)}" if prefix else ""
    more += " --dsn …" if dsn else ""
    asked = shown(f"freshet init --table {shlex.quote(found[0].name)}{more}")
    console.print(f"next: {asked}", soft_wrap=True, highlight=False)


def _without_secret(database: Catalog, dsn: str, of: Layout) -> str:
    """The connection string without the password, which goes to where Connect looks: its REST answers don't have it."""
    info = database.connection.info
    host = str(conninfo_to_dict(dsn).get("host") or HERE)
    if info.password:
        passfile.remember(of.connects_passfile, host, str(info.port), info.user, info.password)
    return make_conninfo(host=host, port=info.port, user=info.user, dbname=info.dbname)


def _refuse(found: list[Table], wal_level: str, server: str) -> None:
    # PostgreSQL refuses UPDATE and DELETE on a published table whose rows nothing identifies
    wrong = [table.keyless for table in found if not table.key and table.identity.kind == "d"]
    wrong += [table.identity.fault for table in found if table.identity.fault]
    if wal_level != "logical":
        wrong.append(f"PostgreSQL at {server} has wal_level {wal_level}: set it to logical, and restart the server")
    if wrong:
        raise ConfigError(wrong)


def _registered(here: stack.Stack, dsn: str, prefix: str, table: Table, topic: str) -> bool:
    # a connector a table: one that is given another table later would not snapshot it
    name = connector_of(prefix, table.name)
    there = database_of(here.connect.url, name)
    if there and not same_database(dsn, there):
        raise ConfigError(
            [f"connector {name} is of the database {there} already: give this one's topics another name by --prefix"]
        )
    # an empty table's topic would be made with its first row, and nobody could tell it from a misspelt one
    ensure_topics(here.kafka.bootstrap_servers, {topic: 1})
    return register_postgres(here.connect.url, name, dsn, prefix, [table.name], heartbeats_to=topic)


def connector_of(prefix: str, table: str) -> str:
    """What a table's connector is called; after it its slot and its publication, in letters that those may have."""
    plain = topic_of(prefix, table)
    slot = plain.replace(".", "_").replace("-", "_")
    exact = f"{prefix}.{table}" == plain and slot == slot.lower() and len(slot) <= _LONGEST
    return (
        plain
        if exact
        else f"{plain[: _LONGEST - 9]}-{blake2b(f'{prefix}.{table}'.encode(), digest_size=4).hexdigest()}"
    )
