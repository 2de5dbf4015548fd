"""What changes in a folder, as it happens: by the system's events, and by listing all of it where those can't tell."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from connectors.folder.events import EventsLost, FolderEvents, NoEvents
from connectors.folder.files import Folder
from connectors.folder.listing import Listing, above, is_hidden
from core.documents.objects import ObjectListed

LOOK_S = 0.5
"""A file that is written on and on is reported twice a second at most."""

_PATIENCE_S = 0.4
_AT_ONCE = 500
_SETTLE_S = 1.0

_UNHEARD = 3
"""So many changes that nothing was heard of are no chance."""

_log = logging.getLogger(__name__)

Changes = list[tuple[str, ObjectListed | None]]


@dataclass(frozen=True, slots=True)
class Pace:
    """How often all of a folder is listed: a share of the time at most, and no more than once in so many seconds."""

    least_s: float
    times: int

    def pause_s(self, took_s: float) -> float:
        """How long to wait after a listing that took so long."""
        return max(self.least_s, took_s * self.times)


WITHOUT_EVENTS = Pace(LOOK_S, 20)
BEHIND_EVENTS = Pace(60, 100)


class FolderWatch:
    """What changes in a folder. For one thread.

    All is listed as it begins, then what the system says has changed, and all again now and then: events don't come
    of what another machine writes, and of what happens in a new directory before it is watched. Where listings find
    changes that nothing was heard of, or the system has no more watches to give, all is listed more often. That is
    logged, once.
    """

    def __init__(self, folder: Folder, behind_events: Pace = BEHIND_EVENTS) -> None:
        """Looks at nothing yet."""
        self._folder = folder
        self._behind_events = behind_events
        self._events: FolderEvents | None = FolderEvents(folder.root)
        self._root: tuple[int, int] | None = None
        self._waiting: set[str] = set()
        self._not_before = self._all_due = self._quick_due = 0.0
        self._is_sure = False
        self._unheard = 0
        self.left_out = 0

    def changes(self, known: Mapping[str, str]) -> Changes:
        """As `Folder.changes`; waits some tenths of a second for something to happen, and gives part of much at a time.

        `known` must have what was reported before. Raises Unavailable where the folder can't be listed.
        """
        time.sleep(max(0.0, self._not_before - time.monotonic()))
        self._look_at_root()
        self._hear()
        if time.monotonic() >= self._all_due or "" in self._waiting:
            return self._all(known)
        keys = set(islice(self._waiting, _AT_ONCE))
        self._waiting -= keys
        if keys and not self._waiting:
            self._not_before = time.monotonic() + LOOK_S
        return self._at(keys, known) if keys else []

    def close(self) -> None:
        """Hear no more."""
        if self._events is not None:
            self._events.close()

    def _look_at_root(self) -> None:
        try:
            found = Path(self._folder.root).stat()
        except OSError as error:
            raise self._folder.away() from error
        now = (found.st_dev, found.st_ino)
        if self._root not in (None, now):
            # another folder has the name now, or was mounted there
            self._begin_anew()
            self._all_due = 0.0
        self._root = now

    def _hear(self) -> None:
        """Wait for something to happen, or for the listing of all to be due."""
        left_s = max(0.0, self._all_due - time.monotonic())
        patience_s = 0.0 if self._waiting else min(_PATIENCE_S, left_s)
        if self._events is None:
            time.sleep(patience_s)
            return
        try:
            self._waiting.update(key for key in self._events.heard(patience_s) if not is_hidden(key))
        except EventsLost as lost:
            self._lost(lost)

    def _at(self, keys: set[str], known: Mapping[str, str]) -> Changes:
        directories = keys & self._covered()
        found = self._folder.look(keys)
        if self._cover(found.directories):
            # what came before they were watched
            found = self._folder.look(keys)
        return self._folder.changes_at(known, keys, found, directories)

    def _all(self, known: Mapping[str, str]) -> Changes:
        begun = time.monotonic()
        self._waiting.discard("")
        found = self._folder.look()
        changed = self._folder.changes(known, found)
        self.left_out = len(found.left_out)
        took_s = time.monotonic() - begun
        self._judge(changed)
        self._plan(found, took_s)
        return changed

    def _judge(self, changed: Changes) -> None:
        """Count what a listing found that nothing was heard of, where all was watched."""
        if self._events is None or not self._is_sure or not (unheard := self._not_heard(changed)):
            return
        time.sleep(_SETTLE_S)
        self._hear()
        before = self._unheard
        self._unheard += len(self._not_heard(changed) & unheard)
        if before < _UNHEARD <= self._unheard:
            _log.warning(
                "%s: files change without an event of the system, as on a network's file system (%r did): all of it is "
                "listed again and again",
                self._folder.path,
                min(unheard),
            )

    def _not_heard(self, changed: Changes) -> set[str]:
        heard = self._waiting
        return {
            key
            for key, _ in changed
            if key not in heard
            and heard.isdisjoint(above(key))
            and not Path(self._folder.root, key).is_symlink()  # it is its target that has events
        }

    def _plan(self, found: Listing, took_s: float) -> None:
        """Watch what is new, and say when all is to be listed next."""
        covered = self._covered()
        if len(covered) > 2 * len(found.directories) + _AT_ONCE:
            # most of them have gone
            self._begin_anew()
            covered = frozenset[str]()
        new = self._cover(set(found.directories) - covered)
        self._is_sure = self._events is not None and not new
        now = time.monotonic()
        self._not_before = now + LOOK_S
        self._quick_due = now + WITHOUT_EVENTS.pause_s(took_s)
        is_slow = self._events is not None and self._unheard < _UNHEARD
        # at once for what came before they were watched
        self._all_due = now if new else now + self._behind_events.pause_s(took_s) if is_slow else self._quick_due

    def _covered(self) -> frozenset[str]:
        return frozenset[str]() if self._events is None else self._events.directories

    def _cover(self, directories: Collection[str]) -> bool:
        """Watch these; whether that made a difference."""
        if self._events is None or not directories:
            return False
        try:
            self._events.cover(directories)
        except NoEvents as refused:
            _log.warning(
                "%s: the system doesn't tell what happens in its %s directories: %s. All is listed again and again",
                self._folder.path,
                f"{len(self._events.directories) + len(directories):,}",
                refused,
            )
            self.close()
            self._events = None
            self._all_due = min(self._all_due, self._quick_due)
            return False
        except EventsLost as lost:
            self._lost(lost)
            return False
        return True

    def _lost(self, lost: EventsLost) -> None:
        _log.info("%s: all of it is listed: %s", self._folder.path, lost)
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Hear anew. All is listed first, and no sooner than without events: these may break again and again."""
        self.close()
        self._events = FolderEvents(self._folder.root)
        self._is_sure = False
        self._all_due = min(self._all_due, self._quick_due)
