"""`freshet test`: the linter, the type checker, then the tests, as they must pass before a change is taken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from core.errors import FreshetError

_ROOT = Path(__file__).parents[1]

CHECKS = (("ruff", "check"), ("ruff", "format", "--check"), ("mypy",))
"""What comes before the tests; .pre-commit-config.yaml has the same."""

CONTEXT = {"ignore_unknown_options": True}
"""How the command is mounted: what isn't an option of ours is pytest's."""


def test(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="PYTEST_ARGS", help="Go to pytest.")] = None,
) -> None:
    """Check the code with ruff and mypy, then run the tests on real servers; stops at the first that fails."""
    if not (_ROOT / "tests").is_dir():
        raise FreshetError(f"{_ROOT} has no tests: `freshet test` runs in a checkout of the repository")
    for command in (*CHECKS, ("pytest", *(arguments or ()))):
        typer.echo(f"freshet test: {' '.join(command)}", err=True)
        code = subprocess.call([sys.executable, "-m", *command], cwd=_ROOT)
        if code:
            raise typer.Exit(code)
