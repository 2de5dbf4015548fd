"""`freshet init`: a first pipeline file for a table, from what its database says of it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from psycopg.conninfo import conninfo_to_dict
from rich.console import Console

from connectors.postgres.catalog import Table, catalog, without_password
from core.config import file as config_file
from core.config.first_pipeline import (
    PINECONE_KEY,
    Choice,
    Places,
    choice,
    is_named,
    name_of,
    prefix_of,
    store_of,
    topic_of,
    written,
)
from core.errors import ConfigError
from stack.layout import layout_of, remembered_ports
from stack.passfile import from_here
from terminal.plain import shown

app = typer.Typer(add_completion=False)

SOURCE_PASSWORD, STORE_PASSWORD = "DATABASE_PASSWORD", "STORE_PASSWORD"


@dataclass(frozen=True, slots=True)
class Servers:
    """Where a pipeline's servers are; "" where nobody has said. `store_dsn` may be NAME=WHERE, of another store."""

    dsn: str
    store_dsn: str
    bootstrap_servers: str


@app.command()
def init(
    file: Annotated[Path, typer.Argument(metavar="PIPELINE.YAML", help="The file to write.")] = Path("pipeline.yaml"),
    table: Annotated[
        str | None, typer.Option(metavar="SCHEMA.TABLE", help="The table whose rows become documents.")
    ] = None,
    dsn: Annotated[
        str | None, typer.Option(metavar="DSN", help="The database that it is in; else that of the stack here.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="DSN|NAME=WHERE",
            help="The database for the vectors, or another store, as in milvus=vectors.db; else the stack's here.",
        ),
    ] = None,
    bootstrap_servers: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="The Kafka of the changes; else that of the stack here.")
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(metavar="NAME", help="The connector's topic.prefix; else the database's name.")
    ] = None,
) -> None:
    """Write a pipeline file for a table, from its columns and its primary key; nothing is overwritten."""
    console = Console()
    if file.exists():
        raise ConfigError([_taken(file)])
    asked = _asker(sys.stdin.isatty())
    here = _here(Path())
    servers = Servers(
        dsn or here.dsn or asked("--dsn", "The database's connection string"),
        store or here.store_dsn or asked("--store", "The connection string of the database for the vectors"),
        bootstrap_servers or here.bootstrap_servers or asked("--bootstrap-servers", "Kafka, as host:port"),
    )
    wanted = table or asked("--table", "The table, as schema.table")
    with catalog(servers.dsn, "--dsn" if dsn else "this folder's stack") as database:
        found = database.table(wanted)
        topics = prefix or prefix_of(database.database)
    if why := found.keyless or found.identity.fault:
        raise ConfigError([why])
    chosen = choice(found.columns, found.key)
    if not chosen.text:
        raise ConfigError([f"{found.name} has no column of text: {', '.join(each.name for each in found.columns)}"])
    _write(file, _places(found, servers, topics), chosen)
    _tell(console, file, found, servers, chosen)


def _taken(file: Path) -> str:
    another = file.with_name(f"{file.stem}-2{file.suffix}")
    return f"{file} is there already, and nothing is overwritten: name another file, as in `freshet init {another}`"


def _asker(answers: bool) -> Callable[[str, str], str]:
    def asked(option: str, question: str) -> str:
        if not answers:
            how = "name the table, as in --table public.articles"
            if option != "--table":
                how = "name it, or have a stack in this folder, which knows it: `freshet stack up`"
            raise ConfigError([f"{option} is missing: {how}"])
        return str(typer.prompt(question))

    return asked


def _here(directory: Path) -> Servers:
    """What the directory's stack says, whether it runs or not; nothing where there never was one."""
    if remembered_ports(layout_of(directory)) is None:
        return Servers("", "", "")
    from stack import local as stack  # needs the extra `stack`

    there = stack.status(directory)
    dsn = from_here(there.postgres.dsn)
    return Servers(dsn, dsn, there.kafka.bootstrap_servers)


def _places(found: Table, servers: Servers, prefix: str) -> Places:
    name = name_of(found.name)
    where = servers.store_dsn
    if not is_named(where):
        same = conninfo_to_dict(servers.dsn) == conninfo_to_dict(where)
        where = without_password(where, SOURCE_PASSWORD if same else STORE_PASSWORD)[0]
    return Places(
        name,
        found.name,
        topic_of(prefix, found.name),
        servers.bootstrap_servers,
        without_password(servers.dsn, SOURCE_PASSWORD)[0],
        store_of(name, where),
    )


def _write(file: Path, places: Places, chosen: Choice) -> None:
    text = written(places, chosen)
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        raise ConfigError([_taken(file)]) from None
    except OSError as error:
        raise ConfigError([f"{file} can't be written: {error.strerror}"]) from None
    known = dict.fromkeys((SOURCE_PASSWORD, STORE_PASSWORD, PINECONE_KEY), "x")
    config_file.load(file, {**os.environ, **known})


def _tell(console: Console, file: Path, found: Table, servers: Servers, chosen: Choice) -> None:
    def say(line: str) -> None:
        console.print(line, soft_wrap=True, highlight=False)

    say(f"[green]wrote[/] {shown(str(file))}: {shown(found.name)} by {shown(', '.join(found.key))}")
    say(shown(f"text: {', '.join(chosen.text)}; metadata: {', '.join(chosen.metadata) or 'none'}"))
    for name, why in chosen.left.items():
        say(f"[yellow]not used[/]: {shown(f'{name} ({why})')}")
    of_store = () if is_named(servers.store_dsn) else ((STORE_PASSWORD, servers.store_dsn),)
    for variable, dsn in ((SOURCE_PASSWORD, servers.dsn), *of_store):
        if f"${{{variable}}}" in file.read_text(encoding="utf-8") and without_password(dsn, variable)[1]:
            say(f"[yellow]${variable}[/] is the password in it, which isn't written down: set it before you go on")
    if f"${{{PINECONE_KEY}}}" in file.read_text(encoding="utf-8"):
        say(f"[yellow]${PINECONE_KEY}[/] is the key in it, which isn't written down: set it before you go on")
    say(f"next: freshet run {shown(shlex.quote(str(file)))}")
