"""Milvus Lite: where a store's `uri` is a file, the first that asks starts its server, and the others join that.

Lite takes one process at a time. So a server of ours (`connectors.milvus.lite_server`) has the file, on 127.0.0.1, and
outlives the command that started it; it ends when nobody has asked for ten minutes. `<file>.server` says where it
listens, and is locked by it while it lives.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from core.errors import Unavailable, brief, not_installed

_START_SECONDS = 90.0
_LOOK_EVERY_S = 0.05
_PROGRAM = Path(__file__).with_name("lite_server.py")
_SMALL = {"MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES": str(2 * 2**20)}
"""What Lite keeps beside its files it puts together anew for each condition that isn't of ids: 0.2 s where it has 1,200
chunks, by its default of 128 MB."""


def is_file(uri: str) -> bool:
    """Whether a URI names a file of Lite's, and no server."""
    return "://" not in uri and not uri.startswith(("unix:", "tcp:"))


def address_of(uri: str) -> str:
    """The URL of a server: that of the URI, or of the file's own, which is started where it doesn't run.

    Raises Unavailable where it doesn't start, ConfigError where Milvus Lite isn't installed.
    """
    if not is_file(uri):
        return uri
    file = Path(uri).absolute()
    return listening(file) or _started(file)


def listening(file: Path) -> str:
    """Where the server of a file listens; "" where none does."""
    said = _beside(file, "server")
    try:
        with said.open("rb") as kept:
            if _locks(kept.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB):
                return ""  # nobody holds it
            return str(json.loads(kept.read())["url"])
    except (FileNotFoundError, ValueError, KeyError):
        return ""


def server_pid(file: Path) -> int | None:
    """The process of the server of a file; None where none runs."""
    try:
        return int(json.loads(_beside(file, "server").read_bytes())["pid"]) if listening(file) else None
    except (OSError, ValueError, KeyError):
        return None


def stop(file: Path, number: signal.Signals = signal.SIGTERM) -> bool:
    """End the server of a file, where one runs: the next that asks starts it again. Whether one ran."""
    pid = server_pid(file)
    if pid is None:
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, number)
    return True


def _started(file: Path) -> str:
    if find_spec("milvus_lite") is None:
        raise not_installed(f"store.milvus.uri, the file {file},", "milvus_lite", "milvus")
    file.parent.mkdir(parents=True, exist_ok=True)
    with _alone(file):
        if there := listening(file):
            return there
        log = _beside(file, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-P", str(_PROGRAM), str(file), str(_beside(file, "server"))],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd="/", start_new_session=True,
                env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | _SMALL,
            )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS
        while not (there := listening(file)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(
                    f"store.milvus.uri: Milvus Lite doesn't start on {file} "
                    f"({brief(log.read_text(encoding='utf-8', errors='replace')[-300:])}): look into {log}"
                )
            time.sleep(_LOOK_EVERY_S)
        return there


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    with _beside(file, "starting").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _beside(file: Path, what: str) -> Path:
    return file.with_name(f"{file.name}.{what}")


def _locks(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    return True
