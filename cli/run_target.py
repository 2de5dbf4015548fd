"""`freshet run --target`: the job of a pipeline file on a session cluster, as JobManager and TaskManagers that run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from rich.console import Console

from cli.events import events
from cli.jars import fetch
from cli.job_file import JobFile, home, remember
from core.config import Pipeline
from core.errors import ConfigError
from deploy.msf.bundle import ours
from flink_jobs.running import forget_checkpoints, newest_state
from flink_jobs.target import TargetJob, running_job, submit_to


def address(target: str) -> tuple[str, int]:
    """The host and the port of `host:port`, as --target has it. Raises ConfigError."""
    host, colon, port = target.rpartition(":")
    if not host or not colon or not port.isdecimal() or "/" in host:
        raise ConfigError([f"--target is {target!r}: it must be host:port of a JobManager's REST API"])
    return host, int(port)


def start(pipeline: Pipeline, target: str, lock: Path, console: Console, without_state: bool) -> TargetJob:
    """Submit the job, resuming as a local one does; one that runs there already is watched instead.

    Raises Unavailable where no cluster answers there.
    """
    host, port = address(target)
    rest = f"http://{host}:{port}"
    job = running_job(rest, pipeline.name)
    if job is None:
        job = _submit(pipeline, (host, port), lock, console, without_state)
    else:
        console.print(f"{pipeline.name}: runs on {target} already; stopping ends it there")
    remember(pipeline, JobFile(job.rest, job.id))
    return job


def _submit(
    pipeline: Pipeline, target: tuple[str, int], lock: Path, console: Console, without_state: bool
) -> TargetJob:
    directory = home(pipeline)
    (directory / "log").mkdir(parents=True, exist_ok=True)
    os.environ["FLINK_LOG_DIR"] = str((directory / "log").resolve())
    jars = fetch(lock)
    # Imported late: pyflink takes a second, and its JVM reads the settings above when it starts.
    from flink_jobs.environment import target_environment, target_options
    from flink_jobs.job import build

    state = None if without_state else newest_state(directory)
    if state is not None:
        forget_checkpoints(directory, state)
    log = events(pipeline)
    log.tell("start") if state is None else log.tell("resume", state=state.name)
    console.print(f"{pipeline.name}: " + (f"resuming from {state.name}" if state else "starting without earlier state"))
    resumed = None if state is None else state.resolve().as_uri()
    options = target_options(pipeline, directory, jars, resumed, target)
    environment = target_environment(options, _packed(directory / "python"))
    build(pipeline, environment)
    return submit_to(environment, pipeline.name, f"http://{target[0]}:{target[1]}")


def _packed(folder: Path) -> Path:
    """Our packages alone, as the cluster's Python is to see them."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in ours().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
