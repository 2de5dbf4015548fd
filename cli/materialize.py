"""`freshet materialize`: a store filled from a staged log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(add_completion=False)


@app.command()
def materialize(
    pipeline: Annotated[
        Path,
        typer.Argument(metavar="PIPELINE.YAML", exists=True, dir_okay=False, help="Names the log and the store."),
    ],
    to: Annotated[str | None, typer.Option(metavar="STORE", help="The store to fill; else the only one.")] = None,
    of: Annotated[
        str | None, typer.Option("--from", metavar="STORE", help="kafka or kinesis, where the file names both.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes, until Ctrl-C.")] = False,
) -> None:
    """Fill a store from what a pipeline stages to, and embed nothing; code 1 if it refuses documents."""
    from operations.materialize import materialize as filling
    from operations.pipeline_file import load
    from terminal.lines import printer
    from terminal.plain import shown

    console = Console()
    try:
        filled = filling(load(pipeline), to, printer(console), follow, of=of)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    for document, why in filled.refused:
        console.print(f"[red]refused[/] {shown(document)}: {shown(why)}", soft_wrap=True)
    console.print(
        f"materialized: {filled.documents:,} documents, {filled.chunks:,} chunks; {filled.deleted:,} deleted, "
        f"{filled.stale:,} stale, {filled.ghosts:,} ghosts removed, {len(filled.refused):,} refused",
        soft_wrap=True,
    )
    raise typer.Exit(1 if filled.refused else 0)
