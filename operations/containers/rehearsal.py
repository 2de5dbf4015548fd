"""`freshet compose --rehearse`: what a Compose file starts, run as processes where there is no Docker engine.

Of the file are each service's command, environment, configs, secrets, volumes, health check and place in the order of
starting. Of an image is what `images` has in its stead. Linux alone has what it takes: namespaces.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from core.errors import FreshetError
from operations.containers.images import fetch
from operations.folder_lock import alone
from stack.own_folder import close

ALONE = ("--mount", "--net", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc")

_ENDING_S = 120.0


def rehearse(file: Path, question: str, program: str) -> int:
    """Start all services of the file, wait until they are well, search, and stop them; the exit code.

    `program` is the module that has `operations.containers.playing` play them, in a process with namespaces of its own.
    Raises FreshetError where this isn't root on Linux, or root isn't let have namespaces of its own.
    """
    if not is_possible():
        raise FreshetError(
            f"a rehearsal of containers needs Linux and root: `unshare {' '.join(ALONE)} true` fails here. Run it "
            "with sudo; within a container, in one that was started with --privileged"
        )
    folder = Path(".freshet").resolve() / "containers"
    refusal = f"another rehearsal runs in {folder.parent}: let it end, or use another folder"
    with alone(folder.with_suffix(".lock"), refusal):
        return _rehearse(file, folder, question, program)


def _rehearse(file: Path, folder: Path, question: str, program: str) -> int:
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("images", "logs", "volumes"):
        (folder / name).mkdir(parents=True)
    close(folder)
    fetch()
    engine = [sys.executable, "-m", program, str(file.resolve()), str(folder), question]
    # what ends this process ends the rehearsal: unshare itself obeys neither SIGINT nor SIGTERM
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    process = subprocess.Popen(["unshare", *ALONE, "--", *engine])
    try:
        return process.wait()
    except KeyboardInterrupt:
        return process.wait(_ENDING_S)  # the terminal signals the engine too, which ends its services
    finally:
        process.kill()
        process.wait()


def is_possible() -> bool:
    """Whether this process may have namespaces of its own, with mounts in them."""
    trial = ["unshare", *ALONE, "--", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    try:
        return os.geteuid() == 0 and subprocess.run(trial, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
