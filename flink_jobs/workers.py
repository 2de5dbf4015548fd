"""What a Python worker needs that Flink doesn't give it."""

from __future__ import annotations

from typing import Any


def let_end_without_the_jvm() -> None:
    """Keeps a worker whose JVM was killed from hanging for ever, with its model in memory.

    Beam's log handler, when it is closed, holds its lock and waits for its reader; the reader prints that the JVM is
    gone; PyFlink turns what is printed into log entries, for which the reader needs the lock. So it doesn't print.
    """
    from apache_beam.runners.worker import log_handler

    vars(log_handler)["print"] = _nowhere


def _nowhere(*words: Any, **options: Any) -> None:
    """Prints nothing."""
