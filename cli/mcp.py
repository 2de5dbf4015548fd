"""`freshet mcp`: what `freshet serve` answers, as tools over stdin and stdout."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def mcp(
    file: Annotated[Path, typer.Argument(metavar="SERVE.YAML", help="The file that says what is served.")],
) -> None:
    """Answer an agent's calls over stdin and stdout, by MCP, as the key in FRESHET_KEY may see. Ends with stdin."""
    # imported late: an extra's, and model and clients take long to load
    from serving.tools.stdio import answer

    answer(file, os.environ.get("FRESHET_KEY", ""), partial(typer.echo, err=True))
