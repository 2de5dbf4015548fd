"""What Python workers, and Python inside the JVM, need that Flink doesn't give them."""

from __future__ import annotations

from typing import Any

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import StreamTableEnvironment


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
