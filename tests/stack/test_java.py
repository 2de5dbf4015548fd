"""The stack's JVMs start from classes that earlier ones have read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stack import java
from stack import local as stack
from stack.jars import fetch

LOCK = Path(stack.__file__).with_name("jars.lock")


def test_a_second_start_takes_its_classes_from_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jars = fetch(LOCK)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    executable, *rest = java.command(tmp_path / "server", jars, "kafka.tools.StorageTool", "random-uuid")
    logs = [
        subprocess.run([executable, "-Xlog:class+load", *rest], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert ["shared objects file (top)" in each for each in logs] == [False, True]
    (archive,) = (tmp_path / "freshet" / "classes").iterdir()
    assert archive.name.startswith("StorageTool-")


def test_a_java_that_is_not_ours_to_write_to_starts_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "bin" / "java"
    monkeypatch.setattr(java, "executable", lambda: there)
    assert not [each for each in java.command(tmp_path / "server", [], "Main") if "Archive" in each]
