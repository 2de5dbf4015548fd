"""Looks at a pipeline's job, one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import httpx

from core.config.pipeline import Pipeline
from core.errors import Unavailable
from flink_jobs.running.rest import Report
from operations.folder_lock import runs_as
from operations.job_file import JobFile, home, recall
from operations.status.listing import ending, seen
from operations.status.looks import Look

TIMEOUT_S = 5.0
"""For an answer of a job's."""

EVERY_S = 2.0
"""Between two looks of one who watches."""

FIRST_S = 1.0
"""Between the two looks that a rate needs."""


def place_of(pipeline: Pipeline, command: str) -> JobFile:
    """Where the pipeline's job is. Raises Unavailable where it has none, with `command`, which starts one."""
    found = recall(pipeline)
    if found is None:
        raise Unavailable(_without_a_job(pipeline, command))
    return found


def _without_a_job(pipeline: Pipeline, command: str) -> str:
    pid = runs_as(pipeline)
    if pid is None:
        history = ending(home(pipeline)) or "it never ran in this folder"
        return f"{pipeline.name} isn't running: {history}. {command} starts it"
    return f"{pipeline.name} is starting or ending{f', as pid {pid}' if pid else ''}: it has no job to look at now"


def looks(pipeline: Pipeline, place: JobFile, count: int | None, every_s: float) -> Iterator[Look]:
    """So many looks at the job, or as many as are taken. Raises Unavailable where it is gone."""
    with httpx.Client(timeout=TIMEOUT_S) as http:
        taken = 0
        while count is None or taken < count:
            if taken:
                time.sleep(every_s)
            yield _look(http, pipeline, place)
            taken += 1


def _look(http: httpx.Client, pipeline: Pipeline, place: JobFile) -> Look:
    """A look at the job that was remembered. Raises Unavailable where it isn't there any more."""
    try:
        return Look(time.monotonic(), _with_waiting(pipeline, seen(http, place)))
    except httpx.HTTPError:
        log = home(pipeline) / "log"
        pid = runs_as(pipeline)
        if pid is not None:
            state = (
                f"runs{f' as pid {pid}' if pid else ''}, but its job, at {place.rest}, doesn't answer now; see {log}"
            )
        else:
            last = ending(home(pipeline))
            how = f" ({last})" if last else ""
            state = f"isn't running: its last job, at {place.rest}, is gone{how}; see {log}"
        raise Unavailable(f"{pipeline.name} {state}") from None


def _with_waiting(pipeline: Pipeline, report: Report) -> Report:
    """As Kafka knows what waits, where the job doesn't: Flink counts it from the first event on that it reads."""
    if report.away or report.pending is not None or report.state != "RUNNING" or not pipeline.reads_kafka:
        return report
    # imported late: hardly any look needs it
    from connectors.kafka.feed import uncommitted

    return replace(report, pending=uncommitted(pipeline))
