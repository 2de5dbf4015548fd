"""A folder in the place of a bucket, for a laptop: keys are paths within it, and nothing outside it can be read."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from core.errors import ConfigError, ObjectError
from core.formats.s3 import notification
from core.objects import Fetched, Gone, ObjectListed

SCHEME = "file:"

_log = logging.getLogger(__name__)


class Folder:
    """The folder `path`; its bucket is called `file:` and the path as given."""

    def __init__(self, path: str, setting: str) -> None:
        """Raises ConfigError where it isn't there; `setting` is the pipeline file's key in messages."""
        self.bucket = SCHEME + path
        self._root = Path(os.path.realpath(path))
        if not self._root.is_dir():
            raise ConfigError([f"{setting}: {path!r} is no folder: make it, or correct the path"])

    def fetch(self, bucket: str, key: str, admit: Callable[[int], None]) -> Fetched | Gone:
        """The file as it is now. See `core.objects.Fetcher`.

        Raises ObjectError for a key or a symbolic link that leads out of the folder, and for what can't be read.
        """
        read_ms = time.time_ns() // 1_000_000
        path = self._path(key)
        try:
            # not to wait for the other end of a pipe
            opened = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
        except (FileNotFoundError, NotADirectoryError):
            return Gone(read_ms)
        except OSError as error:
            raise ObjectError(f"{key!r} in {bucket} can't be read: {error.strerror or error}") from error
        try:
            found = os.fstat(opened)
            if stat.S_ISDIR(found.st_mode):
                return Gone(read_ms)
            if not stat.S_ISREG(found.st_mode):
                raise ObjectError(f"{key!r} in {bucket} is no regular file")
            admit(found.st_size)
            with open(opened, "rb", closefd=False) as file:
                content = file.read(found.st_size)
        finally:
            os.close(opened)
        return Fetched(content, read_ms, _etag(found), last_modified_ms=found.st_mtime_ns // 1_000_000)

    def _path(self, key: str) -> str:
        if "\x00" in key or key.startswith("/") or ".." in key.split("/"):
            raise ObjectError(f"{key!r} in {self.bucket} is no path within the folder")
        path = os.path.realpath(self._root / key)
        if not Path(path).is_relative_to(self._root):
            raise ObjectError(f"{key!r} in {self.bucket} is a link that leads out of the folder")
        return path

    def listing(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectListed]:
        """The files whose keys begin with `prefix`, in order of their keys; those after `start_after` alone.

        Links to folders are not followed; links to files that lead out, and names that are not UTF-8, are left out.
        """
        for found in self._under(self._root, ""):
            if found.key.startswith(prefix) and found.key > start_after:
                yield found

    def _under(self, folder: Path, prefix: str) -> Iterator[ObjectListed]:
        try:
            with os.scandir(folder) as entries:
                names = {entry.name + "/" * entry.is_dir(follow_symlinks=False): entry for entry in entries}
        except OSError as error:
            _log.warning("%s%s can't be listed: %s", self.bucket, "/" + prefix.rstrip("/"), error.strerror)
            return
        for name in sorted(names):
            if name.endswith("/"):
                yield from self._under(folder / name, prefix + name)
            elif (found := self._listed(prefix + name)) is not None:
                yield found

    def _listed(self, key: str) -> ObjectListed | None:
        try:
            key.encode("utf-8")
            found = Path(self._path(key)).stat()
        except (OSError, UnicodeEncodeError, ObjectError) as error:
            _log.warning("%s: left out: %s", self.bucket, error)
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        return ObjectListed(key, found.st_size, _etag(found), found.st_mtime_ns // 1_000_000)

    def changes(self, before: Mapping[str, ObjectListed]) -> tuple[dict[str, ObjectListed], list[bytes]]:
        """What is there now, by key, and a notification for each file that is new, other or gone since `before`.

        Watching is asking again and again. A file that is being written is told again when it has grown.
        """
        now = {found.key: found for found in self.listing()}
        told = [
            notification(self.bucket, found.key, found.size, found.etag)
            for found in now.values()
            if before.get(found.key) != found
        ]
        told += [notification(self.bucket, key, gone=True) for key in before if key not in now]
        return now, told


def _etag(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"
