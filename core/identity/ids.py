"""Sets of ids of 16 bytes that may grow to any size, in state kept by key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec

_ID_BYTES = 16
_INLINE = 128
_PER_PAGE = 256
_FEWEST = 64


class Ids(msgspec.Struct, frozen=True, array_like=True):
    """A set of ids of 16 bytes: up to some in line, more in pages by their first hexadecimal digits.

    level  how many digits; 0: all are in line
    """

    count: int = 0
    level: int = 0
    inline: bytes = b""


class Pages(Protocol):
    """Where pages are kept, by name."""

    def get(self, name: str, /) -> bytes | None:
        """A page; None where there is none."""
        ...

    def __setitem__(self, name: str, page: bytes | None, /) -> None: ...


def split(ids: bytes) -> list[bytes]:
    """Ids on end, apart."""
    return [ids[at : at + _ID_BYTES] for at in range(0, len(ids), _ID_BYTES)]


def without(ids: bytes, gone: bytes) -> bytes:
    """Ids on end, less one of them; as they were where it isn't among them."""
    at = ids.find(gone)
    while at % _ID_BYTES and at >= 0:
        at = ids.find(gone, at + 1)
    return ids if at < 0 else ids[:at] + ids[at + _ID_BYTES :]


def all_of(pages: Pages, owner: str, ids: Ids) -> list[bytes]:
    """Every id of a set, in no order that means anything."""
    if not ids.level:
        return split(ids.inline)
    return [each for name in _names(owner, ids.level) for each in split(pages.get(name) or b"")]


def add(pages: Pages, owner: str, ids: Ids, new: bytes) -> Ids:
    """The set with an id that isn't in it. `owner` names its pages, and no other set's."""
    if ids.count >= (_PER_PAGE << (4 * ids.level) if ids.level else _INLINE):
        ids = _spread(pages, owner, ids, ids.level + 1)
    if not ids.level:
        return Ids(ids.count + 1, 0, ids.inline + new)
    name = _name(owner, ids.level, new)
    pages[name] = (pages.get(name) or b"") + new
    return Ids(ids.count + 1, ids.level)


def remove(pages: Pages, owner: str, ids: Ids, gone: bytes) -> Ids:
    """The set without an id that is in it."""
    if not ids.level:
        return Ids(ids.count - 1, 0, without(ids.inline, gone))
    name = _name(owner, ids.level, gone)
    pages[name] = without(pages.get(name) or b"", gone) or None
    ids = Ids(ids.count - 1, ids.level)
    fewest = _FEWEST << (4 * (ids.level - 1))
    return _spread(pages, owner, ids, ids.level - 1) if ids.count < fewest else ids


def _spread(pages: Pages, owner: str, ids: Ids, level: int) -> Ids:
    found = all_of(pages, owner, ids)
    if ids.level:
        for name in _names(owner, ids.level):
            pages[name] = None
    if not level:
        return Ids(ids.count, 0, b"".join(found))
    paged: dict[str, bytes] = {}
    for each in found:
        name = _name(owner, level, each)
        paged[name] = paged.get(name, b"") + each
    for name, page in paged.items():
        pages[name] = page
    return Ids(ids.count, level)


def _name(owner: str, level: int, each: bytes) -> str:
    return f"{owner}/{each.hex()[:level]}"


def _names(owner: str, level: int) -> Iterator[str]:
    return (f"{owner}/{page:0{level}x}" for page in range(16**level))
