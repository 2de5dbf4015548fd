"""Modules that a later job of the same process imports, whose first job's files are gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_TWO_JOBS = """
import shutil, sys
from flink_jobs.engine.modules import find_in_later_jobs

sys.path.insert(0, {first!r})
import core.imported_first
if {finds}:
    find_in_later_jobs()
    find_in_later_jobs()
shutil.rmtree({first!r})
sys.path.insert(0, {second!r})
import core.imported_later
import core.deeper.imported_later as deeper
import connectors.imported_later
print(core.imported_later.JOB, deeper.JOB, connectors.imported_later.JOB, len(sys.meta_path))
"""


def job(folder: Path, name: str) -> str:
    place = folder / name
    for package in ("core", "core/deeper", "connectors"):
        (place / package).mkdir(parents=True)
        (place / package / "__init__.py").write_text("")
        for module in ("imported_first", "imported_later"):
            (place / package / f"{module}.py").write_text(f"JOB = {name!r}")
    return str(place)


@pytest.mark.parametrize("finds", [False, True])
def test_they_are_the_later_jobs(tmp_path: Path, finds: bool) -> None:
    program = _TWO_JOBS.format(first=job(tmp_path, "first"), second=job(tmp_path, "second"), finds=finds)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if not finds:
        assert "No module named 'core.imported_later'" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:3] == ["second"] * 3
