"""What the concurrent writers of a round do to the source, chosen by seed alone, and how they do it.

A plan never looks at the database: keys are drawn from a small range, and a statement whose row isn't there changes
nothing. So the same seed gives the same plans; how they interleave, it can't give.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any, LiteralString

import psycopg
from psycopg import errors

from chaos.texts import body, title

_ARTICLES = 120
_NOTES = 60
_TENANTS = ("acme", "Ünï/corp", "a b%2F", "'quo\"te'")
_LANGS = ("en", "de", "ja", None)
_TRIES = 6

_PUT_ARTICLE: LiteralString = """
    INSERT INTO articles (id, title, body, lang, updated_at) VALUES (%s, %s, %s, %s, clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET title = EXCLUDED.title, body = EXCLUDED.body, lang = EXCLUDED.lang,
        updated_at = EXCLUDED.updated_at"""
_MOVE_ARTICLE: LiteralString = """
    UPDATE articles SET id = %s WHERE id = %s AND NOT EXISTS (SELECT 1 FROM articles WHERE id = %s)"""
_MOVE_AND_EDIT: LiteralString = """
    UPDATE articles SET id = %s, title = %s WHERE id = %s AND NOT EXISTS (SELECT 1 FROM articles WHERE id = %s)"""
_PUT_NOTE: LiteralString = """
    INSERT INTO notes (tenant, id, body, price) VALUES (%s, %s, %s, %s)
    ON CONFLICT (tenant, id) DO UPDATE SET body = EXCLUDED.body, price = EXCLUDED.price"""
_MOVE_NOTE: LiteralString = """
    UPDATE notes SET tenant = %s, id = %s WHERE tenant = %s AND id = %s
    AND NOT EXISTS (SELECT 1 FROM notes WHERE tenant = %s AND id = %s)"""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement with its parameters."""

    sql: LiteralString
    parameters: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Transaction:
    """Statements that are committed together, or rolled back.

    wait_s  before it begins
    hold_s  between its statements and its end: others come and go meanwhile
    """

    statements: tuple[Statement, ...]
    wait_s: float
    hold_s: float
    commits: bool


def plans(choices: Random, writers: int, seconds: float) -> list[list[Transaction]]:
    """What each of the writers does in about `seconds`."""
    return [_plan(Random(choices.getrandbits(64)), number, seconds) for number in range(writers)]


def _plan(choices: Random, writer: int, seconds: float) -> list[Transaction]:
    plan: list[Transaction] = []
    planned = 0.0
    while planned < seconds:
        wait = choices.expovariate(1 / 0.01)
        hold = choices.uniform(0.2, 1.2) if choices.random() < 0.04 else 0.0
        statements = tuple(_truncate(choices) if choices.random() < 0.003 else _work(choices, writer))
        plan.append(Transaction(statements, wait, hold, choices.random() > 0.06))
        # a statement takes some milliseconds too
        planned += wait + hold + 0.006 * len(statements)
    return plan


def _work(choices: Random, writer: int) -> Iterator[Statement]:
    for _ in range(choices.choice((1, 1, 1, 1, 2, 3, 8))):
        if choices.random() < 0.12:
            yield Statement("SAVEPOINT here")
            yield from _step(choices, writer)
            yield Statement("ROLLBACK TO here" if choices.random() < 0.5 else "RELEASE here")
        yield from _step(choices, writer)


def _step(choices: Random, writer: int) -> Iterator[Statement]:
    yield from choices.choices(
        (_put, _edit, _touch, _delete, _delete_and_put, _move, _chain, _there_and_back, _swap, _move_note, _note),
        (16, 22, 8, 9, 4, 8, 4, 2, 3, 6, 18),
    )[0](choices, writer)


def _article(choices: Random) -> int:
    return choices.randint(1, _ARTICLES)


def _put(choices: Random, writer: int) -> Iterator[Statement]:
    key = _article(choices)
    yield Statement(_PUT_ARTICLE, (key, title(choices), body(choices), choices.choice(_LANGS)))


def _edit(choices: Random, writer: int) -> Iterator[Statement]:
    key = _article(choices)
    if choices.random() < 0.6:
        yield Statement("UPDATE articles SET title = %s WHERE id = %s", (title(choices), key))
    else:
        yield Statement("UPDATE articles SET body = %s WHERE id = %s", (body(choices), key))


def _touch(choices: Random, writer: int) -> Iterator[Statement]:
    if choices.random() < 0.5:
        yield Statement("UPDATE articles SET updated_at = clock_timestamp() WHERE id = %s", (_article(choices),))
    else:
        yield Statement("UPDATE articles SET lang = %s WHERE id = %s", (choices.choice(_LANGS), _article(choices)))


def _delete(choices: Random, writer: int) -> Iterator[Statement]:
    yield Statement("DELETE FROM articles WHERE id = %s", (_article(choices),))


def _delete_and_put(choices: Random, writer: int) -> Iterator[Statement]:
    key = _article(choices)
    yield Statement("DELETE FROM articles WHERE id = %s", (key,))
    yield Statement(_PUT_ARTICLE, (key, title(choices), body(choices), choices.choice(_LANGS)))


def _moved(key: int, to: int) -> Statement:
    return Statement(_MOVE_ARTICLE, (to, key, to))


def _move(choices: Random, writer: int) -> Iterator[Statement]:
    key, to = _article(choices), _article(choices)
    if choices.random() < 0.3:
        yield Statement(_MOVE_AND_EDIT, (to, title(choices), key, to))
    else:
        yield _moved(key, to)


def _chain(choices: Random, writer: int) -> Iterator[Statement]:
    key = _article(choices)
    for _ in range(choices.randint(2, 4)):
        to = _article(choices)
        yield _moved(key, to)
        if choices.random() < 0.3:
            yield Statement("UPDATE articles SET lang = %s WHERE id = %s", (choices.choice(_LANGS), to))
        key = to


def _there_and_back(choices: Random, writer: int) -> Iterator[Statement]:
    key, to = _article(choices), _article(choices)
    yield _moved(key, to)
    yield _moved(to, key)


def _swap(choices: Random, writer: int) -> Iterator[Statement]:
    one, other, spare = _article(choices), _article(choices), _ARTICLES + 1 + writer
    yield _moved(one, spare)
    yield _moved(other, one)
    yield _moved(spare, other)


def _note_key(choices: Random) -> tuple[str, int]:
    return choices.choice(_TENANTS), choices.randint(1, _NOTES)


def _price(choices: Random) -> Decimal | None:
    return None if choices.random() < 0.1 else Decimal(choices.randint(-999_999, 9_999_999)).scaleb(-2)


def _note(choices: Random, writer: int) -> Iterator[Statement]:
    key, kind = _note_key(choices), choices.random()
    if kind < 0.4:
        yield Statement(_PUT_NOTE, (*key, body(choices), _price(choices)))
    elif kind < 0.7:
        yield Statement("UPDATE notes SET price = %s WHERE tenant = %s AND id = %s", (_price(choices), *key))
    elif kind < 0.85:
        yield Statement("UPDATE notes SET body = %s WHERE tenant = %s AND id = %s", (body(choices), *key))
    else:
        yield Statement("DELETE FROM notes WHERE tenant = %s AND id = %s", key)


def _move_note(choices: Random, writer: int) -> Iterator[Statement]:
    key, to = _note_key(choices), _note_key(choices)
    yield Statement(_MOVE_NOTE, (*to, *key, *to))


def _truncate(choices: Random) -> Iterator[Statement]:
    table: LiteralString = choices.choice(("articles", "notes", "articles, notes"))
    yield Statement("TRUNCATE " + table)
    for _ in range(choices.randint(3, 12)):
        yield from _put(choices, 0)
        yield Statement(_PUT_NOTE, (*_note_key(choices), body(choices), _price(choices)))


def fill(choices: Random) -> Transaction:
    """Rows to begin with."""
    articles = [each for _ in range(_ARTICLES) for each in _put(choices, 0)]
    notes = [Statement(_PUT_NOTE, (*_note_key(choices), body(choices), _price(choices))) for _ in range(_NOTES)]
    return Transaction((*articles, *notes), 0, 0, True)


@dataclass(slots=True)
class Writer:
    """A plan at work, on a connection of its own. `changes` are the rows that its commits changed."""

    dsn: str
    plan: Sequence[Transaction]
    until: float
    changes: int = 0
    lost: int = 0

    def run(self) -> None:
        """Do it all, or as much as can be done by `until` (seconds of the monotonic clock).

        A transaction that others stand in the way of is tried again. One whose connection is lost may have been
        committed or not; it isn't repeated.
        """
        connection: psycopg.Connection[Any] | None = None
        for transaction in self.plan:
            time.sleep(transaction.wait_s)
            if time.monotonic() > self.until:
                break
            try:
                connection = connection or psycopg.connect(self.dsn, connect_timeout=2)
                self._commit(connection, transaction)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                self.lost += 1
                if connection is not None:
                    connection.close()
                connection = None
                time.sleep(0.1)
        if connection is not None:
            connection.close()

    def _commit(self, connection: psycopg.Connection[Any], transaction: Transaction) -> None:
        for _ in range(_TRIES):
            try:
                changed = perform(connection, transaction)
            except (errors.DeadlockDetected, errors.SerializationFailure, errors.LockNotAvailable):
                connection.rollback()
                continue
            except errors.UniqueViolation:  # another writer's row came to the key that this one moves to
                connection.rollback()
                return
            self.changes += changed
            return


def perform(connection: psycopg.Connection[Any], transaction: Transaction) -> int:
    """Run a transaction to its end; how many rows it changed, 0 where it is rolled back."""
    changed = 0
    for statement in transaction.statements:
        done = connection.execute(statement.sql, statement.parameters)
        changed += max(done.rowcount, 0)
    time.sleep(transaction.hold_s)
    if not transaction.commits:
        connection.rollback()
        return 0
    connection.commit()
    return changed


def writing(dsn: str, planned: Sequence[Sequence[Transaction]]) -> Callable[[float], int]:
    """What performs each plan over a connection of its own, until it is done or `until` is past; how many changes."""

    def write(until: float) -> int:
        writers = [Writer(dsn, plan, until) for plan in planned]
        together([writer.run for writer in writers])
        return sum(writer.changes for writer in writers)

    return write


def together(calls: Sequence[Callable[[], object]]) -> None:
    """Each call in a thread of its own, until all have ended. Raises what one of them raised."""
    failed: list[Exception] = []

    def run(call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # whatever it is: the others end first
            failed.append(error)

    threads = [threading.Thread(target=run, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in failed:
        raise error
