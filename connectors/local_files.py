"""A folder in the place of a bucket, for a laptop: keys are paths within it, and nothing outside it can be read."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from core.config import Pipeline
from core.errors import ConfigError, ObjectError, Unavailable
from core.formats.s3 import notification
from core.objects import Fetched, Gone, ObjectListed

SETTING = "source.file"

_log = logging.getLogger(__name__)


def opened(pipeline: Pipeline) -> Folder | None:
    """The folder that a pipeline watches, as seen from the current one; None where it watches none.

    Raises ConfigError where it isn't there.
    """
    if pipeline.source.file is None:
        return None
    (bucket,) = pipeline.documents
    return Folder(pipeline.source.file.path, bucket)


class Folder:
    """The folder `path` as a bucket of a name. Can be sent to other processes of this machine."""

    def __init__(self, path: str, bucket: str) -> None:
        """Raises ConfigError where it isn't there."""
        self.bucket = bucket
        self.path = path
        self._root = Path(os.path.realpath(Path(path).expanduser()))
        if not self._root.is_dir():
            raise ConfigError([f"{SETTING}: {path!r} is no folder: make it, or correct the path"])

    def fetch(self, bucket: str, key: str, admit: Callable[[int], None]) -> Fetched | Gone:
        """The file as it is now. See `core.objects.Fetcher`.

        Raises ObjectError for a key or a symbolic link that leads out of the folder, for a file with several hard
        links, and for what can't be read, Unavailable where the folder itself is gone.
        """
        read_ms = time.time_ns() // 1_000_000
        path = self._path(key)
        try:
            # not to wait for the other end of a pipe
            opened = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
        except (FileNotFoundError, NotADirectoryError):
            if not self._root.is_dir():
                raise self._away() from None
            return Gone(read_ms)
        except OSError as error:
            raise ObjectError(f"{key!r} in {bucket} can't be read: {error.strerror or error}") from error
        try:
            found = os.fstat(opened)
            if stat.S_ISDIR(found.st_mode):
                return Gone(read_ms)
            if not stat.S_ISREG(found.st_mode):
                raise ObjectError(f"{key!r} in {bucket} is no regular file")
            _look_at_links(key, found)
            admit(found.st_size)
            with open(opened, "rb", closefd=False) as file:
                content = file.read(found.st_size)
        finally:
            os.close(opened)
        return Fetched(content, read_ms, _etag(found), last_modified_ms=found.st_mtime_ns // 1_000_000)

    def _path(self, key: str) -> str:
        if "\x00" in key or key.startswith("/") or ".." in key.split("/"):
            raise ObjectError(f"{key!r} in {self.path} is no path within the folder")
        path = os.path.realpath(self._root / key)
        if not Path(path).is_relative_to(self._root):
            raise ObjectError(f"{key!r} in {self.path} is a link that leads out of the folder")
        return path

    def listing(self) -> Iterator[ObjectListed]:
        """The files, in order of their keys.

        Left out are hidden files and folders (their names begin with a dot), links that lead out, files with several
        hard links, and names that are not UTF-8. Links to folders are not followed. Raises Unavailable where the folder
        can't be listed.
        """
        yield from self._under(self._root, "", [])

    def _under(self, folder: Path, prefix: str, unseen: list[str]) -> Iterator[ObjectListed]:
        """Those below a prefix; to `unseen` what can't be looked at, and so need not be gone, is added."""
        try:
            with os.scandir(folder) as entries:
                names = [
                    entry.name + "/" * entry.is_dir(follow_symlinks=False)
                    for entry in entries
                    if not entry.name.startswith(".")
                ]
        except OSError as error:
            if not prefix:
                raise self._away() from error
            if not isinstance(error, FileNotFoundError):
                _log.warning("%s/%s can't be listed: %s", self.path, prefix.rstrip("/"), error.strerror)
                unseen.append(prefix)
            return
        for name in sorted(names):
            if name.endswith("/"):
                yield from self._under(folder / name, prefix + name, unseen)
            elif (found := self._listed(prefix + name, unseen)) is not None:
                yield found

    def _listed(self, key: str, unseen: list[str]) -> ObjectListed | None:
        try:
            key.encode("utf-8")
            found = Path(self._path(key)).stat()
            if not stat.S_ISREG(found.st_mode):
                return None
            _look_at_links(key, found)
        except FileNotFoundError:
            return None
        except (OSError, UnicodeEncodeError, ObjectError) as error:
            _log.warning("%s: left out: %s", self.path, error)
            unseen.append(key)
            return None
        return ObjectListed(key, found.st_size, _etag(found), found.st_mtime_ns // 1_000_000)

    def changes(self, told: Mapping[str, str]) -> list[tuple[str, ObjectListed | None]]:
        """Each file that is new or other than it was `told` of (its key and ETag), by its key; None for one that went.

        Watching is asking again and again. A file that is being written is there again when it has grown.
        Raises Unavailable where the folder can't be listed: what it had is not gone.
        """
        unseen: list[str] = []
        now = {found.key: found for found in self._under(self._root, "", unseen)}
        changed: list[tuple[str, ObjectListed | None]] = [
            (found.key, found) for found in now.values() if told.get(found.key) != found.etag
        ]
        away = tuple(unseen)
        return changed + [(key, None) for key in told if key not in now and not key.startswith(away)]

    def notification(self, key: str, found: ObjectListed | None) -> bytes:
        """A notification of one of `changes`."""
        if found is None:
            return notification(self.bucket, key, gone=True)
        return notification(self.bucket, key, found.size, found.etag)

    def _away(self) -> Unavailable:
        return Unavailable(f"{SETTING}: {self.path!r} can't be listed: mount it, or make it again")


def _look_at_links(key: str, found: os.stat_result) -> None:
    if found.st_nlink > 1:
        raise ObjectError(
            f"{key!r} has {found.st_nlink} hard links: it may be a file of elsewhere, which nobody meant to be read; "
            "copy it into the folder instead"
        )


def _etag(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"
