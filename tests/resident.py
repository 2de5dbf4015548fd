"""A process that runs commands of `freshet` one after the other, and pays once for loading Python's modules and Flink.

A job of three events takes 20 s of a core, and 5 s where the JVM has run one before. The command is the one that a user
types, in a main thread, with its folder, signals, output and exit code; only the process isn't its own. Tests of what
becomes of the process itself, and of what Flink logs, run it alone (`Workshop.running`, `alone`).
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from tests import forked_workers

ROOT = Path(__file__).parents[1]
_OF_ONE_TEST = "PYTEST_CURRENT_TEST"
"""Which pytest sets anew for each test: with it no resident would ever run a second test's commands."""
Kind = Literal["jobs", "commands"]
"""What starts a JVM, and what a test types meanwhile."""
MOST_COMMANDS: Mapping[Kind, int] = {"jobs": 40, "commands": 1000}
"""Then another process takes over: of the JVM, as classes that Flink made for a job are never unloaded."""


@dataclass
class Command:
    """A command at work in a resident: as much of `subprocess.Popen` as tests use."""

    process: subprocess.Popen[str]
    returncode: int | None = field(default=None, init=False)

    @property
    def pid(self) -> int:
        """The resident's, which leads a process group of its own."""
        return self.process.pid

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once there is one. Raises TimeoutExpired."""
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("freshet", timeout or 0)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """As `kill` does, while it runs."""
        if self.poll() is None:
            self.process.send_signal(number)

    def _ended(self, timeout: float | None) -> int | None:
        answers = self.process.stdout
        assert answers is not None
        if self.returncode is None and select.select([answers], [], [], timeout)[0]:
            line = answers.readline()
            self.returncode = int(line) if line else self.process.wait()
        return self.returncode


@dataclass
class _Resident:
    process: subprocess.Popen[str]
    most: int
    environment: Mapping[str, str]
    last: Command
    commands: int = 0

    def suits(self, environment: Mapping[str, str]) -> bool:
        """Whether it is free, and as it was begun: what went wrong may have left something behind."""
        free = self.process.poll() is None and self.last.poll() == 0 and self.commands < self.most
        return free and self.environment == environment


_residents: dict[Kind, _Resident] = {}
_workers: list[forked_workers.Server] = []


def plain() -> dict[str, str]:
    """The environment of a command that a test types: of one kind, so that tests of many files share a process."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "NO_COLOR": "1", "COLUMNS": "250"}


def start(kind: Kind, arguments: Sequence[str], folder: Path, output: Path, environment: Mapping[str, str]) -> Command:
    """Begin a command in a folder; what it prints goes to a file."""
    # late: the resident itself needs no client of AWS
    from tests.aws import CREDENTIALS

    # in any case: a JVM goes on for jobs with and without
    given = {**CREDENTIALS, **environment}
    resident = _resident(kind, {name: value for name, value in given.items() if name != _OF_ONE_TEST})
    output.write_text("", encoding="utf-8")  # so that who looks before the command begins finds nothing of the last one
    order = {"arguments": list(arguments), "folder": str(folder), "output": str(output)}
    orders = resident.process.stdin
    assert orders is not None
    orders.write(json.dumps(order) + "\n")
    orders.flush()
    resident.last = Command(resident.process)
    resident.commands += 1
    return resident.last


def end_all() -> None:
    """Leave no process behind."""
    for kind in list(_residents):
        _end(kind)
    while _workers:
        _workers.pop().end()


def _resident(kind: Kind, environment: Mapping[str, str]) -> _Resident:
    found = _residents.get(kind)
    if found is not None and not found.suits(environment):
        _end(kind)
        found = None
    if found is None:
        python = str(_forking().program) if kind == "jobs" else sys.executable
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.resident", kind, python], cwd=ROOT, env=dict(environment), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        first = Command(process)
        first.returncode = 0
        found = _residents[kind] = _Resident(process, MOST_COMMANDS[kind], environment, first)
    return found


def _forking() -> forked_workers.Server:
    if not _workers:
        _workers.append(forked_workers.started(Path(tempfile.mkdtemp(prefix="workers-"))))
    return _workers[0]


def _end(kind: Kind) -> None:
    resident = _residents.pop(kind)
    with suppress(ProcessLookupError):
        os.killpg(resident.process.pid, signal.SIGKILL)
    resident.process.wait()
    for pipe in (resident.process.stdin, resident.process.stdout):
        assert pipe is not None
        with suppress(BrokenPipeError):
            pipe.close()


def serve(kind: Kind, python: str) -> None:
    """Take orders from the standard input until it ends, and answer each with its exit code on the standard output.

    python  what Flink starts as Python
    """
    orders, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    if kind == "jobs":
        _share_flink()
        _share_workers(python)
    for line in orders:
        if kind == "jobs":
            _number_anew()
        code = _obey(json.loads(line))
        answers.write(f"{code}\n")
        answers.flush()


def _share_flink() -> None:
    """Have one JVM take a job after another: it loads Python's library once, so jobs must share the class that does.

    FLINK-37727; on a cluster flink-python in its lib/ does the same. Jobs share the classes of their JARs too, by a
    variable that PyFlink adds to the class path: each job loaded 2,500 of Kafka's anew, half of all that it loads.
    """
    from flink_jobs.engine import environment
    from stack.jars import OF_JOBS, fetch

    environment.CLUSTER["classloader.parent-first-patterns.additional"] = "pemja."
    os.environ["HADOOP_CLASSPATH"] = os.pathsep.join(str(jar) for jar in fetch(OF_JOBS))
    os.environ["JVM_ARGS"] = f"{environment.JVM_FLAGS} -Xmx2g"


def _share_workers(program: str) -> None:
    from flink_jobs.engine import worker_deaths

    watched = worker_deaths.watched

    def of_program(python: str, folder: Path) -> str:
        return watched(program, folder)

    worker_deaths.watched = of_program


def _number_anew() -> None:
    """Have Flink's planner number a job's parts as in a new JVM: the source's state is found by these numbers."""
    from pyflink import java_gateway

    gateway = java_gateway._gateway
    if gateway is None:
        return
    java = gateway.jvm
    loader = java.org.apache.flink.table.planner.loader.PlannerModule.getInstance().getSubmoduleClassLoader()
    name = "org.apache.flink.table.planner.plan.nodes.exec.ExecNodeContext"
    nothing = gateway.new_array(java.java.lang.Class, 0)
    reset = java.java.lang.Class.forName(name, True, loader).getMethod("resetIdCounter", nothing)
    reset.invoke(None, gateway.new_array(java.java.lang.Object, 0))


def _obey(order: dict[str, list[str] | str]) -> int:
    from cli.main import app

    os.chdir(str(order["folder"]))
    with Path(str(order["output"])).open("w", encoding="utf-8") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.argv = ["freshet", *order["arguments"]]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        app()
        code: object = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    streams: tuple[IO[str], IO[str]] = (sys.stdout, sys.stderr)
    for stream in streams:
        stream.flush()
    return code if isinstance(code, int) else 1


def finish(job: Command | subprocess.Popen[str], patience_s: float = 30.0) -> None:
    """Stop a job that still runs, with a savepoint; kill it where it doesn't."""
    if isinstance(job, Command) and job.poll() is None:
        job.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            job.wait(patience_s)
    if job.poll() is None:
        kill(job)


def kill(job: Command | subprocess.Popen[str]) -> None:
    """kill -9 of a job with all it started: its JVM and its Python workers."""
    if isinstance(job, Command) and job.returncode is not None:
        return
    with suppress(ProcessLookupError):
        os.killpg(job.pid, signal.SIGKILL)
    job.wait()


if __name__ == "__main__":
    assert sys.argv[1] in ("jobs", "commands")
    serve("jobs" if sys.argv[1] == "jobs" else "commands", sys.argv[2])
