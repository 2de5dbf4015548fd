"""When a local job's workers load their model: they write it down, as Flink hears nothing of theirs before a batch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from flink_jobs.engine.worker_deaths import FOLDER

M = TypeVar("M")

_LOADING, _LOADED = "loading", "loaded"


@dataclass(frozen=True, slots=True)
class Load:
    """A worker's load of its model.

    seconds  how long it took; None while it goes on
    what     was opened, in words: the model, the engine, its precision
    """

    seconds: float | None
    what: str = ""


def recorded_load(open_model: Callable[[], M], described: Callable[[M], str]) -> M:
    """Open the model in a worker, and write down that it is opened, and then as what.

    The first time alone: the second finds it open. What `open_model` raises is raised.
    """
    named = os.environ.get(FOLDER)
    if named is None or not (folder := Path(named)).is_dir() or (folder / f"{_LOADED}.{os.getpid()}").exists():
        return open_model()
    begun, mark = time.monotonic(), folder / f"{_LOADING}.{os.getpid()}"
    mark.touch()
    try:
        model = open_model()
        mark.write_text(f"{time.monotonic() - begun:.3f} {described(model)}", encoding="utf-8")
        mark.replace(folder / f"{_LOADED}.{os.getpid()}")
        return model
    finally:
        mark.unlink(missing_ok=True)


def loads() -> dict[str, Load]:
    """The loads of the workers of the job that this process has submitted, by their process ids."""
    named = os.environ.get(FOLDER)
    if named is None:
        return {}
    found = {mark.suffix[1:]: Load(None) for mark in Path(named).glob(f"{_LOADING}.*") if _lives(mark.suffix[1:])}
    for mark in Path(named).glob(f"{_LOADED}.*"):
        seconds, _, what = mark.read_text(encoding="utf-8").partition(" ")
        found[mark.suffix[1:]] = Load(float(seconds), what)
    return found


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True
