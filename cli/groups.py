"""The commands of `freshet`: their order in `--help`, and the modules of those that aren't in `cli/main.py`.

A command's module is imported when the command is typed: all of them take a second, of which most commands need half.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version as installed
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

ORDER = (
    "demo", "stack", "init", "check", "run", "search", "status", "dead-letters", "verify",
    "produce", "backfill", "materialize", "profile", "serve", "serve-key", "mcp", "model", "bundle", "compose", "bench",
    "chaos", "test",
)  # fmt: skip

MODULES = {
    "stack": ("cli.stack_command", "Real PostgreSQL, Kafka and Debezium on this machine."),
    "init": (
        "cli.init",
        "Write a pipeline file for a table, from its columns and its primary key; nothing is overwritten.",
    ),
    "status": (
        "cli.status",
        "Show the pipeline's job as it runs: changes a second, lag, dead letters, checkpoints; code 1 if none runs.",
    ),
    "dead-letters": ("cli.dead_letters", "Events that could not be used: list, show or replay them."),
    "produce": (
        "cli.produce",
        "Write changes: a recording to Kafka as it was, or generated inserts, edits and deletes of real texts.",
    ),
    "materialize": (
        "cli.materialize",
        "Fill a store from what a pipeline stages to, and embed nothing; code 1 if it refuses documents.",
    ),
    "profile": ("cli.profile", "Ask who is who, of a pipeline of profiles."),
    "serve": (
        "cli.serve",
        "Answer searches and questions for documents and profiles over HTTP. Ends on SIGTERM or Ctrl-C.",
    ),
    "serve-key": ("cli.serve_key", "The keys that `freshet serve` lets in."),
    "mcp": (
        "cli.mcp",
        "Answer an agent's calls over stdin and stdout, by MCP, as the key in FRESHET_KEY may see. Ends with stdin.",
    ),
    "model": ("cli.model", "The embedding model as a server."),
    "bundle": ("cli.bundle", "Pack a pipeline's job into the zip that Managed Service for Apache Flink takes."),
    "compose": ("cli.compose", "Run a Compose file's services without Docker, to a search."),
    "test": (
        "cli.testing",
        "Check the code with ruff and mypy, and run the tests on real servers; stops at the first that fails.",
    ),
}
"""Where the `app` of a command or of a group of commands is, and what `freshet --help` says of it."""


class Main(TyperGroup):
    """Commands in the order in which a user comes to need them."""

    _lists = False

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The list of commands, for which none of their modules is loaded."""
        self._lists = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._lists = False

    def list_commands(self, ctx: Any) -> list[str]:
        """Those of ORDER first."""
        names = [*super().list_commands(ctx), *MODULES]
        return [*(name for name in ORDER if name in names), *(name for name in names if name not in ORDER)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command by its name; None where there is none."""
        if cmd_name not in MODULES:
            return super().get_command(ctx, cmd_name)
        module, said = MODULES[cmd_name]
        if self._lists:
            return TyperCommand(cmd_name, help=said)
        found = typer.main.get_command(import_module(module).app)
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
