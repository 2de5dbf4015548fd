"""A Python worker that is killed is noticed at once, whether or not it has something to do.

Flink notices with the next batch, so perhaps in an hour, and nobody tells it by which signal. So what starts a local
job's Python waits for its end, and writes it down where a function that ticks inside the JVM looks.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyflink.common import Row
from pyflink.datastream import RuntimeContext
from pyflink.datastream.functions import FlatMapFunction

from core.errors import Unavailable

FOLDER = "FRESHET_WORKER_DEATHS"
"""The variable, of the JVM and of workers, that says where deaths are written down; not there: nobody does."""

_DEATHS = "died.*"
_PYTHON = """#!/bin/sh
# Starts Python for Flink, and writes down by which signal it ended.
export {variable}={folder}
{python} "$@"
code=$?
if [ "$code" -gt 128 ] && [ "$code" -lt 193 ]; then
    echo $((code - 128)) > {folder}/new.$$
    mv {folder}/new.$$ {folder}/died.$$
fi
exit "$code"
"""


def watched(python: str, folder: Path) -> str:
    """The path of a program that runs this Python and writes below `folder`, emptied first, by which signal it ended.

    Each run has a folder of its own there: a worker of the run before may outlive it. Where nothing in it may be
    executed it is `python` itself, and nothing is written down.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder = folder.resolve() / str(os.getpid())
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "python"
    quoted = {"python": shlex.quote(python), "folder": shlex.quote(str(folder)), "variable": FOLDER}
    program.write_text(_PYTHON.format(**quoted), encoding="utf-8")
    program.chmod(0o755)
    os.environ[FOLDER] = str(folder)
    # Flink's script, which starts it, doesn't quote it
    plain = re.fullmatch(r"[\w./+@:,=-]+", str(program))
    return str(program) if plain and os.access(program, os.X_OK) else python


def signal_of_death(folder: Path, since_ns: int) -> int | None:
    """By which signal a worker died at or after this time (ns since 1970); None where none did."""
    for death in sorted(folder.glob(_DEATHS), key=lambda death: death.stat().st_mtime_ns, reverse=True):
        if death.stat().st_mtime_ns >= since_ns:
            return int(death.read_text(encoding="ascii"))
        break
    return None


class WatchWorkers(FlatMapFunction):
    """Rows that tick in, none out: fails the job, which restarts from its checkpoint, where a worker has died."""

    def open(self, runtime_context: RuntimeContext) -> None:
        """Leave earlier deaths out: the job was started anew after them."""
        self._since = time.time_ns()
        folder = os.environ.get(FOLDER)
        self._folder = None if folder is None else Path(folder)

    def flat_map(self, value: Row) -> Iterator[Any]:
        """Raises Unavailable where a worker has died."""
        if self._folder is not None and (number := signal_of_death(self._folder, self._since)) is not None:
            raise Unavailable(f"the embedding worker died (signal {number})")
        yield from ()
