"""A folder in the place of a bucket, for a laptop: keys are paths within it, and nothing outside it can be read."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from connectors.folder.listing import Listing, etag, found_at, hard_links, is_readable, listing
from core.config.source import Folder as Watched
from core.documents.objects import Fetched, Gone, ObjectListed
from core.errors import ConfigError, ObjectError, Unavailable
from core.formats.s3 import notification

SETTING = "source.file"

_UNREADABLE = "-unreadable"
"""Behind the ETag of a file that this process may not read: when it may, the file is another one."""

_NAMED_AT_ONCE = 10

_log = logging.getLogger(__name__)


def opened(watched: Watched, documents: Collection[str]) -> Folder:
    """The folder that a pipeline of these documents watches, as seen from the current one.

    Raises ConfigError where it isn't there.
    """
    (bucket,) = documents
    return Folder(watched.path, bucket)


class Folder:
    """The folder `path` as a bucket of a name. Can be sent to other processes of this machine."""

    def __init__(self, path: str, bucket: str) -> None:
        """Raises ConfigError where it isn't there."""
        self.bucket = bucket
        self.path = path
        self.root = os.path.realpath(Path(path).expanduser())
        self._said: dict[str, str] = {}
        if not Path(self.root).is_dir():
            raise ConfigError([f"{SETTING}: {path!r} is no folder: make it, or correct the path"])

    def fetch(self, bucket: str, key: str, admit: Callable[[int], None]) -> Fetched | Gone:
        """The file as it is now. See `core.documents.objects.Fetcher`.

        A key below a link to another folder isn't there, as in `listing`. Raises ObjectError for a key or a symbolic
        link that leads out of the folder, for a file with several hard links, and for what can't be read, Unavailable
        where the folder itself is gone.
        """
        read_ms = time.time_ns() // 1_000_000
        try:
            path = found_at(self.root, key)
            # not to wait for the other end of a pipe
            opened = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
        except (FileNotFoundError, NotADirectoryError):
            if not Path(self.root).is_dir():
                raise self.away() from None
            return Gone(read_ms)
        except OSError as error:
            raise ObjectError(f"{key!r} in {bucket} can't be read: {error.strerror or error}") from error
        try:
            found = os.fstat(opened)
            if stat.S_ISDIR(found.st_mode):
                return Gone(read_ms)
            if not stat.S_ISREG(found.st_mode):
                raise ObjectError(f"{key!r} in {bucket} is no regular file")
            if why := hard_links(key, found):
                raise ObjectError(why)
            admit(found.st_size)
            with open(opened, "rb", closefd=False) as file:
                content = file.read(found.st_size)
        finally:
            os.close(opened)
        return Fetched(content, read_ms, etag(found), last_modified_ms=found.st_mtime_ns // 1_000_000)

    def listing(self) -> Iterator[ObjectListed]:
        """The files, in order of their keys, without what `look` leaves out.

        Raises Unavailable where the folder can't be listed.
        """
        files = self.look().files
        yield from (files[key] for key in sorted(files))

    def summary(self) -> str:
        """How many files it has, and what is left out, in a line. Raises Unavailable where it can't be listed."""
        found = self.look()
        reasons = sorted(found.left_out.values())
        named = [*reasons[:_NAMED_AT_ONCE], *([f"{len(more):,} more"] if (more := reasons[_NAMED_AT_ONCE:]) else [])]
        hidden = [f"{len(found.hidden):,} names that begin with a dot"] if found.hidden else []
        left_out = f"; left out: {'; '.join([*hidden, *named])}" if hidden or named else ""
        return f"{self.path} has {len(found.files):,} files{left_out}"

    def look(self, keys: Iterable[str] | None = None) -> Listing:
        """All of the folder, or what is at these keys and below them, as `connectors.folder.listing.listing` has it.

        Raises Unavailable where the folder can't be listed.
        """
        try:
            return listing(self.root, ("",) if keys is None else keys)
        except OSError as error:
            raise self.away() from error

    def changes(self, known: Mapping[str, str], found: Listing | None = None) -> list[tuple[str, ObjectListed | None]]:
        """Each file that is new or other than in `known` (ETags by key), by its key; None for one that went.

        To watch a folder, ask again and again. A file that is being written comes again when it has grown, and one that
        can't be read when it can. What is left out is logged, once as long as it stays.
        Raises Unavailable where the folder can't be listed: what it had is not gone.

        found  a look at all of the folder; None: one that is made now
        """
        seen = self.look() if found is None else found
        self._said = self._say(seen.left_out)
        return self._changed(known, seen) + [
            (key, None) for key in known if key not in seen.files and not seen.is_unseen(key)
        ]

    def changes_at(
        self, known: Mapping[str, str], keys: Collection[str], found: Listing, directories: Collection[str]
    ) -> list[tuple[str, ObjectListed | None]]:
        """As `changes`, of what was found in a look at these keys, of which `directories` were some.

        Raises Unavailable where the folder isn't there: then nothing of it is, and nothing is gone.
        """
        self._said |= self._say(found.left_out)
        if not Path(self.root).is_dir():
            raise self.away()
        below = tuple(f"{key}/" for key in directories)
        asked = {key for key in keys if key in known}
        if below:
            asked.update(key for key in known if key.startswith(below))
        gone = [key for key in sorted(asked) if key not in found.files and not found.is_unseen(key)]
        return self._changed(known, found) + [(key, None) for key in gone]

    def _changed(self, known: Mapping[str, str], found: Listing) -> list[tuple[str, ObjectListed | None]]:
        changed: list[tuple[str, ObjectListed | None]] = []
        for key in sorted(key for key, each in found.files.items() if known.get(key) != each.etag):
            each = found.files[key]
            if not is_readable(f"{self.root}/{key}"):
                each = replace(each, etag=f"{each.etag}{_UNREADABLE}")
            if known.get(key) != each.etag:
                changed.append((key, each))
        return changed

    def _say(self, left_out: dict[str, str]) -> dict[str, str]:
        news = [why for key, why in left_out.items() if self._said.get(key) != why]
        for why in news[:_NAMED_AT_ONCE]:
            _log.warning("%s: left out: %s", self.path, why)
        if more := news[_NAMED_AT_ONCE:]:
            _log.warning("%s: left out: %s more", self.path, f"{len(more):,}")
        return left_out

    def notification(self, key: str, found: ObjectListed | None) -> bytes:
        """A notification of one of `changes`."""
        if found is None:
            return notification(self.bucket, key, gone=True)
        return notification(self.bucket, key, found.size, found.etag)

    def away(self) -> Unavailable:
        """What to raise where the folder isn't there."""
        return Unavailable(f"{SETTING}: {self.path!r} can't be listed: mount it, or make it again")
