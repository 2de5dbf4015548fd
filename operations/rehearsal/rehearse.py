"""`freshet bundle --rehearse`: the bundle on a Flink cluster of its own, submitted as the service does it."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zipfile import ZipFile

from core.config.file import VARIABLE
from core.config.pipeline import Pipeline
from deploy.msf.bundle import Bundle
from deploy.msf.main import REHEARSAL, RUN, SETTINGS, VARIABLES
from deploy.msf.wheels import PYTHON
from flink_jobs.running.target import TargetJob
from operations.bundle import made, write
from operations.pipeline_file import load, with_passfiles
from operations.rehearsal.cluster import cluster
from operations.rehearsal.python import python, version_of
from operations.reporting import Line, Say, Tone
from operations.signals import handlers_given_back
from stack.own_folder import close

_WATCH_SECONDS = 0.5


def rehearse(
    file: Path, output: Path | None, say: Say, show: Callable[[Bundle], object], with_model: bool = False
) -> int:
    """Build the bundle, run it until it ends or Ctrl-C, and tell how long the first embedded row took; the exit code.

    `show` gets the bundle once it is built. Raises FreshetError where the bundle can't be made, or its cluster or job
    doesn't start.
    """
    began = time.monotonic()
    pipeline = load(file)
    folder = Path(".freshet").resolve() / "rehearsal"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    close(folder)
    there = python(say)
    with ThreadPoolExecutor(1) as aside:
        if (version := version_of(there)) != PYTHON:
            say(Line(f"Python {version}", f", and packages for it: no Python {PYTHON} is here", Tone.WARNING))
        building = aside.submit(made, pipeline, file, say, version, with_model)
        with cluster(there, folder, pipeline.parallelism) as running:
            built = building.result()
            show(built)
            if output is not None:
                write(built, output, say)
            application = unpacked(built, folder / "application")
            settings = properties(file, pipeline, folder / "properties.json")
            job = running.submit(application, settings, pipeline.parallelism)
            say(Line(f"{pipeline.name} runs on Flink at {running.rest}; it logs to {folder / 'log'}"))
            with handlers_given_back():
                return _watch(job, pipeline, running.savepoints, began, say)


def unpacked(built: Bundle, folder: Path) -> Path:
    """The bundle's files in a new folder, where nothing may be written."""
    with ZipFile(io.BytesIO(built.content)) as archive:
        archive.extractall(folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return folder


def properties(file: Path, pipeline: Pipeline, to: Path) -> Path:
    """What the service would have in /etc/flink: the variables that the pipeline file has, and a rehearsal's mark.

    Connection strings that name a passfile are passed whole, as its path is of the current folder.
    """
    used = {name for name in VARIABLE.findall(file.read_text(encoding="utf-8")) if name in os.environ}
    groups = [
        {"PropertyGroupId": VARIABLES, "PropertyMap": {name: os.environ[name] for name in sorted(used)}},
        {"PropertyGroupId": RUN, "PropertyMap": {REHEARSAL: "yes"}},
        {"PropertyGroupId": SETTINGS, "PropertyMap": with_passfiles(pipeline)},
    ]
    to.touch(mode=0o600)
    to.write_text(json.dumps(groups), encoding="utf-8")
    return to


def _watch(job: TargetJob, pipeline: Pipeline, savepoints: Path, began: float, say: Say) -> int:
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _signal, _frame: stopped.set())
    first, last = True, None
    while not job.ended():
        now = job.progress()
        if now.failure is not None and now.failure != last:
            say(Line(now.state.lower(), f": {now.failure}", Tone.BAD))
            last = now.failure
        if first and any(count for name, count in now.counts.items() if name.startswith("applied")):
            first = False
            after = f" {time.monotonic() - began:.1f} s after the start of the build"
            say(Line("first embedded row", after, Tone.GOOD))
        if stopped.wait(_WATCH_SECONDS):
            savepoint = job.stop_with_savepoint(savepoints)
            say(Line("stopped", f" with a savepoint: {Path(savepoint).name}", Tone.GOOD))
            return 0
    job.result()
    say(Line(f"{pipeline.name}: finished"))
    return 0
