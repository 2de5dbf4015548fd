"""When a local job's workers load their model: they write it down, as Flink hears nothing of theirs before a batch."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flink_jobs.engine.worker_deaths import FOLDER

_LOADING, _LOADED = "loading", "loaded"


@dataclass(frozen=True, slots=True)
class Load:
    """A worker's load of its model: how long it took, in seconds; None while it goes on."""

    seconds: float | None


@contextmanager
def recorded_load() -> Iterator[None]:
    """Write down, in a worker, that its block loads the model; the first block alone, as the second finds it loaded."""
    named = os.environ.get(FOLDER)
    if named is None or not (folder := Path(named)).is_dir() or (folder / f"{_LOADED}.{os.getpid()}").exists():
        yield
        return
    begun, mark = time.monotonic(), folder / f"{_LOADING}.{os.getpid()}"
    mark.touch()
    try:
        yield
        mark.write_text(f"{time.monotonic() - begun:.3f}", encoding="ascii")
        mark.replace(folder / f"{_LOADED}.{os.getpid()}")
    finally:
        mark.unlink(missing_ok=True)


def loads() -> dict[str, Load]:
    """The loads of the workers of the job that this process has submitted, by their process ids."""
    named = os.environ.get(FOLDER)
    if named is None:
        return {}
    found = {mark.suffix[1:]: Load(None) for mark in Path(named).glob(f"{_LOADING}.*") if _lives(mark.suffix[1:])}
    for mark in Path(named).glob(f"{_LOADED}.*"):
        found[mark.suffix[1:]] = Load(float(mark.read_text(encoding="ascii")))
    return found


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True
