"""`freshet serve-key`: the keys of a server's file of keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(name="serve-key", help="The keys that `freshet serve` lets in.", no_args_is_help=True)


@app.callback()
def serve_key() -> None:
    """The keys that `freshet serve` lets in."""


@app.command()
def add(
    file: Annotated[Path, typer.Argument(metavar="KEYS.YAML", help="The file of keys; made where it isn't there.")],
    name: Annotated[str, typer.Option(help="Whose the key is.")],
    index: Annotated[list[str], typer.Option(help="An index that it is for; can be given again.")] = [],  # noqa: B006
    only: Annotated[str, typer.Option("--filter", metavar="JSON", help="It sees what passes this alone.")] = "{}",
    profiles: Annotated[bool, typer.Option("--profiles", help="It is for profiles too.")] = False,
    kpis: Annotated[bool, typer.Option("--kpis", help="It is for KPIs too, those of every tenant.")] = False,
    metrics: Annotated[bool, typer.Option("--metrics", help="It is for the server's own figures too.")] = False,
    per_minute: Annotated[int | None, typer.Option(min=1, metavar="N", help="So many requests at most.")] = None,
) -> None:
    """Make a key, print it this once, and write its hash into the file."""
    from serving.keys import add as adding

    only_if = {"profiles": profiles, "kpis": kpis, "metrics": metrics, "filter": only, "per_minute": per_minute}
    typer.echo(adding(file, name, {"indexes": index, **only_if}))
