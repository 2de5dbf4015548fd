"""What stands before a database of RDS with IAM database authentication: TLS, and a check of the token that is the
password, before a real PostgreSQL.

The check is SigV4's, written here by its specification (IAM User Guide, "Create a signed AWS API request") and not by
what signs: who is asked for, where, until when, and by whose key.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import psycopg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOST = "localhost"
_SSL_REQUEST = struct.pack("!II", 8, 80877103)
_AUTHENTICATE = b"R" + struct.pack("!II", 8, 3)  # in clear text, as PAM's
_LETS_IN = b"R" + struct.pack("!II", 8, 0)
_READY = b"Z" + struct.pack("!I", 5) + b"I"
_REPORTED = ("server_version", "server_encoding", "client_encoding", "DateStyle", "TimeZone", "integer_datetimes",
             "standard_conforming_strings", "IntervalStyle")  # fmt: skip


@dataclass
class Front:
    """A front and what it has seen.

    region, key, secret  whose tokens let in
    user                 the one whose login is by IAM
    now                  its clock
    shown                what came as a password, in the order in which it came
    """

    dsn: str
    region: str = "eu-central-1"
    key: str = "AKIDEXAMPLE"
    secret: str = "wJalrXUtnFEMI"
    user: str = "app"
    port: int = 0
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    shown: list[str] = field(default_factory=list)

    def refusal(self, user: str, token: str) -> str:
        """Why a login is refused; "" where it isn't."""
        url = urlsplit(f"https://{token}")
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        given = query.pop("X-Amz-Signature", "")
        wanted = {"Action": "connect", "DBUser": user}
        if user != self.user or url.netloc != f"{HOST}:{self.port}" or wanted.items() - query.items():
            return "the token is for another login"
        begun = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if not begun <= self.now <= begun + timedelta(seconds=min(900, int(query["X-Amz-Expires"]))):
            return "the token isn't valid now"
        return "" if hmac.compare_digest(given, self._signature(query)) else "the signature is another one"

    def _signature(self, query: dict[str, str]) -> str:
        asked = "&".join(f"{quote(name, safe='')}={quote(each, safe='')}" for name, each in sorted(query.items()))
        nothing = hashlib.sha256(b"").hexdigest()
        request = f"GET\n/\n{asked}\nhost:{HOST}:{self.port}\n\nhost\n{nothing}"
        moment = query["X-Amz-Date"]
        within = f"{moment[:8]}/{self.region}/rds-db/aws4_request"
        assert query["X-Amz-Credential"] == f"{self.key}/{within}"
        signed = f"AWS4-HMAC-SHA256\n{moment}\n{within}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = f"AWS4{self.secret}".encode()
        for part in (*within.split("/"), signed):
            key = hmac.digest(key, part.encode(), "sha256")
        return key.hex()


@contextmanager
def front(dsn: str, certificate: Path) -> Iterator[Front]:
    """One on a free port, before the server of `dsn`; `certificate` is a file of `certified`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    state = Front(dsn)
    with socket.create_server((HOST, 0)) as listening:
        state.port = listening.getsockname()[1]

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=_session, args=(state, context, connection), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield state
        listening.shutdown(socket.SHUT_RDWR)


def _session(state: Front, context: ssl.SSLContext, connection: socket.socket) -> None:
    with connection, suppress(OSError, ssl.SSLError):
        if connection.recv(8) != _SSL_REQUEST:
            return  # RDS answers such a client with an error; this one asks for TLS alone
        connection.sendall(b"S")
        with context.wrap_socket(connection, server_side=True) as client:
            (length,) = struct.unpack("!I", _exactly(client, 4))
            fields = _exactly(client, length - 4)[4:].split(b"\0")
            user = dict(zip(fields[::2], fields[1::2], strict=False))[b"user"].decode()
            client.sendall(_AUTHENTICATE)
            _, length = struct.unpack("!cI", _exactly(client, 5))
            token = _exactly(client, length - 4)[:-1].decode()
            state.shown.append(token)
            if state.refusal(user, token):
                said = f'SFATAL\0C28000\0MPAM authentication failed for user "{user}"\0\0'.encode()
                client.sendall(b"E" + struct.pack("!I", len(said) + 4) + said)
                return
            with psycopg.connect(state.dsn, autocommit=True) as server:
                client.sendall(_greeting(server))
                _relay(client, server)


def _exactly(client: ssl.SSLSocket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        found += (more := client.recv(count - len(found)))
        if not more:
            raise OSError("gone")
    return found


def _greeting(server: psycopg.Connection[Any]) -> bytes:
    """What a server says behind a login, of the session that is there."""
    told = [(name, server.info.parameter_status(name) or "") for name in _REPORTED]
    reported = [f"{name}\0{each}\0".encode() for name, each in told]
    key = b"K" + struct.pack("!III", 12, server.info.backend_pid, 0)
    return _LETS_IN + b"".join(b"S" + struct.pack("!I", len(each) + 4) + each for each in reported) + key + _READY


def _relay(client: ssl.SSLSocket, server: psycopg.Connection[Any]) -> None:
    """Bytes both ways, until either end is gone."""
    with socket.socket(fileno=server.fileno()) as behind:
        behind.setblocking(True)

        def answers() -> None:
            with suppress(OSError):  # a reset is an end too: who asks must learn of it
                while found := behind.recv(65536):
                    client.sendall(found)
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

        back = threading.Thread(target=answers, daemon=True)
        back.start()
        try:
            while asked := client.recv(65536):
                behind.sendall(asked)
        finally:
            with suppress(OSError):
                behind.shutdown(socket.SHUT_RDWR)
            back.join(10)
            behind.detach()


def certified(folder: Path) -> Path:
    """A file with a key and its certificate, of localhost, which nobody but itself has signed."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "it")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    pem, none = serialization.Encoding.PEM, serialization.NoEncryption()
    file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, none) + certificate.public_bytes(pem))
    return file
