"""Where a pipeline keeps what its runs leave behind, and where its job that runs now can be asked."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from core.config.pipeline import Pipeline
from core.config.source import Kafka

_NAME = "job.json"


@dataclass(frozen=True, slots=True)
class JobFile:
    """A job that was submitted.

    rest         address of its REST API
    job          its id there
    prometheus   its endpoint for Prometheus; "" where there is none
    bootstrap    addresses of the Kafka that it reads, `host:port,…`; "" where it reads something else
    """

    rest: str
    job: str
    prometheus: str = ""
    bootstrap: str = ""


PIPELINES = Path(".freshet") / "pipelines"
"""Where pipelines keep what they leave behind, each in a folder of its name, under the current folder."""


def home(pipeline: Pipeline) -> Path:
    """Where a pipeline keeps checkpoints, savepoints and logs: `.freshet/pipelines/NAME` under the current folder."""
    return PIPELINES / pipeline.name


def bootstrap_of(pipeline: Pipeline) -> str:
    """Addresses of the Kafka that a pipeline reads, for its `JobFile`."""
    source = pipeline.source.chosen
    return source.bootstrap_servers if isinstance(source, Kafka) else ""


def remember(pipeline: Pipeline, job: JobFile) -> None:
    """Write down where the pipeline's job can be asked, in place of an earlier one."""
    place = _place(pipeline)
    place.parent.mkdir(parents=True, exist_ok=True)
    made = place.with_suffix(f".{os.getpid()}")
    made.write_bytes(msgspec.json.encode(asdict(job)))
    made.replace(place)


def recall(pipeline: Pipeline) -> JobFile | None:
    """The pipeline's last job, which may be gone by now; None where there is none, or its file can't be read."""
    return recall_at(home(pipeline))


def recall_at(folder: Path) -> JobFile | None:
    """The same, of the pipeline whose folder this is."""
    try:
        place = folder / _NAME
        return msgspec.json.decode(place.read_bytes(), type=JobFile) if place.is_file() else None
    except (OSError, msgspec.DecodeError):
        return None


def forget(pipeline: Pipeline) -> None:
    """The pipeline's job has ended."""
    with suppress(FileNotFoundError):
        _place(pipeline).unlink()


def _place(pipeline: Pipeline) -> Path:
    return home(pipeline) / _NAME
