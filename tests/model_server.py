"""`freshet model serve` in a process of its own, as a user starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class ModelServer:
    """The server's URL, as an `embedding.openai.url` has it, and its process."""

    url: str
    described: str
    process: subprocess.Popen[str]
    log: Path

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(40)


@contextmanager
def model_server(folder: Path, *options: str) -> Iterator[ModelServer]:
    """On a free port of 127.0.0.1, once it can be asked."""
    log = folder / "serve.log"
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "model", "serve", "--port", "0", *options],
            cwd=Path(__file__).parents[1],
            env={**os.environ, "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    try:
        described, line = process.stdout.readline().strip(), process.stdout.readline()
        found = re.match(r"serving at (http\S+/v1)", line)
        assert found, f"{described}\n{line}\n{log.read_text(encoding='utf-8')}"
        yield ModelServer(found[1], described, process, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()
