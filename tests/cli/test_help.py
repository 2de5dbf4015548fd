"""`freshet --help` and `freshet --version`."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from typing import Any

from typer.main import get_command
from typer.testing import CliRunner

from cli.groups import MODULES, ORDER
from cli.main import commands


def test_every_command_has_its_place_in_the_help() -> None:
    printed = CliRunner().invoke(commands, ["--help"]).output
    shown = [line.strip("│ ").split(" ")[0] for line in printed.splitlines() if line.startswith("│ ")]
    assert [name for name in shown if name in ORDER] == list(ORDER)
    listed: Any = get_command(commands)
    assert set(listed.list_commands(None)) == set(ORDER)


def test_the_list_says_what_the_commands_say_of_themselves() -> None:
    whole: Any = get_command(commands)
    said = {name: str(whole.get_command(None, name).help).strip().partition("\n")[0] for name in MODULES}
    assert said == {name: line for name, (_, line) in MODULES.items()}


def test_the_version_is_shown() -> None:
    assert CliRunner().invoke(commands, ["--version"]).output == f"freshet {version('freshet')}\n"


def test_a_command_loads_no_other_ones_modules() -> None:
    asked = "import sys, cli.main; cli.main.commands(['stack', '--help'], standalone_mode=False); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    assert {"stack.local", "typer"} <= set(loaded)
    assert {"numpy", "pyflink", "cli.bundle", "cli.produce"}.isdisjoint(loaded)
