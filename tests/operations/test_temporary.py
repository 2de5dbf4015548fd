"""A job's temporary files: in its pipeline's own folder, closed, and gone with the run or before the next one."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from core.config.pipeline import Pipeline
from operations import temporary
from tests.operations.test_displaced import SETTINGS

PIPELINE = Pipeline.model_validate(SETTINGS)


def test_what_a_killed_run_left_is_gone_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = temporary.make(PIPELINE)
    assert folder == tmp_path / ".freshet/pipelines/articles/tmp" and stat.S_IMODE(folder.stat().st_mode) == 0o700
    (folder / "left").write_text("rows")
    assert list(temporary.make(PIPELINE).iterdir()) == []
    temporary.remove(PIPELINE)
    temporary.remove(PIPELINE)
    assert not folder.exists()


def test_children_keep_theirs_there_and_this_process_its_own_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    before = tempfile.gettempdir()
    with temporary.used_by_children(tmp_path):
        assert os.environ["TMPDIR"] == tempfile.gettempdir() == str(tmp_path)
    assert "TMPDIR" not in os.environ and tempfile.gettempdir() == before


def test_a_folder_with_a_space_is_given_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "my pipelines"
    here.mkdir()
    monkeypatch.chdir(here)
    assert temporary.jvm_flag(temporary.place(PIPELINE)) == "-Djava.io.tmpdir=.freshet/pipelines/articles/tmp"
    monkeypatch.chdir(tmp_path)
    assert temporary.jvm_flag(temporary.place(PIPELINE)).startswith(f"-Djava.io.tmpdir={tmp_path}")
