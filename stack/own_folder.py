"""`.freshet` is its owner's alone: checkpoints, logs and databases hold what the sources do."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from core.errors import FreshetError

_MINE = 0o700
_WAY = 0o711
"""Of folders on the way to data of a server that doesn't run as root: to be passed, not to be looked into."""


def close(folder: Path) -> None:
    """Let nobody but its owner into a folder that is there. Whose owner is another one stays as it is."""
    _set(folder, _MINE)


def close_way(folder: Path) -> None:
    """As `close`; of root's folders others may pass through to what lies below by its name."""
    _set(folder, _WAY if os.geteuid() == 0 else _MINE)


def refuse_of_others(folder: Path) -> None:
    """Raise FreshetError where a folder is neither its user's nor root's."""
    owner = folder.stat().st_uid
    if owner not in (os.geteuid(), 0):
        raise FreshetError(
            f"{folder} belongs to user {owner}, and this is user {os.geteuid()}: "
            "run as that user, or start from another folder."
        )


def _set(folder: Path, mode: int) -> None:
    # some network shares know no modes
    with suppress(OSError):
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(mode)
