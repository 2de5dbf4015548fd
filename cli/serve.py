"""`freshet serve`: searches, documents and profiles over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    file: Annotated[Path, typer.Argument(metavar="SERVE.YAML", help="The file that says what is served.")],
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0: every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: one that is free.")] = 8090,
) -> None:
    """Answer searches and questions for documents and profiles over HTTP. Ends on SIGTERM or Ctrl-C."""
    # imported late: an extra's, and model and clients take long to load
    from serving.serve import serve as serving

    serving(file, host, port, typer.echo)
