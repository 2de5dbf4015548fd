"""Where a pipeline keeps what its runs leave behind, and where its job that runs now can be asked."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from core.config import Pipeline


@dataclass(frozen=True, slots=True)
class JobFile:
    """A job that was submitted: its REST API's address, its id there, and its Prometheus endpoint or ""."""

    rest: str
    job: str
    prometheus: str = ""


def home(pipeline: Pipeline) -> Path:
    """Where a pipeline keeps checkpoints, savepoints and logs: `.freshet/pipelines/NAME` under the current folder."""
    return Path(".freshet") / "pipelines" / pipeline.name


def remember(pipeline: Pipeline, job: JobFile) -> None:
    """Write down where the pipeline's job can be asked, in place of an earlier one."""
    place = _place(pipeline)
    place.parent.mkdir(parents=True, exist_ok=True)
    made = place.with_suffix(f".{os.getpid()}")
    made.write_bytes(msgspec.json.encode(asdict(job)))
    made.replace(place)


def recall(pipeline: Pipeline) -> JobFile | None:
    """The pipeline's last job, which may be gone by now; None where there is none, or its file can't be read."""
    try:
        return msgspec.json.decode(_place(pipeline).read_bytes(), type=JobFile)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def forget(pipeline: Pipeline) -> None:
    """The pipeline's job has ended."""
    with suppress(FileNotFoundError):
        _place(pipeline).unlink()


def _place(pipeline: Pipeline) -> Path:
    return home(pipeline) / "job.json"
