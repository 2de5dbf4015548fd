"""Which log each state of a pipeline belongs to, in `log-identity.json` beside its checkpoints and savepoints."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from core.config.log_identity import LogIdentity
from core.config.pipeline import Pipeline
from operations.job_file import home

_SUBMITTED = ""
"""Under which a job stands whose id isn't known yet."""

_OF_SAVEPOINT = re.compile(r"savepoint-([0-9a-f]{6})-")


class _Record(msgspec.Struct, frozen=True):
    """`jobs`: Flink's job id to the log that the job read, the last one last."""

    version: int = 1
    jobs: Mapping[str, LogIdentity] = {}


def log_of(pipeline: Pipeline, state: Path) -> LogIdentity:
    """The log that a checkpoint or savepoint belongs to. Of a release that wrote nothing down, nothing is known."""
    jobs = _read(pipeline)
    job = next((each for each in reversed(jobs) if each and _is_of(state, each)), _SUBMITTED)
    return jobs.get(job, LogIdentity())


def last_log(pipeline: Pipeline) -> LogIdentity:
    """The log that the last job read, even if no state of that job is left."""
    jobs = _read(pipeline)
    return jobs[next(reversed(jobs))] if jobs else LogIdentity()


def begin(pipeline: Pipeline, log: LogIdentity) -> None:
    """A job is about to be submitted that reads this log: whatever state it leaves belongs to it."""
    jobs = _read(pipeline)
    jobs.pop(_SUBMITTED, None)
    _write(pipeline, {**jobs, _SUBMITTED: log})


def submitted(pipeline: Pipeline, job: str) -> None:
    """The job has this id. Those of which no state is left are forgotten."""
    jobs = _read(pipeline)
    log = jobs.pop(_SUBMITTED, LogIdentity())
    there = [*home(pipeline).glob("checkpoints/*"), *home(pipeline).glob("savepoints/*")]
    kept = {each: known for each, known in jobs.items() if any(_is_of(state, each) for state in there)}
    _write(pipeline, {**kept, job: log})


def amend(pipeline: Pipeline, job: str, log: LogIdentity) -> None:
    """Add what is known by now of the log that the job reads."""
    _write(pipeline, {**_read(pipeline), job: log})


def _is_of(state: Path, job: str) -> bool:
    """Whether a checkpoint, savepoint or folder of checkpoints is the job's: Flink names them by its id."""
    named = _OF_SAVEPOINT.match(state.name)
    return job.startswith(named[1]) if named else job in (state.name, state.parent.name)


def _read(pipeline: Pipeline) -> dict[str, LogIdentity]:
    try:
        return dict(msgspec.json.decode(_place(pipeline).read_bytes(), type=_Record).jobs)
    except (FileNotFoundError, msgspec.DecodeError):
        return {}


def _write(pipeline: Pipeline, jobs: Mapping[str, LogIdentity]) -> None:
    place = _place(pipeline)
    place.parent.mkdir(parents=True, exist_ok=True)
    made = place.with_suffix(f".{os.getpid()}")
    made.write_bytes(msgspec.json.format(msgspec.json.encode(_Record(jobs=jobs)), indent=2))
    made.replace(place)


def _place(pipeline: Pipeline) -> Path:
    return home(pipeline) / "log-identity.json"
