"""How a round's faults are done to the servers and to the job, and mended."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random

import httpx
import psutil
import psycopg
import tenacity

from chaos import aws
from chaos.between import BETWEEN
from chaos.job import Job
from chaos.strikes import Fault, Strike
from chaos.world import World, vectors
from connectors.milvus import lite
from core.errors import FreshetError
from stack import connect, kafka, opensearch, postgres, process
from stack import local as stack
from stack.layout import Layout, layout_of

_SERVICES: dict[str, Callable[[Layout], process.Service]] = {
    "Postgres": postgres.service,
    "Kafka": kafka.service,
    "Connect": connect.service,
    "OpenSearch": opensearch.service,
    "AWS": aws.service,
}


@dataclass(slots=True)
class Striker:
    """Does a round's strikes to the world and the job.

    notes  what didn't go as it should
    wrong  what the job did otherwise than it must: it went on where it must refuse, or said nothing
    """

    world: World
    job: Job
    choices: Random
    notes: list[str]
    wrong: list[str]

    def strike(self, strike: Strike) -> None:
        """Do it and mend it; what can't be mended now is mended when the round ends."""
        try:
            self._strike(strike)
        except (FreshetError, httpx.HTTPError, psycopg.Error, psutil.Error) as error:
            self.notes.append(f"{strike.fault}: {error}")

    def _strike(self, strike: Strike) -> None:
        fault = strike.fault
        if fault in BETWEEN:
            self.wrong += BETWEEN[fault](self.world, self.job, strike, self.choices)
        elif fault in (Fault.WORKER, Fault.WORKER_IDLE):
            self._missed(strike, self.job.kill_worker(self.choices))
            time.sleep(strike.lasts_s if fault is Fault.WORKER_IDLE else 0)
        elif fault is Fault.JVM:
            killed = self.job.kill_jvm(self.choices)
            self._missed(strike, killed)
            if killed:
                time.sleep(strike.lasts_s)
                self.job.start()
        elif fault in (Fault.JOB, Fault.JOB_WITHOUT_STATE):
            self.job.kill()
            time.sleep(strike.lasts_s)
            self.job.start(*(["--without-state"] if fault is Fault.JOB_WITHOUT_STATE else []))
        elif fault is Fault.RESTART:
            self.job.stop()
            time.sleep(strike.lasts_s)
            self.job.start()
        elif fault is Fault.MILVUS:
            # who asks next starts it again
            file = vectors(self.world.file.parent)
            self._missed(strike, lite.stop(file, signal.SIGKILL))
        elif fault.partition(" ")[0] in _SERVICES and fault is not Fault.AWS_BUSY:
            self._server(strike)
        else:
            self.world.feed.strike(strike, self.choices)

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
