"""`freshet test`: the linter, the type checker, then the tests, as they must pass before a change is taken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Annotated

import typer

from cli.concerned import changed_since, concerned
from core.errors import FreshetError

app = typer.Typer(add_completion=False)

_ROOT = Path(__file__).parents[1]

CHECKS = (("ruff", "check"), ("ruff", "format", "--check"), ("mypy",))
"""What comes before the tests, the last beside them; .pre-commit-config.yaml has the same."""

PURE = ("tests/core", "tests/test_house.py")
"""The tests that need no server."""

_LOOKS_S = 0.2

_Process = subprocess.Popen[bytes]

QUICK = "FRESHET_QUICK"
"""The variable by which laws know that they need not try so hard."""


# what isn't an option of ours is pytest's
@app.command(context_settings={"ignore_unknown_options": True})
def test(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="PYTEST_ARGS", help="Go to pytest.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Run the pure tests alone, and those of the files changed, without jobs.")
    ] = False,
    since: Annotated[
        str, typer.Option("--since", metavar="REVISION", help="With --quick: the files changed since then.")
    ] = "HEAD",
) -> None:
    """Check the code with ruff and mypy, and run the tests on real servers; stops at the first that fails."""
    if not (_ROOT / "tests").is_dir():
        raise FreshetError(f"{_ROOT} has no tests: `freshet test` runs in a checkout of the repository")
    if find_spec("pytest") is None or find_spec("mypy") is None:
        raise FreshetError("what the tests take isn't installed: `./freshet test`, in the checkout, gets it first")
    # a run starts Python hundreds of times, and with this variable each start would compile our modules anew
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    tests = list(arguments or ())
    if quick:
        environment[QUICK] = "1"
        tests = [*_quick(since), *tests]
    *first, types = CHECKS
    for command in first:
        if code := _begun(command, environment).wait():
            raise typer.Exit(code)
    with tempfile.TemporaryFile() as said:
        if code := both(_begun(types, environment, said), _begun(("pytest", *tests), environment)):
            said.seek(0)
            typer.echo(said.read(), err=True)
            raise typer.Exit(code)


def _begun(command: Sequence[str], environment: Mapping[str, str], said: IO[bytes] | None = None) -> _Process:
    typer.echo(f"freshet test: {' '.join(command)}", err=True)
    words = [sys.executable, "-m", *command]
    return subprocess.Popen(words, cwd=_ROOT, env=environment, stdout=said, stderr=said and subprocess.STDOUT)


def both(types: _Process, tests: _Process) -> int:
    """The exit code of two that run at once: of the type checker, which ends the tests where it fails, else theirs."""
    try:
        while tests.poll() is None:
            if types.poll():
                tests.send_signal(signal.SIGINT)  # by which they stop their servers
                tests.wait()
            time.sleep(_LOOKS_S)
        return types.wait() or tests.returncode
    except KeyboardInterrupt:
        # the terminal has signalled both
        types.wait()
        return tests.wait()


def _quick(since: str) -> list[str]:
    """pytest's arguments for the pure tests and those that the changes since a revision concern."""
    files = [each for each in concerned(changed_since(since, _ROOT), _ROOT) if not each.startswith(PURE)]
    if files:
        typer.echo(f"freshet test: without jobs, which `./freshet test {' '.join(files)}` runs too", err=True)
    return ["-m", "not jobs", *PURE, *files]
