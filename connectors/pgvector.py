"""PostgreSQL with pgvector as a vector store: a row a chunk, and a ledger of each document's last position."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import Vector
from pgvector.psycopg import register_vector
from psycopg import sql

from connectors import pgvector_sql as statements
from connectors.pg_session import ROW_FAULTS, Session, identifiers, table_name
from connectors.pgvector_rows import (
    Work,
    as_json,
    columns_of,
    fitting,
    outcome_of,
    rejected,
    rows_to_move,
    rows_to_write,
    stored_of,
    transactions,
)
from core.batches import halving
from core.change import Position
from core.errors import ConfigError, StoreRejected
from core.plans import Outcome, Plan, Status
from core.stores import Hit, Stored, Vectors

_SETTING = "store.pgvector"
_MOST_DIMENSIONS = 2000  # what an HNSW index on `vector` takes (pgvector's README, "HNSW")
_FORGET_EVERY_S = 3600.0
_PAGE = 10_000


class PgvectorStore:
    """A `core.stores.VectorStore` in one table of a PostgreSQL database, with its ledger in `<table>_ledger`.

    One store holds one connection, made when first needed and made again when lost; it is not for several threads.
    The connection must be a session of its own: not behind a pooler in transaction mode.
    """

    def __init__(
        self,
        dsn: str,
        table: str,
        dimension: int,
        model: str,
        patience_s: float = 30.0,
        remember_deletes_s: float = 7 * 86_400.0,
    ) -> None:
        """`table` may have a schema, as in `app.articles`; `patience_s`: how long to wait for a server that is away.

        For `remember_deletes_s` after a document's deletion older changes of it are refused.

        Raises ConfigError where the connection string can't be read, the table's name doesn't fit, or pgvector
        can't index so many dimensions. Connects to nothing.
        """
        self._session = Session(dsn, _SETTING, _set_up)
        self._table = table
        self._dimension = _indexable(dimension)
        self._model = model
        self._patience_s = patience_s
        self._remember_deletes_s = remember_deletes_s
        self._forget_at = 0.0
        parts = table_name(table, "_ledger", _SETTING)
        self._names = identifiers(table=parts, ledger=(*parts[:-1], f"{parts[-1]}_ledger"))
        self._sql = {
            name: template.format(**self._names).as_bytes(None) for name, template in statements.WRITING.items()
        }

    def prepare(self) -> None:
        """Make what is missing: extension, table, indexes, ledger. Can be repeated, also by many at once.

        Doesn't wait for a server that is away. Raises Unavailable where it doesn't answer, ConfigError where the table
        there has other columns or another dimension, or the user may not make what is missing.
        """
        self._session.once(self._prepare)

    def _prepare(self) -> None:
        connection = self._session.connection()
        with connection.transaction():
            connection.execute(statements.ONE_AT_A_TIME)
            self._prepare_extension(connection)
            existing = dict(connection.execute(statements.COLUMNS.format(**self._names)).fetchall())
            if existing:
                _check_columns(existing, statements.columns(self._dimension), self._table)
            else:
                dimension = sql.Literal(self._dimension)
                connection.execute(statements.CREATE_TABLE.format(**self._names, dimension=dimension))
            for probe, create in statements.PARTS:
                if not connection.execute(probe.format(**self._names)).fetchall():
                    connection.execute(create.format(**self._names))
        register_vector(connection)

    def _prepare_extension(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        (version,) = connection.execute(statements.VERSION).fetchall()[0]
        if [int(part) for part in version.split(".")[:2]] < [0, 8]:
            raise ConfigError(
                [
                    f"{_SETTING}.dsn: {self._session.server} has pgvector {version}, Freshet needs 0.8 or later: "
                    "run ALTER EXTENSION vector UPDATE"
                ]
            )

    def held(self, plans: Sequence[Plan]) -> frozenset[str]:
        """The ids of chunks in `write` that need no vector; see `core.stores.VectorStore.held`.

        Chunks that no row can hold count as missing, so that `apply` rejects their plan. Raises as `apply` does.
        """
        wanted = [(plan.document_id, plan.position, chunk.chunk_id) for plan in plans for chunk in plan.write]
        found = halving(wanted, self._held, lambda row, error: False, ROW_FAULTS)
        return frozenset(row[2] for row, there in zip(wanted, found, strict=True) if there)

    def _held(self, wanted: Sequence[tuple[str, str, str]]) -> list[bool]:
        columns = columns_of(wanted)
        rows = self._session.patiently(lambda: self._execute("held", columns).fetchall(), self._patience_s)
        there = {chunk_id for (chunk_id,) in rows}
        return [row[2] in there for row in wanted]

    def apply(self, plans: Sequence[Plan], vectors: Sequence[Vectors]) -> list[Outcome]:
        """Bring each plan's document to its state; see `core.stores.VectorStore.apply`.

        A batch is one transaction; several where it has more than 64 MiB, or a bad row. A vector that didn't change is
        not written again. NUL characters in metadata, which jsonb can't hold, become U+FFFD.
        Raises Unavailable where the server is away for longer than the store's patience, ConfigError where its tables
        or rights are gone.
        """
        outcomes: dict[int, Outcome] = {}
        ready: list[Work] = []
        for at, (plan, rows) in enumerate(zip(plans, vectors, strict=True)):
            try:
                ready.append(Work(at, plan, fitting(plan, rows, self._dimension), as_json(plan.metadata, plan.numbers)))
            except (StoreRejected, TypeError, ValueError, RecursionError) as error:
                outcomes[at] = rejected(plan, error)
        # Whoever writes takes the documents' locks in one order, so that no two writers wait for each other.
        ready.sort(key=lambda work: work.plan.document_id)
        for batch in transactions(ready):
            answers = halving(batch, self._write, lambda work, error: rejected(work.plan, error), ROW_FAULTS)
            outcomes.update((work.at, answer) for work, answer in zip(batch, answers, strict=True))
        self._forget()
        return [outcomes[at] for at in range(len(plans))]

    def _forget(self) -> None:
        if time.monotonic() < self._forget_at:
            return
        self._session.patiently(lambda: self._execute("forget", [self._remember_deletes_s]), self._patience_s)
        self._forget_at = time.monotonic() + _FORGET_EVERY_S

    def clear(self, table: str, before: Position) -> int:
        """Delete the table's documents older than `before`; see `core.stores.VectorStore.clear`. One transaction."""

        def clear() -> int:
            with self._session.connection().transaction():
                self._execute("exclusive", [])
                self._execute("mark", [table, before])
                return int(self._execute("clear", [table, before]).fetchall()[0][0])

        return self._session.patiently(clear, self._patience_s)

    def read(self, document_ids: Sequence[str]) -> dict[str, Stored]:
        """What is stored of these documents, of this store's model; see `core.stores.VectorStore.read`."""
        parameters = [list(document_ids), self._model]
        rows = self._session.patiently(lambda: self._execute("read", parameters).fetchall(), self._patience_s)
        found: dict[str, list[tuple[Any, ...]]] = {}
        for row in rows:
            found.setdefault(row[0], []).append(row)
        return {document_id: stored_of(each) for document_id, each in found.items()}

    def document_ids(self) -> Iterator[str]:
        """The id of every document that has chunks, in the order of the database's collation, page by page."""
        page: list[tuple[str]] = [("",)]
        while page:
            last = page[-1][0]
            page = self._session.patiently(
                lambda: self._execute("page", [last, _PAGE]).fetchall(),  # noqa: B023  # called at once
                self._patience_s,
            )
            yield from (document_id for (document_id,) in page)

    def _write(self, batch: Sequence[Work]) -> list[Outcome]:
        return self._session.patiently(lambda: self._transact(batch), self._patience_s)

    def _transact(self, batch: Sequence[Work]) -> list[Outcome]:
        connection = self._session.connection()
        standing = self._send(connection, batch)
        outcomes = [outcome_of(work.plan, *stands) for work, stands in zip(batch, standing, strict=True)]
        if not any(outcome.status is Status.REJECTED for outcome in outcomes):
            connection.commit()
            return outcomes
        connection.rollback()
        kept = [work for work, outcome in zip(batch, outcomes, strict=True) if outcome.status is not Status.REJECTED]
        again = iter(self._transact(kept) if kept else [])
        return [outcome if outcome.status is Status.REJECTED else next(again) for outcome in outcomes]

    def _send(self, connection: psycopg.Connection[Any], batch: Sequence[Work]) -> list[tuple[bool, int]]:
        """Whether each document now stands at its plan's position, and with how many chunks.

        All statements travel together, and the COMMIT with them where no plan relies on chunks from before.
        """
        keys = columns_of([(work.plan.document_id, work.plan.position) for work in batch])
        empty = [not work.plan.chunk_ids for work in batch]
        moves, writes = rows_to_move(batch), rows_to_write(batch)
        with connection.pipeline():
            connection.execute(statements.BEGIN)
            self._execute("shared", [])
            self._execute("advance", (*keys, empty))
            self._execute("remove", (*keys, [chunk for work in batch for chunk in work.plan.chunk_ids]))
            if moves:
                self._execute("move", columns_of(moves))
            if writes:
                self._execute("upsert", (self._model, *columns_of(writes)))
            answer = self._execute("standing", keys)
            if all(len(work.plan.write) == len(work.plan.chunk_ids) for work in batch):
                connection.execute(statements.COMMIT)
        return answer.fetchall()

    def _execute(self, name: str, parameters: Sequence[Any]) -> psycopg.Cursor[Any]:
        return self._session.connection().execute(self._sql[name], parameters, prepare=True)

    def search(self, vector: NDArray[np.float32], k: int, where: Mapping[str, str]) -> list[Hit]:
        """The `k` nearest chunks of this store's model whose metadata has each value of `where`, nearest first.

        Equal distances are ordered by document, ordinal and chunk id. The HNSW index answers, scanning on until the
        filter has let k through; where it ends with fewer than k, as it may for a rare value in a large table, every
        row is compared instead: k rows come back wherever k exist.
        `vector` has shape (dimension,). Doesn't wait for a server that is away; raises as `prepare` does.
        """
        if vector.shape != (self._dimension,):
            raise ValueError(f"a query vector of shape {vector.shape} for a store of {self._dimension} dimensions")
        return self._session.once(lambda: self._search(vector, k, where))

    def _search(self, vector: NDArray[np.float32], k: int, where: Mapping[str, str]) -> list[Hit]:
        connection = self._session.connection()
        filters = [part for pair in where.items() for part in pair]
        # More than k, so that which of several equally near ones are let in doesn't depend on the index.
        reach = k + 20
        conditions = sql.SQL(" ").join([statements.FILTER] * len(where))
        query = statements.NEAREST.format(**self._names, filters=conditions)
        parameters = [Vector(vector), self._model, *filters, reach, k]
        with connection.transaction():
            connection.execute(statements.SEARCH_SETTINGS, [str(min(1000, max(200, 2 * reach)))])
            rows = connection.execute(query, parameters, prepare=False).fetchall()
            if len(rows) < k:
                connection.execute(statements.EXACT)
                rows = connection.execute(query, parameters, prepare=False).fetchall()
        return [Hit(*row) for row in rows]

    def close(self) -> None:
        """Give the connection back."""
        self._session.close()


def _set_up(connection: psycopg.Connection[Any]) -> None:
    connection.execute(statements.SETTINGS)
    if connection.execute(statements.VERSION).fetchall():
        register_vector(connection)


def _indexable(dimension: int) -> int:
    if not 0 < dimension <= _MOST_DIMENSIONS:
        raise ConfigError(
            [f"embedding.model has {dimension} dimensions, pgvector indexes up to {_MOST_DIMENSIONS}: choose another"]
        )
    return dimension


def _check_columns(seen: Mapping[str, str], expected: Mapping[str, str], table: str) -> None:
    if seen.get("embedding", "").startswith("vector(") and seen["embedding"] != expected["embedding"]:
        raise ConfigError(
            [
                f"{_SETTING}.table: {table} has embedding {seen['embedding']}, the model {expected['embedding']}: "
                "name another table, drop this one, or choose the model that made it"
            ]
        )
    wrong = [
        f"{name} {seen.get(name, 'missing')} (needed: {kind})"
        for name, kind in expected.items()
        if seen.get(name) != kind
    ]
    if wrong:
        raise ConfigError(
            [f"{_SETTING}.table: {table} is not a table of Freshet's: {', '.join(wrong)}: name another table"]
        )
