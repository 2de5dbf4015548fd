"""What Python workers, and Python inside the JVM, need that Flink doesn't give them."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import StreamTableEnvironment

_JVM = "java"
_watching = threading.Lock()


def begin() -> None:
    """What each function does first that runs in a worker: all of the below."""
    end_with_the_runner()
    let_end_without_the_jvm()
    end_bundles_at_once()


def end_with_the_runner() -> None:
    """Has this worker end as soon as what Flink started it by has ended, whatever it is doing. Can be repeated.

    A job that fails and restarts ends the script that runs Python, and not Python: the worker would go on with its
    batch beside its successor, and a store that has no conditional writes, as Milvus and Pinecone, would be left with
    the older text. Nothing is done where no JVM is above this process, or the system has no pidfd_open (Linux 5.3 has).
    """
    if hasattr(os, "pidfd_open") and _watching.acquire(blocking=False):
        threading.Thread(target=_end_with, args=(_runners(),), name="runner", daemon=True).start()


def _runners() -> list[int]:
    """The processes above this one, up to the JVM (proc(5), "stat"); none where there is no JVM."""
    found, pid = list[int](), os.getppid()
    while pid > 0:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        name, _, rest = stat.partition("(")[2].rpartition(")")
        found.append(pid)
        if name == _JVM:
            return found
        pid = int(rest.split()[1])
    return []


def _end_with(runners: Sequence[int]) -> None:
    ends = select.poll()
    try:
        for each in runners:
            ends.register(os.pidfd_open(each), select.POLLIN)
    except ProcessLookupError:
        os._exit(1)
    if runners:
        ends.poll()
        # by no signal: what starts a worker would take it for one that was killed, and fail the job that runs now
        os._exit(1)


def let_end_without_the_jvm() -> None:
    """Keeps a worker whose JVM was killed from hanging for ever, with its model in memory.

    Beam's log handler, when it is closed, holds its lock and waits for its reader; the reader prints that the JVM is
    gone; PyFlink turns what is printed into log entries, for which the reader needs the lock. So it doesn't print.
    """
    from apache_beam.runners.worker import log_handler

    vars(log_handler)["print"] = _nowhere


def _nowhere(*words: Any, **options: Any) -> None:
    """Prints nothing, samples nothing."""


def end_bundles_at_once() -> None:
    """Keeps each bundle from ending a tenth later than it could, with the next one waiting.

    Beam samples what a bundle does from a thread that sleeps for a fifth of the time so far (200 ms at most), and the
    bundle ends when that thread wakes. Flink reads nothing of what it sampled.
    """
    from apache_beam.runners.worker.statesampler import StateSampler

    StateSampler.run = _nowhere


def leave_bundles_to_workers(tables: StreamTableEnvironment, environment: StreamExecutionEnvironment) -> None:
    """Python inside the JVM has no bundles, but each operator wakes for them as often as the option says.

    The workers' operators have copied theirs when their statements were attached; the others share the environment's.
    """
    option = "python.fn-execution.bundle.time"
    if tables.get_config().get(option, ""):
        rarely = Configuration()
        rarely.set_string(option, "1000")
        environment.configure(rarely)
