"""What PostgreSQL's errors mean: one row's fault, the server's for now, or something to be set right."""

from __future__ import annotations

import psycopg
from psycopg import errors

from connectors.postgres.login import AS_WRITTEN
from core.errors import ConfigError, StoreGone, Unavailable

ROW_FAULTS = (psycopg.DataError, psycopg.IntegrityError, errors.ProgramLimitExceeded, UnicodeError)
"""What one bad row raises. ProgramLimitExceeded, an id too long for an index, is an OperationalError to psycopg."""

TOO_SLOW = (errors.QueryCanceled, errors.TransactionTimeout)
"""What a statement or a transaction raises that takes longer than the server lets it: a smaller one may not."""

_SERVER_FAULTS = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
_UNDEFINED = (errors.UndefinedObject, errors.UndefinedFunction, errors.UndefinedColumn)
_LACKS = ("53", "58", "XX")  # classes of SQLSTATE: resources, the system below, PostgreSQL itself
_EXTENSION = (
    "the extension pgvector isn't in this database, or not in the user's search_path: run CREATE EXTENSION vector. "
    "Where it was dropped the embeddings went with it: drop the table and its ledger, then "
    "`freshet run pipeline.yaml --rebuild`"
)


def is_servers(error: BaseException) -> bool:
    """Whether the same may succeed later, and nothing that was sent is to blame."""
    return isinstance(error, _SERVER_FAULTS) and not isinstance(error, ROW_FAULTS)


def named(error: psycopg.Error, setting: str, server: str, login: str = AS_WRITTEN.remedy) -> Unavailable | ConfigError:
    """The error as one of ours: Unavailable where it may pass, ConfigError where the server refuses.

    `setting` is the pipeline file's key, `server` where the server is, `login` what to do where it lets nobody in.
    """
    if is_servers(error):
        problem, remedy = _passing(error, login)
        return Unavailable(f"{setting}.dsn: PostgreSQL at {server} {problem} ({reason(error)}): {remedy}")
    if setting.startswith("store.") and _is_extensions(error):
        return ConfigError([f"{setting}: PostgreSQL at {server} has no type vector ({reason(error)}): {_EXTENSION}"])
    remedy = _remedy(error, setting.startswith("store."))
    kind = StoreGone if setting.startswith("store.") and isinstance(error, errors.UndefinedTable) else ConfigError
    return kind([f"{setting}: PostgreSQL at {server} refuses ({reason(error)}): {remedy}"])


def _is_extensions(error: psycopg.Error) -> bool:
    # a connection that was made without the extension doesn't know how to send a vector: then psycopg refuses it
    of_types = isinstance(error, _UNDEFINED) or type(error) is psycopg.ProgrammingError
    return of_types and any(each in reason(error).lower() for each in ("vector", "embedding"))


def _passing(error: psycopg.Error, login: str) -> tuple[str, str]:
    if isinstance(error, errors.ReadOnlySqlTransaction):
        remedy = "name the primary where this is a replica, or end what sets default_transaction_read_only"
        return "takes no writes", remedy
    if isinstance(error, TOO_SLOW):
        return "cancels what takes longer than it allows", "raise that limit for this user, or end what it waits for"
    if (error.sqlstate or "")[:2] in _LACKS:
        return "fails", "see to what it lacks; its log tells more"
    if "authentication failed" in reason(error) or "no password supplied" in reason(error):
        return "refuses the login", login
    return "doesn't answer", "start it, or correct the address"


def _remedy(error: psycopg.Error, of_store: bool) -> str:
    if of_store and isinstance(error, errors.UndefinedTable):
        return "`freshet run` makes it, with `--rebuild` where it was dropped; or correct the table's name"
    return "correct the table's name, or have the user granted what is missing"


def reason(error: Exception) -> str:
    """The message of an error, without the parameters that a server's context may quote."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return primary or " ".join(str(error).split())
