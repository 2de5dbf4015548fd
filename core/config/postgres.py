"""Where a PostgreSQL server is and how to log in, as the pipeline file says it of stores and of the source."""

from __future__ import annotations

from pydantic import Field

from core.config.source import Model


class IamLogin(Model):
    """Login by IAM in place of a password: RDS's and Aurora's IAM database authentication.

    region  where the server is, which a token is signed for. Credentials come from boto3's chain
    """

    region: str = Field(min_length=1)


class PostgresServer(Model):
    """A database of PostgreSQL. `dsn` is a connection string of libpq's; with `aws` it has no password."""

    dsn: str = Field(min_length=1)
    aws: IamLogin | None = None
