"""What is in a folder, and in parts of it: the files that are read, and what is left out, and why."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from core.documents.objects import ObjectListed
from core.errors import ObjectError

_EFFECTIVE = os.access in os.supports_effective_ids


@dataclass(frozen=True, slots=True)
class Listing:
    """What was found.

    files        by key
    directories  that were listed, as keys: "" for the folder itself
    left_out     why, by the key, or by that of a directory and a slash for all that is in it
    unseen       those of them that may be there all the same: what is known of such a file stays
    hidden       keys of files and directories whose names begin with a dot
    """

    files: dict[str, ObjectListed] = field(default_factory=dict)
    directories: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    unseen: set[str] = field(default_factory=set)
    hidden: list[str] = field(default_factory=list)

    def is_unseen(self, key: str) -> bool:
        """Whether a file of this key may be there, though it isn't among the files."""
        return bool(self.unseen) and (key in self.unseen or any(f"{each}/" in self.unseen for each in above(key)))


def listing(root: str, keys: Iterable[str] = ("",)) -> Listing:
    """What is at these keys of a folder, and below those that are directories; "" is all of it.

    root  a path without links in it

    Left out are names that begin with a dot, with all below them, names that are not UTF-8, links to folders and those
    that lead out or to nothing, files with several hard links, and what is no file. Raises OSError where the root
    itself can't be listed.
    """
    found = Listing()
    for key in keys:
        if not key:
            _under(root, "", found)
        elif not is_hidden(key):
            _at(root, key, found)
    return found


def is_hidden(key: str) -> bool:
    """Whether its name, or that of a directory that it lies in, begins with a dot."""
    return key.startswith(".") or "/." in key


def above(key: str) -> list[str]:
    """The keys of the directories that a key lies in, the outermost first."""
    parts = key.split("/")[:-1]
    return ["/".join(parts[: at + 1]) for at in range(len(parts))]


def found_at(root: str, key: str) -> str:
    """The path of the file that a key names, which may be a link to another one in the folder.

    Raises FileNotFoundError for a key below a link, as links to folders are not followed, ObjectError for one that
    leads out of the folder.
    """
    if "\x00" in key or key.startswith("/") or ".." in key.split("/"):
        raise ObjectError(f"{key!r} in {root} is no path within the folder")
    path = Path(root, key)
    if os.path.realpath(path.parent) != str(path.parent):
        raise FileNotFoundError(key)
    resolved = os.path.realpath(path)
    if not Path(resolved).is_relative_to(root):
        raise ObjectError(f"{key!r} in {root} is a link that leads out of the folder")
    return resolved


def etag(found: os.stat_result) -> str:
    """An ETag: it differs where the file does."""
    return f"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"


def hard_links(key: str, found: os.stat_result) -> str:
    """Why a file with several names isn't read, as it may lie elsewhere too; "" for one that has a single name."""
    if found.st_nlink <= 1:
        return ""
    return (
        f"{key!r} has {found.st_nlink} hard links: it may be a file of elsewhere, which nobody meant to be read; "
        "copy it into the folder instead"
    )


def is_readable(path: str) -> bool:
    """Whether this process may read what is there."""
    return os.access(path, os.R_OK, effective_ids=_EFFECTIVE)


def _under(root: str, key: str, found: Listing) -> None:
    """All below a directory, links not followed."""
    waiting = [key]
    while waiting:
        key = waiting.pop()
        path = os.path.join(root, key) if key else root  # noqa: PTH118  # a path a file costs more than its stat
        prefix = f"{key}/" if key else ""
        try:
            # where a link took a directory's place since its own was listed
            if os.path.realpath(path) != path:
                continue
            with os.scandir(path) as entries:
                for entry in entries:
                    if _is_taken(name := entry.name, prefix, found):
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(prefix + name)
                        else:
                            _take(root, prefix + name, entry, found)
        except OSError as error:
            if not key:
                raise
            if not isinstance(error, FileNotFoundError):
                _leave_out(f"{key}/", f"{key!r} can't be listed: {error.strerror or error}", found, unseen=True)
            continue
        found.directories.append(key)


def _at(root: str, key: str, found: Listing) -> None:
    path = Path(root, key)
    try:
        if os.path.realpath(path.parent) != str(path.parent):
            return
        is_directory = stat.S_ISDIR(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        why = f"{key!r} can't be looked at: {error.strerror or error}"
        _leave_out(key, why, found, unseen=True)
        _leave_out(f"{key}/", why, found, unseen=True)
        return
    if is_directory:
        _under(root, key, found)
    else:
        _take(root, key, path, found)


def _is_taken(name: str, prefix: str, found: Listing) -> bool:
    if name.startswith("."):
        found.hidden.append(prefix + name)
        return False
    try:
        name.encode()
    except UnicodeEncodeError:
        _leave_out(prefix + name, f"{prefix + name!r} is a name that isn't UTF-8: rename it", found)
        return False
    return True


def _take(root: str, key: str, entry: os.DirEntry[str] | Path, found: Listing) -> None:
    """A file's, link's or pipe's: into the files, or left out."""
    try:
        seen = Path(found_at(root, key)).stat() if entry.is_symlink() else _stat(entry)
    except FileNotFoundError:
        if entry.is_symlink():
            _leave_out(key, f"{key!r} is a link to nothing", found)
        return
    except (OSError, ObjectError) as error:
        why = f"{key!r} can't be looked at: {error.strerror or error}" if isinstance(error, OSError) else str(error)
        _leave_out(key, why, found, unseen=True)
        return
    if stat.S_ISDIR(seen.st_mode):
        _leave_out(key, f"{key!r} is a link to a folder, which isn't followed", found)
    elif not stat.S_ISREG(seen.st_mode):
        _leave_out(key, f"{key!r} is no regular file", found)
    elif why := hard_links(key, seen):
        _leave_out(key, why, found, unseen=True)
    else:
        found.files[key] = ObjectListed(key, seen.st_size, etag(seen), seen.st_mtime_ns // 1_000_000)


def _stat(entry: os.DirEntry[str] | Path) -> os.stat_result:
    return entry.lstat() if isinstance(entry, Path) else entry.stat(follow_symlinks=False)


def _leave_out(key: str, why: str, found: Listing, unseen: bool = False) -> None:
    found.left_out[key] = why
    if unseen:
        found.unseen.add(key)
