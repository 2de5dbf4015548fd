"""What starts a worker writes down by which signal it ended, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import pytest

from core.errors import Unavailable
from flink_jobs.engine.worker_deaths import FOLDER, WatchWorkers, signal_of_death, watched

NO_CONTEXT = cast("Any", None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, "")
    return tmp_path / "workers"


def seen(folder: Path, since_ns: int = 0) -> int | None:
    """By which signal a worker of this run has died."""
    return signal_of_death(folder / str(os.getpid()), since_ns)


@pytest.mark.parametrize("number", [9, 11, 15])
def test_a_killed_worker_fails_the_job_at_the_next_tick(folder: Path, number: int) -> None:
    python = watched(sys.executable, folder)
    watch = WatchWorkers()
    watch.open(NO_CONTEXT)
    assert list(watch.flat_map(NO_CONTEXT)) == []
    ended = subprocess.run([python, "-c", f"import os; os.kill(os.getpid(), {number})"], check=False)
    assert ended.returncode == 128 + number
    with pytest.raises(Unavailable, match=rf"the embedding worker died \(signal {number}\)"):
        list(watch.flat_map(NO_CONTEXT))
    later = WatchWorkers()
    later.open(NO_CONTEXT)
    assert list(later.flat_map(NO_CONTEXT)) == []


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_worker_that_ends_by_itself_is_no_death(folder: Path, code: int) -> None:
    program = f"import sys; print(sys.executable, *sys.argv[1:]); sys.exit({code})"
    ended = subprocess.run(
        [watched(sys.executable, folder), "-c", program, "a b"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (code, f"{sys.executable} a b\n")
    assert seen(folder) is None


def test_deaths_of_earlier_runs_are_forgotten(folder: Path) -> None:
    subprocess.run([watched(sys.executable, folder), "-c", "import os; os.kill(os.getpid(), 9)"], check=False)
    assert seen(folder) == 9
    assert seen(folder, time.time_ns() + 1) is None
    watched(sys.executable, folder)
    assert seen(folder) is None
    assert os.environ[FOLDER] == str(folder.resolve() / str(os.getpid()))


def test_an_exit_code_that_is_no_signals_is_no_death(folder: Path) -> None:
    ended = subprocess.run([watched(sys.executable, folder), "-c", "import sys; sys.exit(255)"], check=False)
    assert ended.returncode == 255
    assert seen(folder) is None


def test_where_flinks_script_would_break_the_path_python_is_started_plainly(folder: Path) -> None:
    assert watched(sys.executable, folder / "a folder's") == sys.executable
