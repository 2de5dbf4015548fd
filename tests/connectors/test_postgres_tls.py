"""`sslrootcert=rds`, against a server that speaks PostgreSQL up to the handshake, with a certificate of its own."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from connectors.postgres import session
from connectors.postgres.catalog import catalog
from core.errors import Unavailable
from deploy.msf.bundle import ours
from tests.connectors.rds import certified

DSN = "postgresql://freshet@localhost:{port}/freshet?sslmode=verify-full&sslrootcert=rds&connect_timeout=5"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Its port, and its certificate, which nobody but itself has signed."""
    file = certified(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with socket.create_server(("localhost", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(8)
                    connection.sendall(b"S")
                    try:
                        context.wrap_socket(connection, server_side=True).close()
                    except OSError:
                        continue

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1], file
        listening.shutdown(socket.SHUT_RDWR)


def parameters(port: int) -> dict[str, str]:
    return {name: str(value) for name, value in conninfo_to_dict(DSN.format(port=port)).items()}


def test_a_server_that_awss_roots_do_not_know_is_refused(server: tuple[int, Path]) -> None:
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        session.connect(parameters(server[0]))
    with pytest.raises(Unavailable, match="certificate verify failed"), catalog(DSN.format(port=server[0]), "reselect"):
        pass


def test_a_server_that_they_know_is_asked(server: tuple[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    port, certificate = server
    monkeypatch.setattr(session, "RDS", certificate)
    with pytest.raises(
        psycopg.OperationalError,
        match=r"closed the connection unexpectedly|unexpected eof|SSL connection has been closed",
    ):
        session.connect(parameters(port))


def test_the_roots_are_those_of_rds_and_go_with_the_bundle() -> None:
    context = ssl.create_default_context(cafile=str(session.RDS))
    names = [dict(each for (each,) in root["subject"])["commonName"] for root in context.get_ca_certs()]
    assert sum("Amazon RDS eu-central-1 Root CA" in str(name) for name in names) == 3
    assert all(str(name).startswith(("Amazon R", "Starfield")) for name in names)
    assert ours()["connectors/postgres/rds.pem"] == session.RDS.read_bytes()
