"""What is done to the servers and to the job in a round, chosen by seed alone, and how it is done and mended."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any

import httpx
import psutil
import psycopg
import tenacity

from cli import stack
from cli.chaos.job import Job
from cli.chaos.world import World
from cli.stack import connect, kafka, opensearch, postgres, process
from cli.stack.layout import Layout, layout_of
from core.errors import FreshetError


class Fault(StrEnum):
    """Kinds of faults. Killing is kill -9; freezing is SIGSTOP, and SIGCONT some seconds later."""

    WORKER = "worker killed"
    JVM = "JVM killed"
    JOB = "job killed"
    JOB_WITHOUT_STATE = "job killed, state lost"
    RESTART = "job restarted"
    CONNECT = "Connect killed"
    KAFKA = "Kafka killed"
    POSTGRES = "Postgres killed"
    OPENSEARCH = "OpenSearch killed"
    POSTGRES_FROZEN = "Postgres frozen"
    KAFKA_FROZEN = "Kafka frozen"
    OPENSEARCH_FROZEN = "OpenSearch frozen"
    CONNECTOR = "connector restarted"
    SNAPSHOT = "offsets lost, snapshot"


_WEIGHTS = {
    Fault.WORKER: 16,
    Fault.JVM: 6,
    Fault.JOB: 8,
    Fault.JOB_WITHOUT_STATE: 8,
    Fault.RESTART: 6,
    Fault.CONNECT: 9,
    Fault.KAFKA: 9,
    Fault.POSTGRES: 12,
    Fault.OPENSEARCH: 9,
    Fault.POSTGRES_FROZEN: 6,
    Fault.KAFKA_FROZEN: 4,
    Fault.OPENSEARCH_FROZEN: 6,
    Fault.CONNECTOR: 5,
    Fault.SNAPSHOT: 8,
}
_DROP_SLOTS = """
    SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()"""
_SERVICES: dict[str, Callable[[Layout], process.Service]] = {
    "Postgres": postgres.service,
    "Kafka": kafka.service,
    "Connect": connect.service,
    "OpenSearch": opensearch.service,
}


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault of a round: when it begins, in seconds from the round's start, and how long until it is mended."""

    fault: Fault
    at_s: float
    lasts_s: float

    def __str__(self) -> str:
        return f"{self.fault} {self.at_s:.1f}+{self.lasts_s:.1f} s"


def strikes(choices: Random, seconds: float, stores: Sequence[str]) -> list[Strike]:
    """One or two different faults within `seconds`, in their order."""
    weights = {
        fault: weight
        for fault, weight in _WEIGHTS.items()
        if not fault.startswith("OpenSearch") or "opensearch" in stores
    }
    chosen = list(dict.fromkeys(choices.choices(list(weights), list(weights.values()), k=choices.choice((1, 2, 2)))))
    found = [Strike(fault, choices.uniform(0.2, seconds), _lasts(fault, choices)) for fault in chosen]
    return sorted(found, key=lambda strike: strike.at_s)


def _lasts(fault: Fault, choices: Random) -> float:
    if fault.endswith("frozen"):
        return choices.uniform(5, 10)
    return choices.uniform(1, 3) if fault is Fault.SNAPSHOT else choices.uniform(0.1, 3)


@dataclass(slots=True)
class Striker:
    """Does a round's strikes to the world and the job. `notes` are what didn't go as it should."""

    world: World
    job: Job
    choices: Random
    notes: list[str]

    def strike(self, strike: Strike) -> None:
        """Do it and mend it; what can't be mended now is mended when the round ends."""
        try:
            self._strike(strike)
        except (FreshetError, httpx.HTTPError, psycopg.Error, psutil.Error) as error:
            self.notes.append(f"{strike.fault}: {error}")

    def _strike(self, strike: Strike) -> None:
        fault = strike.fault
        if fault is Fault.WORKER:
            self._missed(strike, self.job.kill_worker(self.choices))
        elif fault is Fault.JVM:
            killed = self.job.kill_jvm(self.choices)
            self._missed(strike, killed)
            if killed:
                time.sleep(strike.lasts_s)
                self.job.start()
        elif fault in (Fault.JOB, Fault.JOB_WITHOUT_STATE):
            self.job.kill()
            time.sleep(strike.lasts_s)
            self.job.start(without_state=fault is Fault.JOB_WITHOUT_STATE)
        elif fault is Fault.RESTART:
            self.job.stop()
            time.sleep(strike.lasts_s)
            self.job.start()
        elif fault is Fault.CONNECTOR:
            parameters = {"includeTasks": "true"}
            _connect(self.world, "POST", "/restart", parameters)
        elif fault is Fault.SNAPSHOT:
            lose_offsets(self.world, strike.lasts_s, self.choices.randrange(9))
        else:
            self._server(strike)

    def _missed(self, strike: Strike, struck: bool) -> None:
        if not struck:
            self.notes.append(f"{strike.fault}: there was none")

    def _server(self, strike: Strike) -> None:
        name, _, what = strike.fault.partition(" ")
        found = process.find(_SERVICES[name](layout_of(self.world.stack.folder.parents[1])))
        if found is None:
            self.notes.append(f"{strike.fault}: it didn't run")
            return
        family = [found, *found.children(recursive=True)]
        if what == "killed":
            _signal(family, signal.SIGKILL)
            time.sleep(strike.lasts_s)
            mend(self.world)
            return
        try:
            _signal(family, signal.SIGSTOP)
            time.sleep(strike.lasts_s)
        finally:
            _signal(family, signal.SIGCONT)


def _signal(family: Sequence[psutil.Process], number: signal.Signals) -> None:
    # the parent first: it would start others in the place of children that ended
    for each in family:
        with suppress(psutil.NoSuchProcess):
            each.send_signal(number)


def mend(world: World) -> None:
    """Start what doesn't run of the stack. Tried again where another fault meets it at its start.

    Raises FreshetError where a server doesn't come up all the same.
    """
    again = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((FreshetError, httpx.HTTPError, psycopg.Error)),
        stop=tenacity.stop_after_attempt(4),
        wait=tenacity.wait_fixed(1),
        reraise=True,
    )
    again(lambda: stack.up(world.stack.folder.parents[1], lambda _: None))


def lose_offsets(world: World, seconds: float, remainder: int) -> None:
    """Stop the connector, forget where it was, and start it again after `seconds`: it snapshots anew.

    What is deleted meanwhile, it never tells: some articles at least, and what the writers delete.
    """
    _connect(world, "PUT", "/stop")
    _until(world, "STOPPED")
    # the offsets first: without its slot a connector that knows where it was would go on after a gap
    _connect(world, "DELETE", "/offsets")
    with psycopg.connect(world.dsn, autocommit=True, connect_timeout=5) as connection:
        again = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(psycopg.errors.ObjectInUse),
            stop=tenacity.stop_after_delay(20),
            wait=tenacity.wait_fixed(0.1),
            reraise=True,
        )
        again(lambda: connection.execute(_DROP_SLOTS))
        connection.execute("DELETE FROM articles WHERE id > 0 AND mod(id, 9) = %s", (remainder,))
    time.sleep(seconds)
    _connect(world, "PUT", "/resume")


def resume(world: World) -> None:
    """Let a connector go on that a fault met while its offsets were being forgotten."""
    if _status(world)["connector"]["state"] == "STOPPED":
        _connect(world, "PUT", "/resume")


def _status(world: World) -> dict[str, Any]:
    found: dict[str, Any] = _connect(world, "GET", "/status").json()
    return found


def _until(world: World, state: str) -> None:
    for _ in range(200):
        told = _status(world)
        if told["connector"]["state"] == state and not told["tasks"]:
            return
        time.sleep(0.1)
    raise FreshetError(f"connector {world.name} is not {state} after 20 s")


def _connect(world: World, method: str, path: str, parameters: dict[str, str] | None = None) -> httpx.Response:
    url = f"{world.stack.connect.url}/connectors/{world.name}{path}"
    again = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(httpx.HTTPError),
        stop=tenacity.stop_after_delay(30),
        wait=tenacity.wait_fixed(0.5),
        reraise=True,
    )
    return again(lambda: httpx.request(method, url, params=parameters, timeout=30).raise_for_status())
