"""Whose a table is, and what a run does before it becomes its own: it waits for the batches under way, not for ever."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg import errors, sql

from connectors.pgvector.schema import SETTING
from connectors.pgvector.sql import HOLDERS
from connectors.postgres.session import Session
from core.errors import ConfigError, Displaced, Unavailable
from core.stores.contract import nobody_hears
from core.stores.fingerprint import Owner, displaced, owner_from_text, owner_to_text

_QUIET_S = 3.0
_PATIENCE_S = 60.0


class Tenure:
    """A table's ownership, of the owner that it was opened for; None: whoever's it is.

    owner_entry  the owner as the ledger has it
    """

    def __init__(
        self,
        session: Session,
        statements: Mapping[str, bytes],
        names: Mapping[str, sql.Composable],
        table: str,
        owner: Owner | None,
    ) -> None:
        self._session = session
        self._sql = statements
        self._names = names
        self._place = f"{SETTING}: table {table}"
        self._owner = owner
        self.owner_entry = None if owner is None else f"{owner.epoch:016x} {owner_to_text(owner)}"

    def there(self) -> Owner | None:
        """Whose it is now; None where nobody's yet."""
        rows = self._session.connection().execute(self._sql["owner"]).fetchall()
        return owner_from_text(rows[0][0].partition(" ")[2]) if rows else None

    def claim(self, say: Callable[[str], None] = nobody_hears) -> None:
        """Make it ours, in a transaction of its own. Raises Displaced where a later run has it."""
        connection = self._session.connection()
        with connection.transaction():
            hold_alone(connection, self._sql["exclusive"], self._names, self._place, say)
            self.take()

    def take(self) -> None:
        """As `claim`, within the transaction that is open, which has the ledger's lock. Nothing without an owner."""
        if self._owner is None:
            return
        self._session.connection().execute(self._sql["claim"], [self.owner_entry])
        there = self.there()
        if there is None:
            raise ConfigError(
                [
                    f"{self._place}: whose it is stands there in a form that this release doesn't read: "
                    "run the release that wrote it, or name another table"
                ]
            )
        if there != self._owner:
            raise Displaced(displaced(self._place, self._owner, there))


def hold_alone(
    connection: psycopg.Connection[Any],
    exclusive: bytes,
    names: Mapping[str, sql.Composable],
    place: str,
    say: Callable[[str], None],
) -> None:
    """Take the lock of a table's ledger for the transaction that is open: what others write is before what follows.

    exclusive  the statement that takes it
    place      what messages call the table
    say        gets a message that names whom it waits for, once, where that takes longer than 3 s

    Raises Unavailable, with what to do, where it isn't free after 60 s.
    """
    for seconds in (_QUIET_S, _PATIENCE_S - _QUIET_S):
        try:
            # as a savepoint: what it locked stays locked, and where it locked nothing the transaction goes on
            with connection.transaction():
                connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{seconds * 1000:.0f}ms"])
                connection.execute(exclusive)
                connection.execute("SET LOCAL lock_timeout TO DEFAULT")
            return
        except errors.LockNotAvailable:
            holders, processes = _holders(connection, names)
            if seconds == _QUIET_S:
                say(f"{place}: waits for the batch under way of {holders}")
    ending = ", ".join(f"pg_terminate_backend({process})" for process in processes)
    raise Unavailable(
        f"{place}: after {_PATIENCE_S:.0f} s a batch is still under way of {holders}: stop the run that it is of; "
        f"where that is gone, end what it left in PostgreSQL: SELECT {ending or 'pg_terminate_backend(…)'}"
    )


def _holders(connection: psycopg.Connection[Any], names: Mapping[str, sql.Composable]) -> tuple[str, list[int]]:
    found = connection.execute(HOLDERS.format(**names)).fetchall()
    holders = [f"PostgreSQL's process {process} ({state}, for {seconds} s)" for process, state, seconds in found]
    return " and ".join(holders) or "a process that has just ended", [process for process, *_ in found]
