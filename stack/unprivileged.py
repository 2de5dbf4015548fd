"""A place on disk for servers that refuse to run as root.

Such a server runs as the user `nobody` then; and where `nobody` can't reach the stack's folder (a checkout in /root,
mode 0700), its files are kept below /var/lib/freshet, with a link at the usual place. Modes of folders that aren't
ours never change.
"""

import hashlib
import os
import pwd
import shutil
from pathlib import Path

from core.errors import FreshetError
from stack import process

FOR_ROOT = Path("/var/lib/freshet")
_NAME = "nobody"


def user(title: str) -> process.User | None:
    """Whom the server called `title` runs as: None, as we are, unless that is root.

    Raises FreshetError where the machine has no such user.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(_NAME)
    except KeyError:
        raise FreshetError(
            f"{title} refuses to run as root, and this machine has no user {_NAME!r} to run it as: "
            "add that user, or start as another user than root."
        ) from None
    return process.User(entry.pw_uid, entry.pw_gid)


def make_place(place: Path, of: process.User | None) -> None:
    """Makes the folder `place` where there is none, or a link there to a folder that the user can reach."""
    if place.exists():
        return
    place.unlink(missing_ok=True)
    place.mkdir()
    if of is None:
        return
    os.chown(place, of.uid, of.gid)
    if not can(of, "-w", place):
        place.rmdir()
        elsewhere = FOR_ROOT / hashlib.sha256(os.fsencode(place)).hexdigest()[:16]
        # what a stack left there whose folder was deleted by hand is no longer anyone's
        shutil.rmtree(elsewhere, ignore_errors=True)
        elsewhere.mkdir(parents=True)
        FOR_ROOT.chmod(0o755)
        os.chown(elsewhere, of.uid, of.gid)
        place.symlink_to(elsewhere)


def wipe(place: Path) -> None:
    """Deletes what a place holds where that is kept elsewhere."""
    if place.is_symlink():
        shutil.rmtree(place.resolve(), ignore_errors=True)
        place.unlink()


def can(of: process.User, test: str, path: Path) -> bool:
    """Whether the user may write to and enter (`-w`), or run or only enter (`-x`) the path."""
    command = ["sh", "-c", 'test "$1" "$2" && test -x "$2"', "sh", test, str(path)]
    return process.run(command, of).returncode == 0
