"""Freshet's own commands as the demo runs them: processes, each with a log, ended in order."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.errors import Unavailable

_LOOK_EVERY_S = 0.1
_ENDS_WITHIN_S = 120.0
_SHOWN = 2_000
_URL = re.compile(r"serving at (http://\S+)")


@dataclass(frozen=True, slots=True)
class Running:
    """A process that runs, and the file that it prints into."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def url(self, patience_s: float) -> str:
        """The address that it says it serves at. Raises Unavailable where it says none in time."""
        deadline = time.monotonic() + patience_s
        while (found := _URL.search(self.log.read_text(encoding="utf-8"))) is None:
            self.check()
            if time.monotonic() > deadline:
                raise Unavailable(f"{self.name} isn't there after {patience_s:.0f} s; see {self.log}")
            time.sleep(_LOOK_EVERY_S)
        return found.group(1)

    def check(self) -> None:
        """Raises Unavailable where it has ended."""
        if (code := self.process.poll()) is not None:
            said = self.log.read_text(encoding="utf-8")[-_SHOWN:]
            raise Unavailable(f"{self.name} ended with {code}; {self.log} says:\n{said}")


@contextmanager
def running(
    name: str, arguments: list[str], folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Python with these arguments, in the current folder, until the block ends; `folder` gets its log."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
            # Ctrl-C is the demo's, which ends them in order
            start_new_session=True,
        )
    try:
        yield Running(name, process, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
