"""A Python as the service has it: version 3.12 with apache-flink and what that needs, and nothing else."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from core.errors import Unavailable
from deploy.msf.wheels import PYTHON, uv
from operations.rehearsal.cluster import Python
from operations.reporting import Line, Say
from udfs.pinned import cache

REQUIREMENTS = Path(__file__).parents[2] / "deploy" / "msf" / "requirements-flink.txt"


def python(say: Say) -> Python:
    """The rehearsal's Python, made once below the user's cache, of 3.12 where this machine has it, else of this Python.

    Raises Unavailable where its packages can't be fetched.
    """
    base, version = _base()
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:16]
    folder = cache("rehearsal") / f"{wanted}-{version}"
    # written last
    complete = folder / "complete"
    if not complete.exists():
        say(Line(f"making a Python {version} with apache-flink alone, as the service has it (once) …"))
        shutil.rmtree(folder, ignore_errors=True)
        _make(base, folder)
        complete.touch()
    return Python(folder / "bin" / "python", folder / "lib" / f"python{version}" / "site-packages")


def version_of(python: Python) -> str:
    """As in 3.12."""
    return python.packages.parent.name.removeprefix("python")


def _base() -> tuple[Path, str]:
    for candidate in _candidates():
        ran = subprocess.run(
            [str(candidate), "-I", "-c", "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if ran.returncode == 0 and ran.stdout.strip() == PYTHON:
            return candidate, PYTHON
    return Path(sys.executable), f"{sys.version_info.major}.{sys.version_info.minor}"


def _candidates() -> Iterator[Path]:
    yield Path(sys.executable)
    if (found := shutil.which(f"python{PYTHON}")) is not None:
        yield Path(found)
    # a shim of pyenv's runs only what a project has chosen
    yield from sorted((Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions").glob(
        f"{PYTHON}.*/bin/python{PYTHON}"
    ))  # fmt: skip


def _make(base: Path, folder: Path) -> None:
    target = folder / "bin" / "python"
    packages = ["install", "--quiet", "--require-hashes", "-r", str(REQUIREMENTS)]
    _done([str(base), "-I", "-m", "venv", str(folder)])
    program = uv()
    # it takes a third of pip's time, and doesn't read pip's settings: where those are needed, pip is next
    if program is not None and not _fault([program, "pip", *packages, "--python", str(target)]):
        return
    # of what is installed a rehearsal imports a tenth: Python compiles that when it is imported
    _done([str(target), "-m", "pip", "--disable-pip-version-check", *packages, "--no-compile"])


def _done(command: list[str]) -> None:
    if fault := _fault(command):
        raise Unavailable(fault)


def _fault(command: list[str]) -> str:
    """What went wrong; "" where nothing did."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    said = "\n".join((ran.stdout + ran.stderr).strip().splitlines()[-8:])
    return f"{' '.join(command[:4])} … ended with code {ran.returncode}:\n{said}" if ran.returncode else ""
