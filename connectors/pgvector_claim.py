"""What a run does before a table becomes its own: it waits for the batches under way, says so, and not without end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg import errors, sql

from connectors.pgvector_sql import HOLDERS
from core.errors import Unavailable

_QUIET_S = 3.0
_PATIENCE_S = 60.0


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
    say        is told whom it waits for, once, where that takes longer than 3 s

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
            told, processes = _holders(connection, names)
            if seconds == _QUIET_S:
                say(f"{place}: waits for the batch under way of {told}")
    ending = ", ".join(f"pg_terminate_backend({process})" for process in processes)
    raise Unavailable(
        f"{place}: after {_PATIENCE_S:.0f} s a batch is still under way of {told}: stop the run that it is of; where "
        f"that is gone, end what it left in PostgreSQL: SELECT {ending or 'pg_terminate_backend(…)'}"
    )


def _holders(connection: psycopg.Connection[Any], names: Mapping[str, sql.Composable]) -> tuple[str, list[int]]:
    found = connection.execute(HOLDERS.format(**names)).fetchall()
    told = [f"PostgreSQL's process {process} ({state}, for {seconds} s)" for process, state, seconds in found]
    return " and ".join(told) or "a process that has just ended", [process for process, *_ in found]
