"""`freshet run --target`: the job of a pipeline file on a session cluster, as JobManager and TaskManagers that run."""

from __future__ import annotations

import shutil
from pathlib import Path

from connectors.opening.kpis import empty_kpis
from core.config.pipeline import Pipeline
from core.errors import ConfigError
from core.stores.owning import How
from deploy.msf.bundle import ours
from deploy.msf.job_jars import job_jars
from flink_jobs.running.target import TargetJob, running_job, submit_to
from operations import log_record, resuming
from operations.job_file import JobFile, bootstrap_of, home, remember
from operations.reporting import Line, Say
from operations.resuming import Beginning, log_to


def address(target: str) -> tuple[str, int]:
    """The host and the port of `host:port`, as --target has it. Raises ConfigError."""
    host, colon, port = target.rpartition(":")
    if not host or not colon or not port.isdecimal() or "/" in host:
        raise ConfigError([f"--target is {target!r}: it must be host:port of a JobManager's REST API"])
    return host, int(port)


def start(pipeline: Pipeline, target: str, say: Say, beginning: Beginning) -> TargetJob:
    """Submit the job, resuming as a local one does; one that runs there already is watched instead.

    Raises Unavailable where no cluster answers there, OtherLog and ConfigError as `operations.resuming.begun` does.
    """
    host, port = address(target)
    rest = f"http://{host}:{port}"
    job = running_job(rest, pipeline.name)
    if job is None:
        job = _submit(pipeline, (host, port), say, beginning)
    elif beginning.how is not How.REFUSE:
        raise ConfigError([f"--{beginning.how}: {pipeline.name} runs on {target} already: stop it first"])
    else:
        say(Line(f"{pipeline.name}: runs on {target} already; stopping ends it there"))
    remember(pipeline, JobFile(job.rest, job.id, bootstrap=bootstrap_of(pipeline)))
    return job


def _submit(pipeline: Pipeline, target: tuple[str, int], say: Say, beginning: Beginning) -> TargetJob:
    log_to(pipeline)
    jars = job_jars(pipeline)
    # Imported late: pyflink takes a second, and its JVM reads the settings above when it starts.
    from flink_jobs.engine.environment import target_environment, target_options
    from flink_jobs.job import build

    begun = resuming.begun(pipeline, say, beginning)
    options = target_options(pipeline, home(pipeline), jars, begun.state, target)
    environment = target_environment(options, _packed(home(pipeline) / "python"))
    build(pipeline, environment, begun.log.sources, begun.owner)
    if pipeline.makes_feedback and beginning.how is How.REBUILD:
        empty_kpis(pipeline)
    job = submit_to(environment, pipeline.name, f"http://{target[0]}:{target[1]}")
    log_record.submitted(pipeline, job.id)
    return job


def _packed(folder: Path) -> Path:
    """Our packages alone, as the cluster's Python is to see them."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in ours().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
