"""How a connection to PostgreSQL logs in: as its string says, by a secret that it refers to, or by IAM.

Source of the rules: Amazon RDS User Guide and Amazon Aurora User Guide, "IAM database authentication": a token takes
the password's place, is valid for 15 minutes, and is asked for at the login alone; connections must be TLS.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import psycopg
from psycopg.conninfo import conninfo_to_dict

from connectors.rotation import read_anew
from core.config.postgres import PostgresServer
from core.config.secrets import Reference, Rotation
from core.errors import ConfigError, not_installed

Parameters = Mapping[str, str]
"""libpq's, by their names."""


@dataclass(frozen=True, slots=True)
class Connecting:
    """How a server's connections are made.

    now     gives the parameters of one that is made now. Raises ConfigError or Unavailable where it has none
    differ  asked after the server refused those: whether they are others now
    """

    now: Callable[[], Parameters]
    differ: Callable[[], bool] = lambda: False


_VERIFIED = {"sslmode": "verify-full", "sslrootcert": "rds"}
_PORT = "5432"

_log = logging.getLogger("freshet")


@dataclass(frozen=True, slots=True)
class AsWritten:
    """By what the connection string has, names or leaves to libpq."""

    remedy: ClassVar[str] = "correct user and password"

    def connecting(self, parameters: Parameters, setting: str) -> Connecting:
        """With them as they are."""
        return Connecting(lambda: parameters)


@dataclass(frozen=True, slots=True)
class BySecret:
    """By a user or a password that the connection string refers to, asked for anew where the server refuses it."""

    references: Mapping[str, Reference]
    remedy: ClassVar[str] = "have the secret say the user and password of now"

    def connecting(self, parameters: Parameters, setting: str) -> Connecting:
        """With them as they are, and later with another user and password."""
        rotation, kept = Rotation(self.references), dict(parameters)

        def differ() -> bool:
            before = {**kept}
            for text in read_anew(rotation, setting).values():
                kept.update(_login(text, setting))
            return kept != before

        return Connecting(lambda: kept, differ)


@dataclass(frozen=True, slots=True)
class ByIam:
    """By a token for each connection, in the name of whoever boto3's chain of credentials is."""

    region: str
    remedy: ClassVar[str] = "grant rds_iam to the user, and rds-db:connect as this user to the role that runs this"

    def connecting(self, parameters: Parameters, setting: str) -> Connecting:
        """With them and a new token. The server is verified by AWS's roots where they don't say by which.

        setting  the connection string's, as in store.pgvector.dsn

        Raises ConfigError where they have a password, don't name one host and a user, or would show the token to
        whoever answers.
        """
        whole = {**_VERIFIED, **parameters}
        if problem := _misfit(whole):
            raise ConfigError([f"{setting} {problem}"])
        host, port = whole["host"], int(whole.get("port") or os.environ.get("PGPORT") or _PORT)
        asked = setting.rpartition(".")[0]

        def now() -> Parameters:
            return {**whole, "password": _token(self.region, host, port, whole["user"], f"{asked}.aws")}

        return Connecting(now)


Login = AsWritten | BySecret | ByIam
AS_WRITTEN = AsWritten()


def login_of(server: PostgresServer) -> Login:
    """As a pipeline file has it for a server."""
    if server.aws is not None:
        return ByIam(server.aws.region)
    references = server.references("dsn")
    return BySecret(references) if references else AS_WRITTEN


def _login(dsn: str, setting: str) -> dict[str, str]:
    """User and password of a connection string; none where it can't be read, whose error would quote it."""
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.Error:
        _log.warning("%s: with what its secret is now it is no connection string: write such signs as %%25", setting)
        return {}
    return {name: str(parts[name]) for name in ("user", "password") if name in parts}


def _misfit(parameters: Parameters) -> str:
    if "password" in parameters:
        return "has a password, and aws logs in by IAM: leave either out"
    if parameters["sslmode"] != "verify-full":
        return f"has sslmode={parameters['sslmode']}, and IAM's token is for the server alone: write verify-full"
    if not parameters.get("host") or "," in parameters["host"]:
        return "must name one host for a login by IAM, as a token is signed for one"
    if not parameters.get("user"):
        return "must name the user for a login by IAM, as in postgresql://freshet@host:5432/database"
    return ""


def _token(region: str, host: str, port: int, user: str, what: str) -> str:
    try:
        from botocore.exceptions import BotoCoreError

        from connectors.aws.errors import named
    except ModuleNotFoundError:
        raise not_installed(what, "boto3", "aws") from None
    try:
        return str(_signer(region, what).generate_db_auth_token(DBHostname=host, Port=port, DBUsername=user))
    except BotoCoreError as error:
        raise named(error, what) from None


@cache
def _signer(region: str, what: str) -> Any:
    """Made once, as it reads what RDS can do; credentials that end are asked for anew by it."""
    from connectors.aws.client import Aws, client

    return client("rds", Aws(region), what)
