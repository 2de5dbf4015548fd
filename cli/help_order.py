"""The order in which `freshet --help` names the commands, and `freshet --version`."""

from __future__ import annotations

from importlib.metadata import version as installed
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

ORDER = (
    "demo", "stack", "init", "check", "run", "search", "status", "dead-letters", "verify",
    "produce", "backfill", "profile", "model", "bundle", "bench", "chaos", "test",
)  # fmt: skip


class InOrder(TyperGroup):
    """Commands in the order in which a user comes to need them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Those of ORDER first."""
        names = super().list_commands(ctx)
        return [*(name for name in ORDER if name in names), *(name for name in names if name not in ORDER)]


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
