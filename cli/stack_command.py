"""`freshet stack`: the local servers, started, shown and stopped."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from cli.stack_connecting import connect
from operations.folder_lock import runs_at
from operations.job_file import PIPELINES
from stack import local as stack
from stack.passfile import from_here
from terminal.plain import shown

app = typer.Typer(name="stack", help="Real PostgreSQL, Kafka and Debezium on this machine.", no_args_is_help=True)

_Directory = Annotated[
    Path, typer.Option("--dir", help="The folder whose .freshet/stack has the data.", file_okay=False)
]


@app.command()
def up(
    directory: _Directory = Path(),
    extra: Annotated[
        list[stack.Extra] | None,
        typer.Option("--with", help="Another server to have in this stack from now on.", show_default=False),
    ] = None,
) -> None:
    """Starts every server that doesn't run; they go on after this command."""
    console = Console()
    with console.status("Bringing the stack up"):
        now = stack.up(directory, console.print, extra=extra or ())
    _show(now, console)


@app.command()
def status(
    directory: _Directory = Path(), as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False
) -> None:
    """Shows what runs, where and with which connection strings; code 1 where one doesn't, or a connector failed."""
    now = stack.status(directory)
    if as_json:
        typer.echo(json.dumps(_json(now), default=str, indent=2))
    else:
        _show(now, Console())
    if not now.running or now.connect.failed:
        raise typer.Exit(1)


@app.command()
def down(
    directory: _Directory = Path(), wipe: Annotated[bool, typer.Option("--wipe", help="Delete the data too.")] = False
) -> None:
    """Stops the servers; their data stays, unless --wipe."""
    console = Console()
    with console.status("Stopping the stack"):
        stopped = stack.down(directory, wipe)
    console.print(f"Stopped: {', '.join(stopped)}" if stopped else "Nothing ran")
    if wipe:
        console.print("Deleted its data")
    if stopped and (running := _running(directory)):
        waits = "its servers are gone: Ctrl-C ends it, `freshet stack up` has it go on"
        for name in running:
            console.print(f"[yellow]{shown(name)} still runs, and {waits}[/]", soft_wrap=True)


def _running(directory: Path) -> list[str]:
    """The pipelines that a process runs in the stack's folder."""
    folders = sorted((directory / PIPELINES).glob("*"))
    return [f"{folder.name} (pid {pid})" for folder in folders if (pid := runs_at(folder)) is not None]


app.command()(connect)


def _json(now: stack.Stack) -> dict[str, object]:
    found: dict[str, object] = {
        "folder": now.folder,
        "postgres": {"dsn": now.postgres.dsn, **asdict(now.postgres.server)},
        "kafka": {"bootstrap_servers": now.kafka.bootstrap_servers, **asdict(now.kafka.server)},
        "connect": {
            "url": now.connect.url,
            **asdict(now.connect.server),
            "failed": [asdict(each) for each in now.connect.failed],
        },
    }
    if now.opensearch is not None:
        found["opensearch"] = {"url": now.opensearch.url, **asdict(now.opensearch.server)}
    if now.aws is not None:
        found["aws"] = {"endpoint": now.aws.endpoint, **asdict(now.aws.server)}
    return found


def _show(now: stack.Stack, console: Console) -> None:
    table = Table(box=box.SIMPLE, caption=shown(f"data and logs: {now.folder}"), caption_justify="left")
    for title in ("server", "state", "pid", "memory", "connect with"):
        table.add_column(title, no_wrap=True, justify="right" if title in ("pid", "memory") else "left")
    rows: list[tuple[str, stack.Server, str]] = [
        ("PostgreSQL", now.postgres.server, from_here(now.postgres.dsn)),
        ("Kafka", now.kafka.server, now.kafka.bootstrap_servers),
        ("Kafka Connect", now.connect.server, now.connect.url),
    ]
    if now.opensearch is not None:
        rows.append(("OpenSearch", now.opensearch.server, now.opensearch.url))
    if now.aws is not None:
        rows.append(("AWS (moto)", now.aws.server, now.aws.endpoint))
    for title, server, address in rows:
        table.add_row(title, *_process(server), address)
    # wider than the terminal if it must be: an address that is cut or folded can't be copied
    longest = max(len(address) for *_, address in rows)
    Console(width=max(console.width, 100 + longest)).print(table)
    for each in now.connect.failed:
        console.print(f"[red]{shown(str(each))}[/]", soft_wrap=True, highlight=False)


def _process(server: stack.Server) -> tuple[str, str, str]:
    if server.pid is None:
        return "[red]stopped", "", ""
    state = "[green]running" if server.running else "[yellow]not answering"
    return state, str(server.pid), f"{server.memory / 2**20:.0f} MiB"
