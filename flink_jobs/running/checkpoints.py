"""When a job's newest checkpoint was complete, as its REST API says: PyFlink's functions aren't notified."""

from __future__ import annotations

import logging

import httpx
from pyflink.java_gateway import get_gateway
from pyflink.table import StreamTableEnvironment

_ENDED = ("FINISHED", "CANCELED", "FAILED")
_log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of a cluster's only job, or of its job of this name. Can be sent to the job's workers.

    rest  the address of the REST API, as in http://127.0.0.1:8081
    """

    def __init__(self, rest: str, job: str) -> None:
        """Asks nothing yet."""
        self._rest = rest
        self._job = job

    def completed_ms(self) -> int:
        """When the newest complete one was triggered, in ms since 1970; 0 where there is none, or nobody answers."""
        try:
            with httpx.Client(base_url=self._rest, timeout=5) as http:
                jobs = http.get("/jobs/overview").raise_for_status().json()["jobs"]
                there = [job for job in jobs if job["state"] not in _ENDED]
                ours = there if len(there) == 1 else [job for job in there if job["name"] == self._job]
                # of two that have one name, nobody knows which is ours
                if len(ours) != 1:
                    return 0
                statistics = http.get(f"/jobs/{ours[0]['jid']}/checkpoints").raise_for_status().json()
        except (httpx.HTTPError, ValueError, KeyError) as error:
            _log.warning("the job's REST API at %s doesn't tell of checkpoints: %s", self._rest, error)
            return 0
        newest = (statistics.get("latest") or {}).get("completed")
        return int(newest["trigger_timestamp"]) if newest else 0


def checkpoints(tables: StreamTableEnvironment, job: str) -> Checkpoints:
    """Those of the job that is being built, by its name."""
    config = tables.get_config()
    return Checkpoints(f"http://{config.get('rest.address', 'localhost')}:{config.get('rest.port', '8081')}", job)


def interval_s(tables: StreamTableEnvironment) -> float:
    """How often the job checkpoints."""
    interval = tables.get_config().get("execution.checkpointing.interval", "5 s")
    milliseconds = get_gateway().jvm.org.apache.flink.util.TimeUtils.parseDuration(interval).toMillis()
    return float(milliseconds) / 1000
