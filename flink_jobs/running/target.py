"""A job on a session cluster that runs anyway: found, submitted, watched and stopped over the cluster's REST API."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pyflink.datastream import StreamExecutionEnvironment

from core.errors import FreshetError, Unavailable
from core.metrics.figures import counts
from flink_jobs.running.failures import explained
from flink_jobs.running.jobs import UNKNOWN, Progress
from flink_jobs.running.rest import alarm, completed_checkpoints, failure, figures, tasks

_ENDED = ("FINISHED", "CANCELED", "FAILED")
_SAVEPOINT_SECONDS = 600.0
_POLL_SECONDS = 0.2
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class TargetJob:
    """A job of a cluster that others may use too.

    rest  the address of the cluster's REST API, as in http://127.0.0.1:8081
    id    the job's, there
    """

    rest: str
    id: str

    def ended(self) -> bool:
        """Whether the job has reached a final state.

        Raises Unavailable where the cluster doesn't answer for a minute, or was started anew and has lost the job.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return bool(self._asked(f"/jobs/{self.id}")["state"] in _ENDED)
            except httpx.HTTPError as error:
                if time.monotonic() > deadline:
                    raise Unavailable(f"the cluster at {self.rest} doesn't answer: {error}") from None
                time.sleep(_POLL_SECONDS)

    def progress(self) -> Progress:
        """What the job says of itself now; UNKNOWN where the cluster doesn't answer."""
        job = f"{self.rest}/jobs/{self.id}"
        try:
            with httpx.Client(timeout=5) as http:
                overview = http.get(job).raise_for_status().json()
                job_figures = figures(http, job, overview)
                return Progress(
                    overview.get("state", UNKNOWN),
                    counts(job_figures),
                    failure(http, job),
                    alarm(job_figures),
                    tasks(overview),
                    completed_checkpoints(http, job),
                )
        except (httpx.HTTPError, ValueError):
            return Progress(UNKNOWN, {}, None)

    def stop_with_savepoint(self, directory: Path) -> str:
        """Stop the job once everything it read is written; the savepoint's path.

        A job that can't take one is cancelled, which keeps its last checkpoint: raises Unavailable.
        """
        body = {"drain": False, "targetDirectory": directory.resolve().as_uri()}
        deadline = time.monotonic() + _SAVEPOINT_SECONDS
        try:
            trigger = self._sent("POST", f"/jobs/{self.id}/stop", body)["request-id"]
            while (savepoint := self._asked(f"/jobs/{self.id}/savepoints/{trigger}"))["status"]["id"] != "COMPLETED":
                if time.monotonic() > deadline:
                    raise Unavailable(f"no savepoint within {_SAVEPOINT_SECONDS:.0f} s")
                time.sleep(_POLL_SECONDS)
            if "location" not in savepoint["operation"]:
                cause = savepoint["operation"].get("failure-cause", {})
                raise Unavailable(explained(cause.get("stack-trace", cause.get("class", ""))))
        except (Unavailable, httpx.HTTPError) as error:
            self.cancel()
            raise Unavailable(str(error)) from None
        return str(savepoint["operation"]["location"])

    def result(self) -> None:
        """What came of a job that has ended. Raises FreshetError where that isn't success."""
        state = self._asked(f"/jobs/{self.id}")["state"]
        if state != "FINISHED":
            raise FreshetError(
                f"the job is {state.lower()} on {self.rest}: {self.progress().failure or 'no cause given'}"
            )

    def cancel(self) -> None:
        """End the job as it is; its last checkpoint stays. Raises Unavailable."""
        try:
            self._sent("PATCH", f"/jobs/{self.id}?mode=cancel", None)
        except httpx.HTTPError as error:
            raise Unavailable(f"the cluster at {self.rest} doesn't answer: {error}; the job may run on") from None

    def _asked(self, path: str) -> dict[str, Any]:
        return self._sent("GET", path, None)

    def _sent(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        with httpx.Client(base_url=self.rest, timeout=10) as http:
            answer = http.request(method, path, json=body)
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise Unavailable(f"the cluster at {self.rest} has no job {self.id} any more: it was started anew")
        parsed: dict[str, Any] = answer.raise_for_status().json() if answer.content else {}
        return parsed


def running_job(rest: str, name: str) -> TargetJob | None:
    """The cluster's job of this name that hasn't ended; None where there is none.

    Raises Unavailable where the cluster doesn't answer, FreshetError where there are several.
    """
    try:
        with httpx.Client(base_url=rest, timeout=10) as http:
            jobs = http.get("/jobs/overview").raise_for_status().json()["jobs"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise Unavailable(f"no Flink cluster answers at {rest}: {error}") from None
    there = [job["jid"] for job in jobs if job["name"] == name and job["state"] not in _ENDED]
    if len(there) > 1:
        raise FreshetError(f"{rest} runs {len(there)} jobs called {name}: cancel all but one of {', '.join(there)}")
    return TargetJob(rest, there[0]) if there else None


def submit_to(environment: StreamExecutionEnvironment, name: str, rest: str) -> TargetJob:
    """Submit the job that was built on the environment of `target_environment`, with what it needs."""
    return TargetJob(rest, str(environment.execute_async(name).get_job_id()))
