"""The commands of `freshet`: their order in `--help`, and the modules of those that aren't in `cli/main.py`.

A command's module is imported when the command is typed: all of them take a second, of which most commands need half.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version as installed
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

ORDER = (
    "demo", "stack", "init", "check", "run", "search", "status", "dead-letters", "verify",
    "produce", "backfill", "profile", "model", "bundle", "compose", "bench", "chaos", "test",
)  # fmt: skip

MODULES = {
    "stack": "cli.stack_command",
    "init": "cli.init",
    "status": "cli.status",
    "dead-letters": "cli.dead_letters",
    "produce": "cli.produce",
    "profile": "cli.profile",
    "model": "cli.model",
    "bundle": "cli.bundle",
    "compose": "cli.compose",
    "test": "cli.testing",
}
"""Where the `app` of a command or of a group of commands is."""


class Main(TyperGroup):
    """Commands in the order in which a user comes to need them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Those of ORDER first."""
        names = [*super().list_commands(ctx), *MODULES]
        return [*(name for name in ORDER if name in names), *(name for name in names if name not in ORDER)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command by its name; None where there is none."""
        if cmd_name not in MODULES:
            return super().get_command(ctx, cmd_name)
        found = typer.main.get_command(import_module(MODULES[cmd_name]).app)
        found.name = cmd_name
        return found


def _show(wanted: bool) -> None:
    if wanted:
        typer.echo(f"freshet {installed('freshet')}")
        raise typer.Exit()


def version(
    _: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show)
    ] = False,
) -> None:
    """Vector stores as fresh as the databases they come from."""
