"""The unit for systemd that the documentation shows: well-formed, of settings that systemd knows."""

from __future__ import annotations

import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from cli.main import commands
from tests.pages import ROOT, blocks


@pytest.fixture(scope="module")
def unit() -> str:
    (found,) = (block for block in blocks(ROOT / "docs/operate.md") if block.language == "ini")
    assert found.title == "freshet@.service"
    return found.text


def parsed(text: str) -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def test_it_runs_a_pipeline_and_stops_it_so_that_a_savepoint_can_be_taken(unit: str) -> None:
    found = parsed(unit)
    assert found.sections() == ["Unit", "Service", "Install"]
    service = dict(found["Service"])
    program, command, file = service["ExecStart"].split()
    assert Path(program).name == "freshet" and file == "%i.yaml"
    assert command in {each.name or each.callback.__name__ for each in commands.registered_commands if each.callback}
    assert (service["KillMode"], service["Restart"]) == ("mixed", "on-failure")
    assert "KillSignal" not in service


def test_systemd_takes_each_of_its_settings(unit: str, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze here")
    true = shutil.which("true")
    text = unit.replace("/opt/freshet/.venv/bin/freshet", f"{true}").replace("User=freshet", "User=root")
    (tmp_path / "freshet@.service").write_text(text, encoding="utf-8")
    command = [analyze, "verify", "--man=no", str(tmp_path / "freshet@.service")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    ours = [line for line in checked.stderr.splitlines() if "freshet@" in line]
    assert ours == [], checked.stderr
