"""What lasts is said in lines where there is no terminal, and what doesn't isn't."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import commands
from operations.reporting import Line, Step
from terminal import lasting
from terminal.bars import counted, loading, stepped
from terminal.lasting import _Now, in_lines
from tests.operations.test_status import PIPELINE


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_each_step_that_lasts_has_a_line_and_now_and_then_how_far_it_is() -> None:
    now = _Now()
    now.step("waiting: the job is 40 events behind", 0, 0, 100.0)
    assert now.line(101.0, 2.0, 15.0) == ""
    assert now.line(102.0, 2.0, 15.0) == "waiting: the job is 40 events behind …"
    now.step("waiting: the job is 1,007 events behind", 0, 0, 110.0)
    assert now.line(116.0, 2.0, 15.0) == ""
    assert now.line(117.0, 2.0, 15.0) == "still waiting: the job is 1,007 events behind, after 17 s"
    now.step("public.articles", 1200, 5000, 120.0)
    assert now.line(122.0, 2.0, 15.0) == "public.articles: 1,200 of 5,000 …"
    now.step("public.articles", 2400, 0, 130.0)
    assert now.line(137.0, 2.0, 15.0) == "still public.articles: 2,400, after 17 s"
    now.step("public.tags", 1, 9, 138.0)
    now.step("public.pages", 1, 9, 139.0)
    assert now.line(140.5, 2.0, 15.0) == "", "what is done quickly needs no line"


def test_lines_end_with_what_they_are_of() -> None:
    lines: list[Line] = []
    with in_lines(lines.append, 0.02, 0.05) as step:
        step("counting", 0, 0)
        until(lambda: len(lines) >= 2)
    said = len(lines)
    time.sleep(0.2)
    assert len(lines) == said
    assert lines[0].head == "counting …" and lines[1].head.startswith("still counting, after ")


@pytest.mark.parametrize(
    "shows", [lambda: loading("a/model"), counted, stepped], ids=["a model", "an amount", "steps that differ"]
)
def test_without_a_terminal_the_error_output_has_lines(
    shows: Callable[[], AbstractContextManager[Step | None]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(lasting, "AFTER_S", 0.02)
    heard = ""

    def is_heard() -> bool:
        nonlocal heard
        captured = capsys.readouterr()
        assert captured.out == ""
        heard += captured.err
        return "loading the model a/model …\n" in heard

    with shows() as step:
        if step is not None:
            step("loading the model a/model", 0, 0)
        until(is_heard)


def test_a_run_says_something_before_it_loads_what_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    (tmp_path / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    ran = CliRunner().invoke(commands, ["run", "pipeline.yaml"])
    assert ran.output.splitlines()[:2] == [
        "documents: loading Flink's client …",
        "documents: reaching the servers that the pipeline names …",
    ]
