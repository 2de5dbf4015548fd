"""How a batch of documents gets into PostgreSQL: one transaction, a smaller one, or a document in small steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

import psycopg
from psycopg import errors

from connectors.pgvector.claim import Tenure
from connectors.pgvector.rows import (
    Work,
    at_once,
    moving,
    outcome_of,
    refused,
    rows_to_move,
    rows_to_write,
    transactions,
    writing,
)
from connectors.pgvector.schema import SETTING
from connectors.postgres.faults import ROW_FAULTS, TOO_SLOW, reason
from connectors.postgres.session import BEGIN, BY_INDEX, COMMIT, Session
from connectors.postgres.values import columns_of
from core.errors import StoreRejected, Unavailable
from core.plans import Outcome, Status
from core.stores.batches import halving

_CUTS = 3  # a server that restarts isn't there at once: its connections aren't lost three times in a row
_TRIES = 3  # a statement of one row may be held up once

Item = TypeVar("Item")
Standing = tuple[bool, int]
"""Whether a document stands at its plan's position, and with how many chunks."""

Send = Callable[[Sequence[Work]], list[Standing]]


class _Cut(Exception):
    """The connection was made each time, and lost each time that this was sent."""


class Writer:
    """Writes to one table and its ledger. `statements`: by name."""

    def __init__(
        self, session: Session, statements: Mapping[str, bytes], tenure: Tenure, model: str, patience_s: float
    ) -> None:
        self._session = session
        self._sql = statements
        self._tenure = tenure
        self._model = model
        self._patience_s = patience_s
        self._done = 0

    def apply(self, ready: Sequence[Work]) -> dict[int, Outcome]:
        """Each plan's outcome, by its work's `at`. What is refused, or takes too long, is halved until it is alone."""
        outcomes: dict[int, Outcome] = {}
        # Whoever writes takes the documents' locks in one order, so that no two writers wait for each other.
        for batch in transactions(sorted(ready, key=lambda work: work.plan.document_id)):
            faults = (*ROW_FAULTS, *TOO_SLOW, _Cut, StoreRejected)
            answers = halving(batch, self._write, lambda work, error: refused(work.plan, error), faults)
            outcomes.update((work.at, answer) for work, answer in zip(batch, answers, strict=True))
        return outcomes

    def _write(self, batch: Sequence[Work]) -> list[Outcome]:
        try:
            return self._attempted(batch, self._send, (*TOO_SLOW, _Cut))
        except (*TOO_SLOW, _Cut):
            if len(batch) > 1:
                raise
        try:
            return self._attempted(batch, self._send_in_steps, (_Cut,))
        except _Cut as cut:
            if not self._done:
                raise Unavailable(f"{SETTING}.dsn: {cut}: look into PostgreSQL's log, and the pooler's") from cut
            raise StoreRejected(f"{cut}, after {self._done} of its chunks: cut it into several rows") from cut

    def _attempted(self, batch: Sequence[Work], send: Send, passing: tuple[type[Exception], ...]) -> list[Outcome]:
        cuts = 0

        def attempt() -> list[Outcome]:
            nonlocal cuts
            self._session.connection()
            try:
                return self._transact(batch, send)
            except psycopg.OperationalError as error:
                # the server's last words have a state; where the connection ends there are none
                cuts += error.sqlstate is None
                if cuts < _CUTS:
                    raise
                size = sum(work.size() for work in batch)
                why = f"PostgreSQL at {self._session.server} closes the connection each time that this is written"
                raise _Cut(f"{why}, {size} bytes ({reason(error)})") from error

        return self._session.patiently(attempt, self._patience_s, passing)

    def _transact(self, batch: Sequence[Work], send: Send) -> list[Outcome]:
        connection = self._session.connection()
        standing = self._owning(lambda: send(batch))
        outcomes = [outcome_of(work.plan, *stands) for work, stands in zip(batch, standing, strict=True)]
        if not any(outcome.status is Status.REJECTED for outcome in outcomes):
            connection.commit()
            return outcomes
        connection.rollback()
        kept = [work for work, outcome in zip(batch, outcomes, strict=True) if outcome.status is not Status.REJECTED]
        again = iter(self._transact(kept, send) if kept else [])
        return [outcome if outcome.status is Status.REJECTED else next(again) for outcome in outcomes]

    def keep(self, text: str) -> None:
        """Keep what a run says of itself, in a transaction of its own. Raises Displaced where it isn't ours."""

        def send() -> list[Standing]:
            with self._session.connection().pipeline():
                for statement in (BEGIN, *BY_INDEX):
                    self._session.connection().execute(statement)
                self._execute("shared", [])
                if self._tenure.owner_entry is not None:
                    self._execute("owned", [self._tenure.owner_entry])
                self._execute("keep", [text])
                self._session.connection().execute(COMMIT)
            return []

        self._owning(send)

    def _owning(self, send: Callable[[], list[Standing]]) -> list[Standing]:
        while True:
            try:
                return send()
            except errors.DivisionByZero:
                self._session.connection().rollback()
                self._tenure.claim()

    def _send(self, batch: Sequence[Work]) -> list[Standing]:
        """Where each document stands now.

        All statements travel together, and the COMMIT with them where no plan relies on chunks from before.
        """
        keys = _keys(batch)
        with self._session.connection().pipeline():
            self._begin(batch)
            self._execute("remove", (*keys, _wanted(batch)))
            for rows in at_once(rows_to_move(batch)):
                self._execute("move", moving(rows))
            for rows in at_once(rows_to_write(batch)):
                self._execute("upsert", writing(rows, self._model))
            answer = self._execute("standing", keys)
            if all(len(work.plan.write) == len(work.plan.chunk_ids) for work in batch):
                self._session.connection().execute(COMMIT)
        return answer.fetchall()

    def _begin(self, batch: Sequence[Work]) -> None:
        connection = self._session.connection()
        # Each statement must see what was committed while the ledger's statement waited for its locks.
        for statement in (BEGIN, *BY_INDEX):
            connection.execute(statement)
        self._execute("shared", [])
        if self._tenure.owner_entry is not None:
            self._execute("owned", [self._tenure.owner_entry])
        times = [-1 if work.plan.committed_ms is None else work.plan.committed_ms for work in batch]
        self._execute("advance", (*_keys(batch), [not work.plan.chunk_ids for work in batch], times))

    def _send_in_steps(self, batch: Sequence[Work]) -> list[Standing]:
        """As `_send`, a document that took too long: each statement with so few rows that it doesn't.

        Raises StoreRejected where that doesn't help though some rows could be written: then they are too many, or one
        is too large. Where none could, TOO_SLOW: it is the server that is slow, or waits for somebody's locks.
        """
        keys, self._done = _keys(batch), 0
        with self._session.connection().pipeline():
            self._begin(batch)
        try:
            unwanted = [chunk_id for (chunk_id,) in self._stepped("unwanted", (*keys, _wanted(batch))).fetchall()]
            for some in chain(
                self._steps("remove_some", unwanted, lambda ids: (ids,)),
                self._steps("move", rows_to_move(batch), moving),
                self._steps("upsert", rows_to_write(batch), lambda rows: writing(rows, self._model)),
            ):
                self._done += some
            return self._stepped("standing", keys).fetchall()
        except TOO_SLOW as error:
            if not self._done:
                raise
            self._session.roll_back()
            raise StoreRejected(
                f"PostgreSQL cancels what takes longer than it allows ({reason(error)}), after {self._done} of the "
                "document's chunks: raise that limit for this user, or cut the document into several rows"
            ) from error

    def _steps(
        self, name: str, rows: Sequence[Item], parameters: Callable[[Sequence[Item]], Sequence[Any]]
    ) -> Iterator[int]:
        """How many rows each step has taken."""
        at, size = 0, max(1, len(rows) // 4)
        while at < len(rows):
            some = rows[at : at + size]
            try:
                self._stepped(name, parameters(some), _TRIES if size == 1 else 1)
            except errors.QueryCanceled:
                if size == 1:
                    raise
                size = max(1, size // 4)
            else:
                yield len(some)
                at += size

    def _stepped(self, name: str, parameters: Sequence[Any], tries: int = _TRIES) -> psycopg.Cursor[Any]:
        try:
            # a savepoint: what was written before stays written
            with self._session.connection().transaction():
                return self._execute(name, parameters)
        except errors.QueryCanceled:
            if tries == 1:
                raise
        return self._stepped(name, parameters, tries - 1)

    def _execute(self, name: str, parameters: Sequence[Any]) -> psycopg.Cursor[Any]:
        return self._session.connection().execute(self._sql[name], parameters)


def _keys(batch: Sequence[Work]) -> tuple[list[Any], ...]:
    return columns_of([(work.plan.document_id, work.plan.position) for work in batch])


def _wanted(batch: Sequence[Work]) -> list[str]:
    return [chunk_id for work in batch for chunk_id in work.plan.chunk_ids]
