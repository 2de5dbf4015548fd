"""A job's temporary files lie in its pipeline's folder, which lets in nobody else, and not in one that all users share.

They are deleted when the run ends; those of a run that was killed when the next one starts.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.config.pipeline import Pipeline
from operations.job_file import home


def place(pipeline: Pipeline) -> Path:
    """Where they lie, as an absolute path."""
    return place_in(home(pipeline)).absolute()


def place_in(folder: Path) -> Path:
    """Where they lie in a pipeline's folder."""
    return folder / "tmp"


def make(pipeline: Pipeline) -> Path:
    """An empty folder for them."""
    remove(pipeline)
    place(pipeline).mkdir(mode=0o700, parents=True)
    return place(pipeline)


def remove(pipeline: Pipeline) -> None:
    """Delete them, as far as that goes: a JVM that is just ending may still write some."""
    shutil.rmtree(place(pipeline), ignore_errors=True)


@contextmanager
def used_by_children(folder: Path) -> Iterator[None]:
    """Have what this process starts meanwhile, and what that starts, keep temporary files there."""
    variable, here = os.environ.get("TMPDIR"), tempfile.tempdir
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = here
        if variable is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = variable


def jvm_flag(folder: Path) -> str:
    """The flag for a JVM; PyFlink cuts its arguments at spaces, so a path with one is given from the folder here."""
    path = str(folder)
    return f"-Djava.io.tmpdir={os.path.relpath(folder) if len(path.split()) > 1 else path}"
