"""pgbouncer before a real PostgreSQL, in transaction mode: each transaction may run in another of its two sessions."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from stack import layout
from tests.databases import in_database
from tests.programs import needed

SESSIONS = 2

_SETTINGS = """\
[databases]
* = host={host} port={port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {at}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
"""


@contextmanager
def pooler(dsn: str) -> Iterator[str]:
    """A connection string that leads through a pooler to the server of `dsn`: any of its databases, as its user."""
    program, at, server = needed("pgbouncer"), layout.free_port(), urlsplit(dsn)
    login = {"host": server.hostname, "port": server.port, "user": server.username, "password": _password(dsn)}
    folder = Path(tempfile.mkdtemp())
    file = folder / "pgbouncer.ini"
    file.write_text(_SETTINGS.format(**login, at=at, sessions=SESSIONS), encoding="utf-8")
    user: dict[str, Any] = {}
    if os.geteuid() == 0:  # as which it refuses to run
        nobody = pwd.getpwnam("nobody")
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        for path in (folder, file):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    process = subprocess.Popen([program, "--quiet", str(file)], stdout=subprocess.DEVNULL, **user)
    try:
        through = f"postgresql://{server.username}@127.0.0.1:{at}/{(server.path or '/').lstrip('/')}"
        _wait(through, process)
        yield through
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def _password(dsn: str) -> str:
    (line,) = Path(str(conninfo_to_dict(dsn)["passfile"])).read_text(encoding="utf-8").split()
    return line.rpartition(":")[2]


def _wait(through: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        with suppress(psycopg.OperationalError), psycopg.connect(in_database(through, "postgres"), connect_timeout=2):
            return
        assert process.poll() is None, "pgbouncer ended"
        time.sleep(0.02)
    raise AssertionError("pgbouncer doesn't answer")


@contextmanager
def another_session(through: str) -> Iterator[psycopg.Connection[Any]]:
    """Takes the session that was used last, so that whoever comes next gets another."""
    # the pooler hands out first what came back last
    with psycopg.connect(through, prepare_threshold=None) as connection:
        connection.execute("SELECT 1")
        yield connection
