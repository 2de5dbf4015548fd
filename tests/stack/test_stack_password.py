"""PostgreSQL's password: made with the data, asked of everybody, and shown nowhere but in its owner's files."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from core.errors import FreshetError
from stack import layout, passfile, postgres, process
from stack.layout import Layout
from tests.operations.test_folder_lock import readable


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Layout, int]]:
    """PostgreSQL alone in a folder that everybody may enter, unlike pytest's."""
    directory = Path(tempfile.mkdtemp(prefix="freshet-password-"))
    directory.chmod(0o755)
    of, port = layout.layout_of(directory), layout.free_ports().postgres
    layout.prepare(of)
    try:
        postgres.start(of, port, lambda _: None)
        yield of, port
    finally:
        process.stop(postgres.service(of))
        postgres.wipe(of)
        shutil.rmtree(directory)


@pytest.fixture(autouse=True)
def _stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # who runs the tests may have passwords of his own
    for name in ("PGPASSFILE", "PGPASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_who_knows_the_password_gets_in_and_nobody_else(
    server: tuple[Layout, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    of, port = server
    dsn = postgres.dsn(of, port)
    for parameters in ("", "?replication=database"):
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(dsn.partition("?")[0] + parameters)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(dsn, password="another")
    # as a page has it, in the stack's folder
    monkeypatch.chdir(of.folder.parents[1])
    assert passfile.from_here(dsn).endswith("/freshet?passfile=.freshet/stack/pgpass")
    psycopg.connect(passfile.from_here(dsn)).close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user too")
def test_another_user_does_not_get_in_though_he_knows_where_the_password_is(server: tuple[Layout, int]) -> None:
    of, port = server
    assert of.passfile.exists()
    assert readable(of.folder) | readable(of.of("postgres").resolve()) <= {"ports.json", "lock"}
    dsn, other = postgres.dsn(of, port), os.fork()
    if other == 0:
        os.setgroups([])
        os.setgid(12345)
        os.setuid(12345)
        try:
            psycopg.connect(dsn)
        except psycopg.OperationalError as error:
            os._exit(0 if "no password supplied" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 0


def test_on_another_port_the_password_is_known_too(server: tuple[Layout, int]) -> None:
    of, port = server
    before = passfile.password_of(of.passfile, postgres.USER)
    process.stop(postgres.service(of))
    other = layout.free_ports().postgres
    postgres.start(of, other, lambda _: None)
    assert postgres.is_ready(of, other) and passfile.password_of(of.passfile, postgres.USER) == before
    process.stop(postgres.service(of))
    postgres.start(of, port, lambda _: None)


def test_data_of_an_earlier_version_goes_on_without_a_password_and_that_is_said(server: tuple[Layout, int]) -> None:
    of, port = server
    said, kept = list[str](), of.passfile.read_bytes()
    process.stop(postgres.service(of))
    of.passfile.unlink()
    with pytest.raises(FreshetError, match="pgpass is gone, and with it the password"):
        postgres.start(of, port, said.append)
    assert said == []
    rules = of.of("postgres").resolve() / "data" / "pg_hba.conf"
    asking = rules.read_text(encoding="utf-8")
    rules.write_text(asking.replace("scram-sha-256", "trust"), encoding="utf-8")
    for _ in range(2):
        postgres.start(of, port, said.append)
    assert len(said) == 2 and "without a password" in said[1] and "down --wipe" in said[1]
    assert postgres.dsn(of, port) == f"postgresql://freshet@127.0.0.1:{port}/freshet"
    assert postgres.is_ready(of, port) and not of.passfile.exists()
    rules.write_text(asking, encoding="utf-8")
    of.passfile.write_bytes(kept)


def test_a_file_has_a_line_a_server_and_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "pgpass"
    assert passfile.password_of(file, "me") is None
    passfile.remember(file, "db.example", "5432", "me", "a:b\\c")
    passfile.remember(file, "127.0.0.1", "1", "other", "x")
    passfile.remember(file, "db.example", "5432", "me", "d:e\\f")
    assert file.read_text(encoding="utf-8") == "127.0.0.1:1:*:other:x\ndb.example:5432:*:me:d\\:e\\\\f\n"
    assert passfile.password_of(file, "me") == "d:e\\f" and stat.S_IMODE(file.stat().st_mode) == 0o600
    passfile.record(file, "127.0.0.1", "2", "other", "y")
    assert file.read_text(encoding="utf-8") == "127.0.0.1:2:*:other:y\n"
