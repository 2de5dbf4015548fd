"""Where the time goes: CPU seconds of each process, and how busy Flink says its operators are."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isnan

import httpx
import psutil

from flink_jobs.running.jobs import Job
from stack.local import Stack

_BUSY = ("busyTimeMsPerSecond", "backPressuredTimeMsPerSecond")


@dataclass(frozen=True, slots=True)
class Shares:
    """Over a stretch of time.

    seconds  how long the stretch was
    changes  how many changes were applied in it
    cpu      CPU seconds that each process spent in it; one that ended meanwhile doesn't count
    others   CPU seconds that the machine spent on what isn't in `cpu`
    idle     CPU seconds that its processors had nothing to do: with the others they are `cores` × `seconds`
    cores    of the machine
    vertex   each operator chain's share of the time that it was busy (0 to 1) and that it waited for the next one
    """

    seconds: float
    changes: int
    cpu: Mapping[str, float]
    others: float
    idle: float
    cores: int
    vertex: Mapping[str, tuple[float, float]]


def sampled(stack: Stack, job: Job) -> Callable[[int], Shares]:
    """Starts the stretch; the function it returns takes the changes since and ends it. The job must be busy then."""
    before, busy, started = cpu_seconds(stack), _machine_seconds(), time.perf_counter()

    def end(changes: int) -> Shares:
        spent, seconds = cpu_seconds(stack), time.perf_counter() - started
        cpu = {name: used - before.get(name, 0.0) for name, used in spent.items()}
        all_of_it, cores = _machine_seconds() - busy, psutil.cpu_count() or 1
        others = max(0.0, all_of_it - sum(cpu.values()))
        return Shares(seconds, changes, cpu, others, max(0.0, cores * seconds - all_of_it), cores, _vertices(job))

    return end


def cpu_seconds(stack: Stack) -> dict[str, float]:
    """CPU seconds so far of each process of a bench, each counted once: the stack's servers may be its children too."""
    me = psutil.Process()
    spent = {"this process": _of(me)}
    servers = {"PostgreSQL": stack.postgres.server, "Kafka": stack.kafka.server, "Kafka Connect": stack.connect.server}
    theirs: set[int] = set()
    for name, server in servers.items():
        if server.pid is not None:
            process = psutil.Process(server.pid)
            spent[name] = of_server(process)
            theirs |= {each.pid for each in (process, *process.children(recursive=True))}
    for child in me.children(recursive=True):
        if child.pid in theirs:
            continue
        name = "Flink's JVM (decode, plan)" if child.name() == "java" else "Python worker (embed, write)"
        spent[name] = spent.get(name, 0.0) + _of(child)
    return spent


def _machine_seconds() -> float:
    """CPU seconds that all processors of the machine worked so far."""
    times = psutil.cpu_times()
    # macOS counts no interrupts
    interrupts = (getattr(times, name, 0.0) for name in ("irq", "softirq"))
    return float(times.user + times.nice + times.system + sum(interrupts))


def of_server(server: psutil.Process) -> float:
    """CPU seconds of a server, those of its ended processes too: PostgreSQL has one process for each connection."""
    ended = server.cpu_times()
    return sum(map(_of, [server, *server.children(recursive=True)])) + ended.children_user + ended.children_system


def _of(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _vertices(job: Job) -> dict[str, tuple[float, float]]:
    """Flink takes these every 5 s: a run shorter than that has zeros. A source that can't tell says NaN: left out."""
    address = f"{job.rest}/jobs/{job.client.get_job_id()}"
    found = {}
    with httpx.Client(timeout=5) as http:
        for vertex in http.get(address).json()["vertices"]:
            url = f"{address}/vertices/{vertex['id']}/subtasks/metrics"
            entries = http.get(url, params={"get": ",".join(_BUSY), "agg": "avg"}).json()
            values = {entry["id"]: float(entry["avg"]) / 1000 for entry in entries}
            busy, held = values.get(_BUSY[0], 0.0), values.get(_BUSY[1], 0.0)
            if not isnan(busy):
                found[vertex["name"]] = (busy, held)
    return found
