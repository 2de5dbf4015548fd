"""One run of a pipeline a folder: two would each write checkpoints there, and each apply every change."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.config.pipeline import Pipeline
from core.errors import FreshetError
from operations.job_file import home
from stack.own_folder import close, close_way, refuse_of_others

_NAME = "lock"
_LOOKS_S = 0.5
"""How long whoever only looks may hold the lock at most; he needs microseconds."""


class AlreadyRuns(FreshetError):
    """Another process runs the pipeline in this folder."""


@contextmanager
def locked(pipeline: Pipeline, shared: bool = False) -> Iterator[None]:
    """Hold the pipeline's folder for this process; the system frees it when the process ends, however it ends.

    Nobody but its owner can look into it then, unless it is `shared` with a cluster's machines. Where the file system
    knows no locks, as some network shares, there is none. Raises AlreadyRuns, with the other's process id and the
    folder; FreshetError where the folder is another user's, whose checkpoints Flink would run code of.
    """
    place = _place(pipeline)
    place.parent.mkdir(parents=True, exist_ok=True)
    if not shared:
        for folder in (place.parents[2], place.parents[1], place.parent):
            refuse_of_others(folder)
        close(place.parents[1])
        close_way(place.parents[2])
    # never deleted: who has it open would hold the lock of a file that nobody else finds
    with place.open("a+", encoding="ascii") as file:
        _take(file.fileno(), pipeline)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
            fcntl.flock(file.fileno(), fcntl.LOCK_UN)


@contextmanager
def alone(file: Path, refusal: str) -> Iterator[None]:
    """Hold a lock for what may run once in a folder. Raises FreshetError, which says `refusal`, where it runs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FreshetError(refusal) from error
        yield


def runs_as(pipeline: Pipeline) -> int | None:
    """The id of the process that runs the pipeline in this folder, 0 where it isn't known; None where none does."""
    return runs_at(home(pipeline))


def runs_at(folder: Path) -> int | None:
    """The same, of the pipeline whose folder this is."""
    place = folder / _NAME
    try:
        with place.open("r", encoding="ascii") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid(place)
    except OSError:
        return None
    return None


def _take(descriptor: int, pipeline: Pipeline) -> None:
    deadline = time.monotonic() + _LOOKS_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.02)
                continue
            pid = _pid(_place(pipeline))
            process = f"pid {pid}" if pid else "another process"
            raise AlreadyRuns(
                f"{pipeline.name} already runs as {process} in {home(pipeline).resolve()}: stop that run first "
                f"(Ctrl-C there{f', or kill {pid}' if pid else ''})"
            ) from None
        except OSError:
            return
        return


def _pid(place: Path) -> int:
    with suppress(OSError, ValueError):
        return int(place.read_text(encoding="ascii"))
    return 0


def _place(pipeline: Pipeline) -> Path:
    return home(pipeline) / _NAME
