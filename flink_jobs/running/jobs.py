"""Submitting a job, watching it, stopping it with a savepoint, and finding the state it resumes from."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
from py4j.protocol import Py4JError, Py4JJavaError
from pyflink.common import CompletableFuture
from pyflink.common.job_client import JobClient
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway

from core.errors import FreshetError, Unavailable
from core.metrics.figures import counts
from flink_jobs.engine.worker_deaths import FOLDER, signal_of_death
from flink_jobs.running import failures
from flink_jobs.running.rest import Failure, alarm, completed_checkpoints, failure, figures, tasks

UNKNOWN = "UNKNOWN"
"""The state of a job that doesn't answer just now."""

_FAREWELL_S = 10.0
_BEFORE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Progress:
    """A running job, as its user sees it.

    state    Flink's job status: RUNNING, RESTARTING, FINISHED, …
    counts   Freshet's counters summed over operators and subtasks since the job's last (re)start
    failure  the newest one that made the job restart; None where there was none
    alarm    what is alarming in its figures, "" where nothing is
    tasks    how many of its tasks run, and how many there are; none where that isn't known
    checkpoints  how many are complete
    """

    state: str
    counts: Mapping[str, int]
    failure: Failure | None
    alarm: str = ""
    tasks: tuple[int, int] = (0, 0)
    checkpoints: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """A submitted job and the address of its REST API."""

    client: JobClient
    rest: str
    outcome: CompletableFuture

    def ended(self) -> bool:
        """Whether the job has reached a final state. Raises Unavailable where the JVM that runs it is gone."""
        with _jvm():
            return bool(self.outcome.done())

    def progress(self) -> Progress:
        """What the job says of itself now; empty counts where its REST API doesn't answer (it is gone once ended).

        Raises Unavailable where the local cluster's only TaskManager is gone: nobody starts another, and the job would
        wait for one for ever. Beam does that to it now and then, as a Python worker dies ("Reference count must not be
        negative" in DefaultJobBundleFactory).
        """
        with _jvm():
            job = f"{self.rest}/jobs/{self.client.get_job_id()}"
        try:
            with httpx.Client(timeout=5) as http:
                if self._is_abandoned(http):
                    raise Unavailable("Flink's TaskManager has failed and isn't there any more")
                overview = http.get(job).json()
                job_figures = figures(http, job, overview)
                return Progress(
                    overview.get("state", UNKNOWN),
                    counts(job_figures),
                    _with_signal(failure(http, job)),
                    alarm(job_figures),
                    tasks(overview),
                    completed_checkpoints(http, job),
                )
        except (httpx.HTTPError, ValueError):
            return Progress(UNKNOWN, {}, None)

    def _is_abandoned(self, http: httpx.Client) -> bool:
        # It is away too as the cluster starts, and as it is taken down, which is before the job's end is reported.
        deadline = time.monotonic() + _FAREWELL_S
        while http.get(f"{self.rest}/overview").json().get("taskmanagers") == 0 and not self.ended():
            if time.monotonic() > deadline:
                return True
            time.sleep(0.1)
        return False

    def stop_with_savepoint(self, directory: Path) -> str:
        """Stop the job once everything it read is written; the savepoint's path.

        Goes past PyFlink's own method, which in 2.2.1 looks for a class that isn't there. A job that can't take one,
        because it is just restarting, is cancelled, which keeps its last checkpoint: raises Unavailable, as
        where the JVM is gone.
        """
        with _jvm():
            return self._stopped_with_savepoint(directory)

    def _stopped_with_savepoint(self, directory: Path) -> str:
        formats = get_gateway().jvm.org.apache.flink.core.execution.SavepointFormatType
        jobs = self.client._j_job_client
        try:
            return str(jobs.stopWithSavepoint(False, directory.resolve().as_uri(), formats.CANONICAL).get())
        except Py4JJavaError as error:
            self.client.cancel().result()
            raise Unavailable(failures.explained(_trace(error))) from None

    def cancel(self) -> None:
        """End the job as it is; its last checkpoint stays."""
        with _jvm():
            self.client.cancel().result()

    def result(self) -> None:
        """Wait for the end. Raises FreshetError, which says why, where it isn't success."""
        try:
            self.outcome.result()
        except Py4JJavaError as error:
            raise FreshetError(f"the job has failed: {failures.explained(_trace(error))}") from None


def _with_signal(found: Failure | None) -> Failure | None:
    """Where Flink noticed first that a worker had died, which doesn't know by which signal."""
    folder = os.environ.get(FOLDER)
    if found is None or folder is None or found.cause != failures.WORKER_DIED:
        return found
    number = signal_of_death(Path(folder), (found.at_ms - _BEFORE_MS) * 1_000_000)
    return found if number is None else replace(found, cause=f"{found.cause} (signal {number})")


def _trace(error: Py4JJavaError) -> str:
    # Flink has logged it itself
    return str(get_gateway().jvm.org.apache.flink.util.ExceptionUtils.stringifyException(error.java_exception))


@contextmanager
def _jvm() -> Iterator[None]:
    try:
        yield
    except Py4JJavaError:
        raise
    except Py4JError:
        raise Unavailable("the JVM that ran the job is gone (killed, or out of memory)") from None


def submit(environment: StreamExecutionEnvironment, name: str, rest: str) -> Job:
    """Submit the job that was built on the environment. `rest` is where its REST API will answer, as in http://127.0.0.1:8081.

    Raises FreshetError, which says why, where Flink doesn't take it.
    """
    # Once the JVM is gone py4j logs a traceback for every call and every object let go: Job says it in a line.
    logging.getLogger("py4j.java_gateway").setLevel(logging.CRITICAL)
    logging.getLogger().addFilter(lambda record: record.module != "java_gateway")
    try:
        client = environment.execute_async(name)
    except Py4JJavaError as error:
        raise FreshetError(f"the job can't be started: {failures.explained(_trace(error))}") from None
    return Job(client, rest, client.get_job_execution_result())


def newest_state(directory: Path, since_ns: int = 0) -> Path | None:
    """The newest complete checkpoint or savepoint below a pipeline's directory, of those made after a time."""
    complete = [
        metadata
        for pattern in ("checkpoints/*/chk-*/_metadata", "savepoints/*/_metadata")
        for metadata in directory.glob(pattern)
        if metadata.stat().st_size > 0
    ]
    complete = [metadata for metadata in complete if metadata.stat().st_mtime_ns > since_ns]
    return max(complete, key=lambda metadata: metadata.stat().st_mtime_ns).parent if complete else None


def forget_checkpoints(directory: Path, but: Path) -> None:
    """Delete the checkpoints of earlier runs, all `but` the one to resume from."""
    for run in directory.glob("checkpoints/*"):
        if run not in but.parents:
            shutil.rmtree(run, ignore_errors=True)
