"""How a connection to PostgreSQL logs in: as its string says, or by IAM.

Source of the rules: Amazon RDS User Guide and Amazon Aurora User Guide, "IAM database authentication": a token takes
the password's place, is valid for 15 minutes, and is asked for at the login alone; connections must be TLS.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from core.config.postgres import PostgresServer
from core.errors import ConfigError, not_installed

Parameters = Mapping[str, str]
"""libpq's, by their names."""

Connecting = Callable[[], Parameters]
"""What gives the parameters of a connection that is made now. Raises ConfigError or Unavailable where it has none."""

_VERIFIED = {"sslmode": "verify-full", "sslrootcert": "rds"}
_PORT = "5432"


@dataclass(frozen=True, slots=True)
class AsWritten:
    """By what the connection string has, names or leaves to libpq."""

    remedy: ClassVar[str] = "correct user and password"

    def connecting(self, parameters: Parameters, setting: str) -> Connecting:
        """What gives them as they are."""
        return lambda: parameters


@dataclass(frozen=True, slots=True)
class ByIam:
    """By a token for each connection, in the name of whoever boto3's chain of credentials is."""

    region: str
    remedy: ClassVar[str] = "grant rds_iam to the user, and rds-db:connect as this user to the role that runs this"

    def connecting(self, parameters: Parameters, setting: str) -> Connecting:
        """What gives them with a new token, and verifies the server by AWS's roots where they don't say by which.

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

        return now


Login = AsWritten | ByIam
AS_WRITTEN = AsWritten()


def login_of(server: PostgresServer) -> Login:
    """As a pipeline file has it for a server."""
    return AS_WRITTEN if server.aws is None else ByIam(server.aws.region)


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
