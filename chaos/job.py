"""The pipeline's job as its user runs it, `freshet run` in a process group of its own: started, killed, watched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Lock

import httpx
import msgspec
import psutil
from confluent_kafka import KafkaException

from chaos.world import World
from connectors.kafka import clients as kafka_clients
from core.errors import FreshetError
from flink_jobs.running.rest import figures
from operations.job_file import JobFile

_STOP_SECONDS = 40.0
_LAST_LINES = 12
_LOOK_EVERY_S = 0.3
_ANEW = frozenset({"--without-state", "--rebuild"})
_READ = ("changes", "skipped", "notifications", "records")


@dataclass(slots=True)
class Job:
    """The job, which may not run. Faults of one round use it from several threads."""

    world: World
    folder: Path
    starts: int = 0
    process: subprocess.Popen[bytes] | None = None
    _lock: Lock = field(default_factory=Lock)

    @property
    def home(self) -> Path:
        """Where the pipeline keeps its state and its logs."""
        return self.folder / ".freshet" / "pipelines" / self.world.name

    def read(self) -> int:
        """How many events its run has read since it last began, as far as it tells; 0 where it doesn't."""
        try:
            place = msgspec.json.decode((self.home / "job.json").read_bytes(), type=JobFile)
            address = f"{place.rest}/jobs/{place.job}"
            with httpx.Client(timeout=2) as http:
                metrics = figures(http, address, http.get(address).raise_for_status().json())
            return sum(int(each.value) for each in metrics if each.name in _READ)
        except (OSError, msgspec.DecodeError, httpx.HTTPError, ValueError, KeyError):
            return 0

    @property
    def log(self) -> Path:
        """What the last start has said."""
        return self.folder / f"{self.world.name}-run-{self.starts}.log"

    def start(self, *options: str) -> None:
        """Start it with options of `freshet run`, unless it runs."""
        with self._lock:
            if self.runs():
                return
            if _ANEW.intersection(options):
                self._forget_progress()
            self.starts += 1
            command = [sys.executable, "-m", "cli", "run", self.world.file.name]
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(
                    [*command, *options],
                    cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment(),
                    start_new_session=True,
                )  # fmt: skip

    def _forget_progress(self) -> None:
        if not self.world.pipeline.reads_kafka:
            return
        # else the group would say that all is read until the job's first checkpoint
        servers = self.world.pipeline.kafka.bootstrap_servers
        admin = kafka_clients.admin({"bootstrap.servers": servers})
        with suppress(KafkaException):
            for deleted in admin.delete_consumer_groups([self.world.place.group]).values():
                deleted.result()

    def ended(self, within_s: float) -> int | None:
        """Its exit code, once it has ended by itself; None where it runs after so long. Raises as `ensure`."""
        if self.process is None:
            raise FreshetError("the job was never started")
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(within_s)
        return None

    def says(self, what: str, within_s: float) -> bool:
        """Whether its last start says this within so long."""
        until = time.monotonic() + within_s
        while what not in self.said():
            if time.monotonic() > until:
                return False
            time.sleep(_LOOK_EVERY_S)
        return True

    def said(self) -> str:
        """All that the last start has said."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def runs(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """kill -9 of all that belongs to it: the command, its JVM, its Python workers."""
        with self._lock:
            if self.process is not None:
                with suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def stop(self) -> None:
        """Stop it with a savepoint; kill it where that takes longer than 40 s."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOP_SECONDS)
        self.kill()

    def kill_worker(self, choices: Random) -> bool:
        """kill -9 of a Python worker; False where there is none now."""
        return self._kill_one(_is_worker, choices)

    def kill_jvm(self, choices: Random) -> bool:
        """kill -9 of the JVM alone, and wait until the command has ended by itself; False where there is none now."""
        process = self.process
        if process is None or not self._kill_one(_is_jvm, choices):
            return False
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        return True

    def _kill_one(self, wanted: Callable[[list[str]], bool], choices: Random) -> bool:
        if self.process is None or not self.runs():
            return False
        with suppress(psutil.Error):
            below = psutil.Process(self.process.pid).children(recursive=True)
            named = sorted(each.pid for each in below if wanted(each.cmdline()))
            if named:
                os.kill(choices.choice(named), signal.SIGKILL)
                return True
        return False

    def last_lines(self) -> str:
        """The end of what the last start has said."""
        return "\n".join(self.said().splitlines()[-_LAST_LINES:])

    def ensure(self) -> str:
        """Start it where it has ended; says how it ended, "" where it runs.

        Raises FreshetError where it was never started.
        """
        if self.process is None:
            raise FreshetError("the job was never started")
        code = self.process.poll()
        if code is None:
            return ""
        log = self.log.name
        self.kill()
        self.start()
        return f"the job had ended with code {code}, see {log}; started again"


def _is_worker(command: list[str]) -> bool:
    # not the shell that waits for its end
    return command[1:2] == ["-m"] and command[2].startswith("pyflink.fn_execution")


def _is_jvm(command: list[str]) -> bool:
    return any("PythonGatewayServer" in part for part in command)


def _environment() -> dict[str, str]:
    # the code that this command runs, and no other that may be installed
    return {**os.environ, "NO_COLOR": "1", "COLUMNS": "250", "PYTHONPATH": str(Path(__file__).parents[1])}
