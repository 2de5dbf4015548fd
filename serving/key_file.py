"""A server's file of keys, followed: whoever adds or removes one needn't start the server again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from core.errors import ConfigError
from serving.access import Grant, by_keys
from serving.keys import read_keys

_EVERY_S = 1.0

_log = logging.getLogger(__name__)


class KeyFile:
    """Who is let in by the keys of a file, as it is now."""

    def __init__(self, path: Path, indexes: Mapping[str, frozenset[str]], people: frozenset[str]) -> None:
        """Read it; `indexes` and `people` as in `by_keys`. Raises ConfigError where a key is none, or doesn't fit."""
        self._path, self._indexes, self._people = path, indexes, people
        self._seen = _stamp(path)
        self._let_in, self._paces = by_keys(read_keys(path), indexes, people)

    def let_in(self, authorization: str) -> Grant:
        """See `serving.access.LetIn`."""
        return self._let_in(authorization)

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Read it again whenever it has changed, until the block ends."""
        over = Event()
        thread = Thread(target=self._follow, args=(over,), name="keys", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _follow(self, over: Event) -> None:
        while not over.wait(_EVERY_S):
            if (now := _stamp(self._path)) != self._seen:
                self._seen = now
                self._read()

    def _read(self) -> None:
        try:
            self._let_in, self._paces = by_keys(read_keys(self._path), self._indexes, self._people, self._paces)
        except ConfigError as error:
            _log.warning("the keys of before let in still: %s", error)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What differs once a file was written, or another one put in its place; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
