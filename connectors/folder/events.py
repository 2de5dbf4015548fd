"""The system's events of files (inotify, FSEvents), of the directories that are named and of no others.

Each directory is watched by itself: watched with all below it, the library follows links out of the folder, and gives
up where one directory can't be read.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from connectors.folder.listing import is_readable

_STEP_S = 0.05
_PARTS = 8
"""Each takes a thread, and one of the 128 instances of inotify that a user has."""
_TRIES = 5


class NoEvents(Exception):
    """The system tells of no more directories; the message says why."""


class EventsLost(Exception):
    """Events were lost: all of the folder must be looked at, and watched anew."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Directories that were named at once: to the library none can be added."""

    notify: RustNotify
    directories: frozenset[str]


class FolderEvents:
    """What happens in directories of a folder, by their keys; "" is the folder itself. For one thread."""

    def __init__(self, root: str) -> None:
        """Hears nothing yet. `root` is a path without links in it."""
        self._root = root.rstrip("/")
        self._parts: list[_Part] = []
        self._heard: set[str] = set()

    @property
    def directories(self) -> frozenset[str]:
        """Those that are watched, or were until they went."""
        return frozenset[str]().union(*(part.directories for part in self._parts))

    def cover(self, directories: Collection[str]) -> None:
        """Watch these directories too, and again those that were made anew. Raises NoEvents."""
        if not directories:
            return
        self._parts.append(self._opened(frozenset(directories)))
        if len(self._parts) > _PARTS:
            few = self._parts[1:]
            one = self._opened(frozenset[str]().union(*(part.directories for part in few)))
            self._heard |= self._happened(few)
            self._parts[1:] = [one]
            _close(few)

    def heard(self, wait_s: float) -> set[str]:
        """The keys of all that something happened to since the last time; waits so long for the first.

        Raises EventsLost: then close it, and hear anew.
        """
        until = time.monotonic() + wait_s
        while True:
            found, self._heard = self._heard | self._happened(self._parts), set()
            if found or time.monotonic() >= until:
                return found
            time.sleep(_STEP_S)

    def close(self) -> None:
        """Hear no more."""
        _close(self._parts)
        self._parts = []

    def _happened(self, parts: Collection[_Part]) -> set[str]:
        paths: set[str] = set()
        for part in parts:
            try:
                answer = part.notify.watch(1, 1, 1, None)
            except WatchfilesRustInternalError as error:
                # once it has met a name that isn't UTF-8, or lost something, it says nothing else
                raise EventsLost(str(error)) from None
            if not isinstance(answer, str):
                paths.update(path for _, path in answer)
        prefix = len(self._root) + 1
        return {path[prefix:] for path in paths}

    def _opened(self, directories: frozenset[str]) -> _Part:
        error: Exception | None = None
        for _ in range(_TRIES):
            there = [path for key in directories if (path := self._watchable(key)) is not None]
            try:
                notify = RustNotify(there, False, False, 1_000, False, False)
            except (FileNotFoundError, PermissionError) as gone:
                error = gone
                continue
            except (OSError, WatchfilesRustInternalError) as refused:
                raise NoEvents(_why(refused)) from None
            # where the system has no events at all, the library lists
            if repr(notify).startswith("RustNotify(Poll("):
                notify.close()
                raise NoEvents("the system has none")
            return _Part(notify, directories)
        raise NoEvents(str(error))

    def _watchable(self, key: str) -> str | None:
        path = f"{self._root}/{key}" if key else self._root or "/"
        return path if Path(path).is_dir() and is_readable(path) else None


def _close(parts: Collection[_Part]) -> None:
    for part in parts:
        part.notify.close()


def _why(refused: Exception) -> str:
    said = str(refused)
    if "watch limit" in said:
        return "it watches as many directories as it may: raise fs.inotify.max_user_watches"
    if "Too many open files" in said or f"os error {errno.EMFILE}" in said:
        return "too many watch already: raise fs.inotify.max_user_instances"
    return said.partition(" (")[0]
