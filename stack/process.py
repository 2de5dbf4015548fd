"""A server as a process that outlives the command: started detached, found again by its pid file, stopped by its pid.

A pid alone may belong to another process by now, and start times move with the clock: so a process counts as the
server only while its command line names the server's own configuration (`mark`), a path below the stack's folder.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from core.errors import Unavailable

_LAST_LINES = 20
_POLL_SECONDS = 0.05

Report = Callable[[str], None]
"""Takes one line about what is being done."""


@dataclass(frozen=True)
class User:
    """Whom a server runs as where that is not who we are."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Service:
    """One server's process: how it is called in messages, started, recognised and stopped.

    `mark` is an argument of its command line that no other process has. `deadlines` are the signals that stop it,
    each with the seconds it is given; after the last comes SIGKILL.
    """

    title: str
    mark: str
    log: Path
    pid: Path
    deadlines: tuple[tuple[signal.Signals, float], ...]


def find(service: Service) -> psutil.Process | None:
    """The service's live process, or None."""
    try:
        process = psutil.Process(int(service.pid.read_text()))
        ours = is_alive(process) and service.mark in process.cmdline()
    except (FileNotFoundError, ValueError, psutil.Error):
        return None
    return process if ours else None


def spawn(service: Service, command: Sequence[str], user: User | None = None) -> psutil.Process:
    """Starts the service detached from this process and its terminal, and writes its pid down."""
    if service.log.exists():
        service.log.replace(service.log.with_suffix(".log.1"))
    with service.log.open("wb") as log:
        process = psutil.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=environment(),
            start_new_session=True,
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
        )
    temporary = service.pid.with_suffix(".new")
    temporary.write_text(str(process.pid))
    temporary.replace(service.pid)
    return psutil.Process(process.pid)


def run(command: Sequence[str], user: User | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, and keeps what it says.

    Raises OSError where it can't be started, as the user may not reach it.
    """
    return subprocess.run(
        list(command),
        capture_output=True,
        text=True,
        errors="replace",
        cwd="/",
        env=environment(),
        user=user.uid if user else None,
        group=user.gid if user else None,
        extra_groups=[] if user else None,
    )


def ensure(
    service: Service, start: Callable[[], psutil.Process], ready: Callable[[], bool], seconds: float, report: Report
) -> None:
    """Starts the service where it doesn't run, and waits until it answers.

    Raises Unavailable, with the end of its log, where it ends first or takes longer than `seconds`.
    """
    process = find(service)
    if process is None:
        report(f"Starting {service.title}")
        process = start()
    deadline = time.monotonic() + seconds
    while not ready():
        if not is_alive(process):
            raise Unavailable(_failure(service, "ended while it started"))
        if time.monotonic() > deadline:
            raise Unavailable(_failure(service, f"runs (pid {process.pid}) but doesn't answer after {seconds:.0f} s"))
        time.sleep(_POLL_SECONDS)


def is_alive(process: psutil.Process) -> bool:
    """Whether the process still runs. One that ended does not, even where its parent never waits for it."""
    try:
        if process.status() != psutil.STATUS_ZOMBIE:
            return True
        process.wait(0)
    except (psutil.NoSuchProcess, psutil.TimeoutExpired):
        pass
    return False


def _failure(service: Service, what: str) -> str:
    said = service.log.read_text(encoding="utf-8", errors="replace").splitlines()
    # without Java's stack traces, which push out what they belong to
    lines = [line for line in said if not line.startswith("\tat ")][-_LAST_LINES:]
    return f"{service.title} {what}. The end of its log, {service.log}:\n" + "\n".join(f"  {line}" for line in lines)


def stop(service: Service) -> bool:
    """Stops the service and waits for its end; says whether it ran."""
    process = find(service)
    if process is not None:
        _stop(process, service.deadlines)
    service.pid.unlink(missing_ok=True)
    return process is not None


def _stop(process: psutil.Process, deadlines: tuple[tuple[signal.Signals, float], ...]) -> None:
    for number, seconds in (*deadlines, (signal.SIGKILL, 10.0)):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not is_alive(process):
                return
            time.sleep(_POLL_SECONDS)


def memory(process: psutil.Process) -> int:
    """The resident bytes of a process and its children; pages they share count once for each."""
    total = 0
    with suppress(psutil.Error):
        for each in (process, *process.children(recursive=True)):
            total += each.memory_info().rss
    return total


def environment() -> dict[str, str]:
    """This process's environment without what would change a server behind our back."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PG", "KAFKA_", "CLASSPATH"))}
