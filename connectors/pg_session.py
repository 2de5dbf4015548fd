"""One connection to PostgreSQL that is made again when lost, and what its errors mean."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import tenacity
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from core import tally
from core.errors import ConfigError, Unavailable

ROW_FAULTS = (psycopg.DataError, psycopg.IntegrityError, errors.ProgramLimitExceeded, UnicodeError)
"""What one bad row raises. ProgramLimitExceeded, an id too long for an index, is an OperationalError to psycopg."""

_NO_PASSWORD = "no password supplied"
_SERVER_FAULTS = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
_LONGEST_NAME = 63  # bytes; Postgres cuts what is longer, and two names may become one
# A dropped network must not look like a slow server; what the connection string says itself goes first.
_DEFAULTS = {
    "fallback_application_name": "freshet",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}

# It warns of errors that it raises too: one line for each bad row that a batch is halved for.
logging.getLogger("psycopg").setLevel(logging.ERROR)

Answer = TypeVar("Answer")


class Session:
    """A connection in autocommit mode, made when first needed. Not for several threads.

    `setting` is the pipeline file's key that messages name; `opened` is called with every new connection.
    """

    def __init__(self, dsn: str, setting: str, opened: Callable[[psycopg.Connection[Any]], None]) -> None:
        """Connects to nothing. Raises ConfigError where the connection string can't be read."""
        self._parameters = _parameters(dsn, setting)
        self._setting = setting
        self._opened = opened
        self._connection: psycopg.Connection[Any] | None = None
        self.server = _server(self._parameters)

    def connection(self) -> psycopg.Connection[Any]:
        """The connection, made anew where there is none."""
        if self._connection is None or self._connection.closed:
            connection = psycopg.connect(**self._parameters, autocommit=True)  # type: ignore[arg-type]
            self._connection = connection
            self._opened(connection)
        return self._connection

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def once(self, call: Callable[[], Answer]) -> Answer:
        """What `call` returns; a second attempt on a new connection, in case the server was restarted since the last.

        Raises Unavailable where the server doesn't answer, ConfigError where it refuses for want of rights or tables;
        ROW_FAULTS pass, after a rollback.
        """
        return self._repeat(call, tenacity.stop_after_attempt(2))

    def patiently(self, call: Callable[[], Answer], seconds: float) -> Answer:
        """As `once`, with attempts for `seconds`, further and further apart. `call` must bear repeating."""
        return self._repeat(call, tenacity.stop_after_delay(seconds))

    def _repeat(self, call: Callable[[], Answer], stop: tenacity.stop.stop_base) -> Answer:
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_servers),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=3),
            stop=stop,
            before_sleep=self._again,
            reraise=True,
        )
        try:
            return attempts(call)
        except ROW_FAULTS:
            if self._connection is not None:
                self._connection.rollback()
            raise
        except psycopg.Error as error:
            self.close()
            raise self.named(error) from error

    def _again(self, _: tenacity.RetryCallState) -> None:
        tally.count("retries", of=self._setting.rpartition(".")[2])
        self.close()

    def named(self, error: psycopg.Error) -> Unavailable | ConfigError:
        """The error as one of ours: Unavailable where the server doesn't answer, ConfigError where it refuses."""
        if _NO_PASSWORD in str(error):
            told = f"{self._setting}.dsn: PostgreSQL at {self.server} asks for a password, and {self._asked()}; "
            return ConfigError([f"{told}`freshet stack status` shows the connection string of the local stack"])
        if _is_servers(error):
            return Unavailable(
                f"{self._setting}.dsn: PostgreSQL at {self.server} doesn't answer ({reason(error)}): "
                "start it, or correct the address"
            )
        remedy = "correct the table's name, or have the user granted what is missing"
        if isinstance(error, errors.UndefinedTable) and self._setting.startswith("store."):
            remedy = "`freshet run` makes it; or correct the table's name"
        return ConfigError([f"{self._setting}: PostgreSQL at {self.server} refuses ({reason(error)}): {remedy}"])

    def _asked(self) -> str:
        file, user = self._parameters.get("passfile"), self._parameters.get("user", "this user")
        if file is None:
            return "its password isn't there: the connection string must name its file, as in ?passfile=pgpass"
        return f"its passfile {file} isn't there, or has no line for {user} at {self.server}"


def server_of(dsn: str, setting: str) -> str:
    """Where a connection string leads, as host:port, several with commas. Raises ConfigError where it can't be read."""
    return _server(_parameters(dsn, setting))


def passfile_of(dsn: str) -> str:
    """The file with passwords that a connection string names; "" where it names none, or can't be read."""
    try:
        return str(conninfo_to_dict(dsn).get("passfile") or "")
    except psycopg.Error:
        return ""


def with_whole_passfile(dsn: str) -> str:
    """A connection string whose `passfile`, if it names one, is found from every folder."""
    file = passfile_of(dsn)
    return dsn if not file or Path(file).is_absolute() else make_conninfo(dsn, passfile=str(Path(file).absolute()))


def reason(error: Exception) -> str:
    """The message of an error, without the parameters that a server's context may quote."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return primary or " ".join(str(error).split())


def table_name(table: str, suffix: str, setting: str) -> tuple[str, ...]:
    """The parts of `name` or `schema.name`. Raises ConfigError where it, or it with `suffix`, is no name."""
    parts = tuple(table.split("."))
    if len(parts) > 2 or not all(parts) or "\x00" in table:
        raise ConfigError([f"{setting}.table is {table!r}: give a name, or schema.name"])
    longest = max(len(part.encode()) for part in (*parts[:-1], parts[-1] + suffix))
    if longest > _LONGEST_NAME:
        raise ConfigError([f"{setting}.table is {table!r}: with {suffix} it has {longest} bytes, PostgreSQL takes 63"])
    return parts


def identifiers(**names: tuple[str, ...]) -> dict[str, sql.Composable]:
    """Each name as a quoted identifier, and under `<key>_name` as a string literal that `to_regclass` reads."""
    quoted = {key: sql.Identifier(*parts) for key, parts in names.items()}
    return {**quoted, **{f"{key}_name": sql.Literal(name.as_string(None)) for key, name in quoted.items()}}


def _is_servers(error: BaseException) -> bool:
    return isinstance(error, _SERVER_FAULTS) and not isinstance(error, ROW_FAULTS)


def _parameters(dsn: str, setting: str) -> dict[str, str]:
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    except psycopg.Error:
        # Its message quotes the string, password and all.
        raise ConfigError(
            [f"{setting}.dsn can't be read as a connection string: write postgresql://user:password@host:5432/database"]
        ) from None
    return {**_DEFAULTS, **given, "client_encoding": "UTF8"}


def _server(parameters: Mapping[str, str]) -> str:
    hosts = (parameters.get("host") or parameters.get("hostaddr") or os.environ.get("PGHOST") or "localhost").split(",")
    ports = (parameters.get("port") or os.environ.get("PGPORT") or "5432").split(",")
    return ",".join(f"{host}:{ports[min(at, len(ports) - 1)]}" for at, host in enumerate(hosts))
