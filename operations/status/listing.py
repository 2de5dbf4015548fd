"""What `freshet status` shows without a file: each pipeline that has run in this folder, in a line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import httpx

from connectors.reaching import unreachable
from flink_jobs.running.rest import Report, report
from operations.folder_lock import runs_at
from operations.job_file import PIPELINES, JobFile, recall_at
from operations.status.looks import time_of, waiting


@dataclass(frozen=True, slots=True)
class Standing:
    """A pipeline of this folder.

    state    Flink's job status in lower case, `starting or ending`, `not answering` or `not running`
    waiting  `caught up`, how much waits, or that the source is away; "" where that isn't known
    more     how long it runs, why it failed last, or the last event in the log of one that doesn't run
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
    return [_standing(http, folder) for folder in folders]


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


def _standing(http: httpx.Client, folder: Path) -> Standing:
    pid, place = runs_at(folder), recall_at(folder)
    if place is None:
        state = "not running" if pid is None else "starting or ending"
        return Standing(folder.name, state, more=last_event(folder) if pid is None else "", pid=pid)
    try:
        job = seen(http, place)
    except httpx.HTTPError:
        state = "not running" if pid is None else "not answering"
        return Standing(folder.name, state, more=last_event(folder), pid=pid)
    since = f"for {time_of(job.since_ms)}"
    more = since if job.failure is None else f"{since}; last failure: {job.failure}"
    return Standing(folder.name, job.state.lower(), waiting(job), more, pid)


def last_event(folder: Path) -> str:
    """The last event in the pipeline's log, as in `stop, 2026-01-31 12:00`."""
    try:
        *_, line = (folder / "log" / "events.jsonl").read_text(encoding="utf-8").splitlines()
        event = json.loads(line)
        cause = event.get("cause")
        return f"{event['event']}, {event['time'][:16].replace('T', ' ')} UTC{f': {cause}' if cause else ''}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
