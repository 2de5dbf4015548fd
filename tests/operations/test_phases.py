"""What a run says before its counters do, and how it knows that a worker loads its model."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from core.config.pipeline import Pipeline
from flink_jobs.engine.model_load import Load, loads, recorded_load
from flink_jobs.engine.worker_deaths import FOLDER, watched
from flink_jobs.running.jobs import Progress
from flink_jobs.running.rest import tasks
from operations.phases import Phases
from operations.reporting import Line
from tests.operations.test_displaced import SETTINGS


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Heard:
    """What was said, in order."""

    lines: list[str] = field(default_factory=list)

    def __call__(self, line: Line) -> None:
        self.lines.append((line.head + line.rest).removeprefix("articles: "))


def lines(say: object) -> list[str]:
    assert isinstance(say, Heard)
    return say.lines


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return tmp_path


def phases(clock: Clock) -> Phases:
    return Phases(Pipeline.model_validate(SETTINGS), Heard(), clock)


def test_each_phase_is_shown_once_and_as_it_begins(marks: Path) -> None:
    clock = Clock()
    run = phases(clock)
    worker = str(os.getpid())
    looks = [
        Progress("CREATED", {}, None),
        Progress("RUNNING", {}, None, "", (0, 4)),
        Progress("RUNNING", {}, None, "", (0, 4)),
        Progress("RUNNING", {}, None, "", (3, 4)),
        Progress("RUNNING", {}, None, "", (4, 4)),
    ]
    for at, look in enumerate(looks):
        clock.now = 100.0 + 2 * at
        run.look(look)
    (marks / f"loading.{worker}").touch()
    for _ in range(2):
        run.look(looks[-1])
    (marks / f"loading.{worker}").rename(marks / f"loaded.{worker}")
    (marks / f"loaded.{worker}").write_text("8.6 all-MiniLM-L6-v2 by openvino on cpu (2 threads), float32")
    clock.now = 120.0
    for _ in range(2):
        run.look(Progress("RUNNING", {}, None, "", (4, 4), 1))
    # a restart's tasks are no new start
    run.look(Progress("RESTARTING", {}, None, "", (0, 4), 1))
    assert lines(run.say) == [
        "starting its tasks, 0 of 4 run …",
        "starting its tasks, 3 of 4 run …",
        "reading, 8 s after the start",
        "loading the model all-MiniLM-L6-v2, made for English …",
        "all-MiniLM-L6-v2 by openvino on cpu (2 threads), float32, is loaded, which took 9 s",
        "the first checkpoint is there, 20 s after the start",
    ]


def test_a_job_that_counts_reads_though_a_task_of_its_end_starts_still(marks: Path) -> None:
    run = phases(Clock())
    run.look(Progress("RUNNING", {"changes": 20}, None, "", (6, 8)))
    assert lines(run.say) == ["reading, 0 s after the start"]


def test_what_computes_a_model_is_told_once_however_soon_it_is_loaded(marks: Path) -> None:
    run = phases(Clock())
    (marks / "loaded.7").write_text("0.020 m by torch on cpu (2 threads), float32")
    run.look(Progress("RUNNING", {}, None))
    (marks / "loaded.8").write_text("0.030 m by torch on cpu (2 threads), float32")
    run.look(Progress("RUNNING", {}, None))
    assert lines(run.say) == ["m by torch on cpu (2 threads), float32, is loaded, which took 0 s"]
    (marks / "loaded.9").write_text("0.030 m by openvino on cpu (2 threads), bfloat16")
    run.look(Progress("RUNNING", {}, None))
    assert lines(run.say)[1:] == ["m by openvino on cpu (2 threads), bfloat16, is loaded, which took 0 s"]


def test_the_model_for_tests_is_not_worth_a_line(marks: Path) -> None:
    settings = {**SETTINGS, "embedding": {"model": "hash"}}
    run = Phases(Pipeline.model_validate(settings), Heard(), Clock())
    (marks / "loaded.7").write_text("0.020 hash on cpu, float32, 384 dimensions")
    run.look(Progress("RUNNING", {}, None))
    assert lines(run.say) == []


def test_what_an_earlier_run_of_the_process_loaded_is_not_shown(marks: Path) -> None:
    (marks / "loaded.7").write_text("30.0 m by torch on cpu")
    run = phases(Clock())
    run.look(Progress("RUNNING", {}, None))
    assert lines(run.say) == []


def test_a_phase_that_lasts_is_shown_again() -> None:
    say = Heard()
    run = Phases(Pipeline.model_validate(SETTINGS), say, remind_s=0.05)
    with run.during("starting Flink", ": a slow machine"):
        assert not gc.isenabled()
        deadline = time.monotonic() + 10
        while len(lines(say)) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert gc.isenabled()
    ended = len(lines(say))
    time.sleep(0.15)
    assert len(lines(say)) == ended
    assert lines(say)[:2] == ["starting Flink …", "still starting Flink after 0 s: a slow machine"]


def seen_and_slept() -> dict[str, Load]:
    seen = loads()
    time.sleep(0.02)
    return seen


def opened(model: object) -> str:
    return f"opened {model}"


def test_a_load_is_written_down_once_a_worker_with_what_was_opened(marks: Path) -> None:
    worker = str(os.getpid())
    assert recorded_load(seen_and_slept, lambda model: "m by torch") == {worker: Load(None)}
    took = loads()[worker]
    assert took.what == "m by torch" and took.seconds is not None and took.seconds >= 0.02
    assert recorded_load(lambda: "another", opened) == "another"
    assert loads()[worker] == took


def test_a_load_that_failed_or_whose_worker_died_is_none(marks: Path) -> None:
    def failing() -> str:
        raise OSError("no model")

    with pytest.raises(OSError, match="no model"):
        recorded_load(failing, opened)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (marks / f"loading.{dead.pid}").touch()
    assert loads() == {}


def test_without_a_place_nothing_is_written_down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    assert recorded_load(loads, opened) == loads() == {}
    monkeypatch.setenv(FOLDER, str(tmp_path / "gone"))
    assert recorded_load(loads, opened) == loads() == {}


def test_a_worker_knows_the_place_by_how_it_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A JVM that has run another job before knows that one's place."""
    monkeypatch.setenv(FOLDER, "elsewhere")
    program = watched(sys.executable, tmp_path / "workers")
    place = os.environ[FOLDER]
    code = f"import os; print(os.environ[{FOLDER!r}])"
    environment = {**os.environ, FOLDER: "of another job"}
    said = subprocess.run([program, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == place


def test_tasks_that_run_or_have_finished_count() -> None:
    states = ["RUNNING", "FINISHED", "INITIALIZING", "CREATED"]
    assert tasks({"vertices": [{"status": state} for state in states]}) == (2, 4)
    assert tasks({"errors": ["Not found"]}) == (0, 0)
