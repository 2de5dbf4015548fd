"""PostgreSQL's passwords in files as libpq and its JDBC driver read them, so that no connection string has one in it.

A line a server, `host:port:database:user:password`; libpq takes such a file only where its owner alone can read it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from secrets import token_urlsafe
from urllib.parse import quote

_ANY = "*"


def new_password() -> str:
    """A password that nobody guesses, of letters, digits, `-` and `_`."""
    return token_urlsafe(32)


def record(file: Path, host: str, port: str, user: str, password: str) -> None:
    """Write a user's password of a server down, and nothing else."""
    _write(file, [f"{_start(host, port, user)}{_escaped(password)}"])


def remember(file: Path, host: str, port: str, user: str, password: str) -> None:
    """Write a user's password of a server down, in place of an earlier one; what it has of others stays."""
    start = _start(host, port, user)
    others = [line for line in _lines(file) if not line.startswith(start)]
    _write(file, [*others, f"{start}{_escaped(password)}"])


def password_of(file: Path, user: str) -> str | None:
    """The password of a user in the first line that has one of his; None where there is none, or no file."""
    for line in _lines(file):
        fields = re.split(r"(?<!\\):", line)
        if len(fields) == 5 and _plain(fields[3]) == user:
            return _plain(fields[4])
    return None


def with_passfile(dsn: str, file: Path) -> str:
    """A connection string in the form of a URL, with the file named in it."""
    return f"{dsn}{'&' if '?' in dsn else '?'}passfile={quote(str(file))}"


def from_here(dsn: str) -> str:
    """The same, as one writes it in the current folder: a path below that is shorter, and holds where it is moved."""
    return dsn.replace(f"passfile={quote(f'{Path.cwd()}/')}", "passfile=")


def _start(host: str, port: str, user: str) -> str:
    return ":".join((_escaped(host), _escaped(port), _ANY, _escaped(user), ""))


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def _write(file: Path, lines: list[str]) -> None:
    if lines == _lines(file):
        return
    # in one step, as others read it meanwhile
    temporary = file.with_name(f"{file.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as new:
        new.write("".join(f"{line}\n" for line in lines))
    temporary.replace(file)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(":", "\\:")


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
