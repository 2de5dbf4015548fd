"""One run of a pipeline a folder, by real processes; no Flink is needed for that."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from typer.testing import CliRunner

from cli.main import commands
from core.config.file import load
from core.config.pipeline import Pipeline
from core.errors import FreshetError
from operations import run as running
from operations.folder_lock import AlreadyRuns, locked, runs_as
from operations.job_file import JobFile, home, remember
from operations.reporting import unheard
from operations.resuming import Beginning
from tests.operations.test_status import PIPELINE

ROOT = Path(__file__).parents[2]
HOLDER = """
import subprocess, sys
from pathlib import Path
from operations.folder_lock import locked
from core.config.file import load
with locked(load(Path("pipeline.yaml"))):
    {first}
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    return load(tmp_path / "pipeline.yaml")


@contextmanager
def another_run(first: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of this folder's pipeline."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HOLDER.format(first=first or "pass")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def readable(folder: Path) -> set[str]:
    """The files below a folder that another user of this machine can read."""
    search = ["find", str(folder), "-type", "f", "-readable", "-printf", "%P\\n"]
    found = subprocess.run(
        search, capture_output=True, text=True, check=False, user=12345, group=12345, extra_groups=[]
    )
    return set(found.stdout.split())


@pytest.mark.parametrize("shared", [False, True])
def test_a_run_closes_its_folder_that_is_there_too(pipeline: Pipeline, shared: bool) -> None:
    kept = Path(".freshet/pipelines/other/checkpoints")
    kept.mkdir(parents=True)
    (kept / "_metadata").write_text("rows")
    for folder in (Path(".freshet"), *Path(".freshet").rglob("*")):
        folder.chmod(0o755)
    with locked(pipeline, shared=shared):
        modes = [Path(name).stat().st_mode & 0o077 for name in (".freshet", ".freshet/pipelines")]
    passed = 0o11 if os.geteuid() == 0 else 0
    assert modes == ([0o55, 0o55] if shared else [passed, 0])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user too")
@pytest.mark.parametrize("folder", [".freshet", ".freshet/pipelines", ".freshet/pipelines/documents"])
def test_a_folder_that_another_user_made_is_not_run_in(pipeline: Pipeline, folder: str) -> None:
    home(pipeline).mkdir(parents=True)
    os.chown(folder, 65_534, -1)
    with (
        pytest.raises(
            FreshetError, match=rf"^{re.escape(folder)} belongs to user 65534, and this is user 0: run as that user"
        ),
        locked(pipeline),
    ):
        pass
    with locked(pipeline, shared=True):
        os.chown(folder, 0, -1)
    with locked(pipeline):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user too")
def test_another_user_reads_nothing_of_a_run() -> None:
    # pytest's own folders are closed to others
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        file = folder / "pipeline.yaml"
        file.write_text(PIPELINE, encoding="utf-8")
        with chdir(folder), locked(load(file)):
            remember(load(file), JobFile("http://127.0.0.1:1", "0a"))
            assert readable(folder) == {"pipeline.yaml"}


def test_a_second_run_is_refused_before_it_reaches_anything(pipeline: Pipeline) -> None:
    with another_run() as first:
        # the servers that the file names aren't there: reaching one of them would be another error
        with pytest.raises(AlreadyRuns, match=rf"documents already runs as pid {first.pid} in .*documents: stop that"):
            running.run(pipeline, unheard, Beginning())
        assert runs_as(pipeline) == first.pid


def test_the_lock_of_a_killed_run_is_free_at_once(pipeline: Pipeline) -> None:
    with another_run() as first:
        first.kill()
        first.wait()
        assert runs_as(pipeline) is None
        with locked(pipeline):
            assert runs_as(pipeline) == os.getpid()


def test_a_run_that_ended_leaves_the_folder_free(pipeline: Pipeline) -> None:
    assert runs_as(pipeline) is None
    for _ in range(2):
        with locked(pipeline):
            assert runs_as(pipeline) == os.getpid()
        assert runs_as(pipeline) is None


def test_a_killed_run_takes_the_lock_along_though_what_it_started_lives_on(pipeline: Pipeline) -> None:
    with another_run(
        "subprocess.Popen([sys.executable, '-c', 'input()'], stdin=0, stdout=2, close_fds=False)"
    ) as first:
        first.kill()
        first.wait()
        deadline = time.monotonic() + 5
        while runs_as(pipeline) is not None:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_another_pipeline_of_the_folder_runs_beside_it(pipeline: Pipeline) -> None:
    other = pipeline.model_copy(update={"name": "others"})
    with locked(pipeline), locked(other):
        assert runs_as(other) == runs_as(pipeline) == os.getpid()


def test_looking_does_not_keep_a_run_from_starting(pipeline: Pipeline) -> None:
    for _ in range(200):
        runs_as(pipeline)
        with locked(pipeline):
            pass


def test_status_says_that_a_run_is_there_whose_job_cannot_be_asked(pipeline: Pipeline) -> None:
    with another_run() as first:
        starting = CliRunner().invoke(commands, ["status", "pipeline.yaml", "--once"])
        assert starting.exit_code == 1 and f"starting or ending, as pid {first.pid}" in starting.output
        remember(pipeline, JobFile("http://127.0.0.1:1", "0a"))
        silent = CliRunner().invoke(commands, ["status", "pipeline.yaml", "--once"])
        assert silent.exit_code == 1 and f"runs as pid {first.pid}, but its job" in silent.output
    gone = CliRunner().invoke(commands, ["status", "pipeline.yaml", "--once"])
    assert gone.exit_code == 1 and "isn't running: its last job" in gone.output
