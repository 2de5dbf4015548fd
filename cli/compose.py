"""`freshet compose`: what docker-compose.yaml starts, here without Docker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.errors import ConfigError

app = typer.Typer(add_completion=False)


@app.command()
def compose(
    file: Annotated[
        Path, typer.Argument(metavar="COMPOSE.YAML", exists=True, dir_okay=False, help="The Compose file.")
    ] = Path("docker-compose.yaml"),
    rehearse: Annotated[bool, typer.Option("--rehearse", help="Run its services as processes here.")] = False,
    question: Annotated[
        str, typer.Option(metavar="TEXT", help="What to search for when all services run.")
    ] = "What happens when an assertion fails?",
) -> None:
    """Run a Compose file's services without Docker, to a search."""
    if not rehearse:
        raise ConfigError(["give --rehearse; with a Docker engine, `docker compose up --wait` starts the file"])
    from operations.containers.rehearsal import rehearse as run_it

    raise typer.Exit(run_it(file, question, "terminal.containers"))
