"""A root folder for each container: this machine's files to be read, what is changed kept apart, and places of its own.

Everything here is called in namespaces of the rehearsal's own ("namespaces(7)"), where mounts are nobody else's.
"""

from __future__ import annotations

import os
import posixpath
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

_OWN = ("mnt", "run", "tmp")
"""Empty for each container."""
_KERNELS = ("dev", "proc", "sys")
_CHANGED = ("etc", "opt", "usr", "var")
"""As here, until a container changes something, which no other sees."""


@dataclass(frozen=True)
class Root:
    """A container's root, mounted at `folder`; processes in it have `user` as their uid, which reads what is ours."""

    folder: Path
    user: int

    def at(self, path: str) -> Path:
        """Where a path of the container's is: neither `..` nor a link leads out of its root."""
        steps = PurePosixPath(posixpath.normpath(f"/{path}")).parts[1:]
        place = self.folder
        for number, step in enumerate(steps, start=1):
            place /= step
            if place.is_symlink():
                return self.at(str(PurePosixPath("/", *steps[: number - 1], place.readlink(), *steps[number:])))
        return place

    def put(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file in the container, in place of a file or link of this name."""
        place = self._place(path)
        place.unlink(missing_ok=True)
        place.write_text(text, encoding="utf-8")
        place.chmod(mode)

    def link(self, path: str, to: Path) -> None:
        """A path of the container's that leads to a file or folder of this machine."""
        self._place(path).symlink_to(to)

    def _place(self, path: str) -> Path:
        """Where something of this name is made, whose folder is there then; a link of this name isn't followed."""
        folder, name = posixpath.split(posixpath.normpath(f"/{path}"))
        made = self.at(folder)
        made.mkdir(parents=True, exist_ok=True)
        return made / name

    def bind(self, path: str, source: Path, read_only: bool = False) -> None:
        """A folder or file of this machine in the container."""
        if source.is_dir():
            self.at(path).mkdir(parents=True, exist_ok=True)
        else:
            self.at(path).parent.mkdir(parents=True, exist_ok=True)
            self.at(path).touch()
        mount("--bind", str(source), str(self.at(path)))
        if read_only:
            _close(self.at(path))

    def words(self, folder: str, command: Sequence[str]) -> list[str]:
        """The command line, for here, that runs a command in the container: as its user, who has no rights but ours."""
        user = (f"--map-user={self.user}", f"--map-group={self.user}")
        return ["unshare", "--user", *user, f"--root={self.folder}", f"--wd={folder}", "--", *command]


def make(folder: Path, user: int, read: Sequence[Path], written: Path) -> Root:
    """A root with nothing of a container's in it.

    What is here is there to be read. `read`: folders that are there even where others beside them are not; `written`:
    the only one of this machine that is there to be written to.
    """
    root, aside = folder / "root", folder / "aside"
    root.mkdir(parents=True)
    for entry in sorted(Path("/").iterdir()):
        _take(entry, root / entry.name, aside)
    made = Root(root, user)
    for each in read:
        if each.parts[1] in _OWN:
            made.bind(str(each), each, read_only=True)
    made.bind(str(written), written)
    line = f"container:x:{user}:{user}::/tmp:/bin/sh\n"
    others = [each for each in Path("/etc/passwd").read_text().splitlines() if f":x:{user}:" not in each]
    made.put("/etc/passwd", "\n".join([*others, line]))
    return made


def mount(*words: str) -> None:
    """Raises CalledProcessError where the machine has no such mount."""
    subprocess.run(["mount", *words], check=True, capture_output=True)


def _take(entry: Path, to: Path, aside: Path) -> None:
    if entry.is_symlink():
        to.symlink_to(entry.readlink())
    elif not entry.is_dir():
        return
    elif entry.name in _CHANGED:
        upper, work = aside / entry.name / "upper", aside / entry.name / "work"
        for each in (to, upper, work):
            each.mkdir(parents=True)
        mount("-t", "overlay", "overlay", "-o", f"lowerdir={entry},upperdir={upper},workdir={work}", str(to))
    else:
        to.mkdir()
        if entry.name in _OWN:
            to.chmod(0o1777)
        elif os.access(entry, os.R_OK | os.X_OK):
            mount("--rbind", str(entry), str(to))
            if entry.name not in _KERNELS:
                for each in _mounts(to):
                    _close(each)
            elif entry.name == "dev":
                mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(to / "shm"))


def _close(place: Path) -> None:
    """Let nothing be written at a mount: those below it are mounts of their own."""
    mount("-o", "remount,bind,ro", str(place))


def _mounts(top: Path) -> list[Path]:
    """The mounts at and below a folder."""
    places = [Path(each.mountpoint) for each in psutil.disk_partitions(all=True)]
    return [each for each in dict.fromkeys(places) if each.is_relative_to(top)]
