"""`freshet --help` and `freshet --version`."""

from __future__ import annotations

from importlib.metadata import version

import typer
from typer.testing import CliRunner

from cli.help_order import ORDER
from cli.main import commands


def test_every_command_has_its_place_in_the_help() -> None:
    printed = CliRunner().invoke(commands, ["--help"]).output
    shown = [line.strip("│ ").split(" ")[0] for line in printed.splitlines() if line.startswith("│ ")]
    assert [name for name in shown if name in ORDER] == list(ORDER)
    assert set(typer.main.get_command(commands).commands) == set(ORDER)  # type: ignore[attr-defined]


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(commands, ["--version"]).output == f"freshet {version('freshet')}\n"
