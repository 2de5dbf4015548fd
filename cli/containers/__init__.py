"""`freshet compose --rehearse`: what a Compose file starts, run as processes where there is no Docker engine.

Of the file are each service's command, environment, configs, secrets, volumes, health check and place in the order of
starting. Of an image is what `cli.containers.images` has in its stead. Linux alone has what it takes: namespaces.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cli.containers.images import fetch
from cli.own_folder import close
from core.errors import FreshetError

_ALONE = ("--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")


def rehearse(file: Path, question: str) -> int:
    """Start all services of the file, wait until they are well, search, and stop them; the exit code.

    Raises FreshetError where this machine lets nobody have namespaces of his own.
    """
    if not is_possible():
        raise FreshetError(
            "a rehearsal of containers needs Linux, and leave for namespaces of one's own: `unshare "
            f"{' '.join(_prefix())} true` fails here. In a container start that one with --privileged; elsewhere see "
            "kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns, or run it as root"
        )
    folder = Path(".freshet").resolve() / "containers"
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("images", "logs", "volumes"):
        (folder / name).mkdir(parents=True)
    close(folder)
    fetch()
    engine = [sys.executable, "-m", "cli.containers", str(file.resolve()), str(folder), question]
    return subprocess.run(["unshare", *_prefix(), "--", *engine], check=False).returncode


def is_possible() -> bool:
    """Whether this process may have namespaces of its own, with mounts in them."""
    trial = ["unshare", *_prefix(), "--", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    try:
        return subprocess.run(trial, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _prefix() -> Sequence[str]:
    return _ALONE if os.geteuid() == 0 else ("--user", "--map-root-user", *_ALONE)
