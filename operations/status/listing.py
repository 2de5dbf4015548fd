"""What `freshet status` shows without a file: each pipeline that has run in this folder, in a line."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import httpx

from connectors.reaching import unreachable
from flink_jobs.running.rest import Report, report
from operations.events import events_at
from operations.folder_lock import runs_at
from operations.job_file import PIPELINES, JobFile, recall_at
from operations.status.looks import time_of, waiting


@dataclass(frozen=True, slots=True)
class Standing:
    """A pipeline of this folder.

    state    Flink's job status in lower case, `starting or ending`, `not answering` or `not running`
    waiting  `caught up`, how much waits, or that the source is away; "" where that isn't known
    more     how long it runs, why it failed last, or how the last run of one that doesn't run ended
    pid      of the process that runs it, 0 where it isn't known, None where none does
    """

    pipeline: str
    state: str
    waiting: str = ""
    more: str = ""
    pid: int | None = None

    @property
    def runs(self) -> bool:
        """Whether its job runs and is not just restarting."""
        return self.state == "running"


def standings(http: httpx.Client) -> list[Standing]:
    """Each pipeline that has run in this folder, by name."""
    folders = sorted(folder for folder in PIPELINES.glob("*") if folder.is_dir())
    return [standing(http, folder) for folder in folders]


def as_dict(each: Standing) -> dict[str, object]:
    """A pipeline as JSON."""
    return {**asdict(each), "waiting": each.waiting or None}


def seen(http: httpx.Client, place: JobFile) -> Report:
    """What a job says of itself, and whether its Kafka is there. Raises as `report`.

    Flink tells what waits as of the last answer from Kafka: of one that is gone it would say for ever that nothing
    does.
    """
    answer = report(http, place.rest, place.job)
    why = unreachable(place.bootstrap.split(",")) if place.bootstrap else ""
    return replace(answer, away=f"Kafka at {place.bootstrap} doesn't answer: {why}") if why else answer


def standing(http: httpx.Client, folder: Path) -> Standing:
    """The pipeline whose folder this is."""
    pid, place = runs_at(folder), recall_at(folder)
    if pid is None and place is None:
        return Standing(folder.name, "not running", more=ending(folder))
    if place is None:
        return Standing(folder.name, "starting or ending", pid=pid)
    try:
        job = seen(http, place)
    except httpx.HTTPError:
        if pid is None:
            return Standing(folder.name, "not running", more=ending(folder))
        return Standing(folder.name, "not answering", more=str(events_at(folder).last() or ""), pid=pid)
    since = f"for {time_of(job.since_ms)}"
    more = since if job.failure is None else f"{since}; last failure: {job.failure}"
    return Standing(folder.name, job.state.lower(), waiting(job), more, pid)


def ending(folder: Path) -> str:
    """How the last run of a pipeline that doesn't run ended, as in `stopped, 2026-01-31 12:00 UTC`; "" for none."""
    last = events_at(folder).last()
    if last is None or last.is_end:
        return str(last or "")
    return f"killed, or its machine stopped; its log ends with {last}"
