"""PostgreSQL with pgvector as a vector store: a row a chunk, and a ledger of each document's last position."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pgvector import Vector
from psycopg import sql

from connectors.pgvector import sql as statements
from connectors.pgvector.claim import Tenure
from connectors.pgvector.filters import condition_of
from connectors.pgvector.layout import USUAL, Layout, searching
from connectors.pgvector.rows import Work, hit_of, refused, stood_of, stored_of, work_of
from connectors.pgvector.schema import SETTING, Shape, bereft, indexable, look, make, set_up
from connectors.pgvector.writing import Writer
from connectors.postgres.faults import ROW_FAULTS, TOO_SLOW
from connectors.postgres.login import AS_WRITTEN, Login
from connectors.postgres.session import BY_INDEX, Session, table_name
from connectors.postgres.values import columns_of
from core.change import BEGINNING, Position
from core.errors import ConfigError
from core.plans import Outcome, Plan
from core.shards.progress import Progress, progress_from_text, progress_to_text
from core.stores.batches import halving
from core.stores.contract import Hit, Stood, Stored, Vectors, nobody_hears
from core.stores.filters.language import EVERYTHING, Filter
from core.stores.fingerprint import Owner
from core.stores.fitting import UNFIT
from core.stores.ranking import words_of

_FORGET_EVERY_S = 3600.0
_PAGE = 10_000
_WORDLESS = (
    f"{SETTING}.text_search_config is none, and nothing is found by words: search by vector, or set it to simple or a "
    "language and run the pipeline, which makes an index of words"
)


class PgvectorStore:
    """A `VectorStore` in one table of a PostgreSQL database, with its ledger in `<table>_ledger`.

    One store holds one connection, made when first needed and made again when lost; it is not for several threads.
    The connection may lead to a pooler in transaction mode.
    """

    def __init__(
        self,
        dsn: str,
        table: str,
        dimension: int,
        model: str,
        patience_s: float = 30.0,
        remember_deletes_s: float = 7 * 86_400.0,
        owner: Owner | None = None,
        layout: Layout = USUAL,
        search_s: float = 0.0,
        login: Login = AS_WRITTEN,
    ) -> None:
        """`table` may have a schema, as in `app.articles`; `patience_s`: how long to wait for a server that is away.

        For `remember_deletes_s` after a document's deletion older changes of it are refused. With an `owner` the store
        is written to only while it is that run's; None: whoever's it is. `layout`: how vectors are kept and indexed,
        and how texts are taken apart into words for `match`. `search_s`: what a statement of a search may take, before
        PostgreSQL ends it and `search` or `match` raises Unavailable; 0: as long as it needs.

        Raises ConfigError where the connection string can't be read, the table's name doesn't fit, or pgvector
        can't index so many dimensions. Connects to nothing.
        """
        self._session = Session(dsn, SETTING, set_up, login)
        self._table = table
        self._layout = layout
        self._dimension = indexable(dimension, layout.vector_type)
        self._model = model
        self._patience_s = patience_s
        self._remember_deletes_s = remember_deletes_s
        self._forget_at = 0.0
        self._reads_ledger: bool | None = None
        self._within = (statements.WITHIN.format(round(search_s * 1000)),) if search_s else ()
        parts = table_name(table, "_ledger", SETTING)
        self._names = statements.names(parts, layout)
        self._sql = {
            name: template.format(**self._names).as_bytes(None) for name, template in statements.WRITING.items()
        }
        self._tenure = Tenure(self._session, self._sql, self._names, table, owner)
        self._writer = Writer(self._session, self._sql, self._tenure, model, patience_s)

    def prepare(self) -> None:
        """Make what is missing: extension, table, indexes, ledger. Can be repeated, also by many at once.

        Doesn't wait for a server that is away. Raises Unavailable where it doesn't answer, ConfigError where the table
        there has other columns or another dimension, or the user may not make what is missing.
        """
        self._session.once(self._prepare)

    def _prepare(self) -> None:
        make(self._session.connection(), self._shape())

    def _shape(self) -> Shape:
        return Shape(self._table, self._names, self._dimension, self._layout, self._session.server)

    def look(self) -> bool:
        """Whether all is there; see `VectorStore.look`. Doesn't wait for a server that is away."""
        return self._session.once(lambda: look(self._session.connection(), self._shape()))

    def held(self, plans: Sequence[Plan]) -> frozenset[str]:
        """The ids of chunks in `write` that need no vector; see `VectorStore.held`.

        Chunks that no row can hold count as missing, so that `apply` rejects their plan. Raises as `apply` does.
        """
        wanted = [(plan.document_id, plan.position, chunk.chunk_id) for plan in plans for chunk in plan.write]
        found = halving(wanted, self._held, lambda row, error: False, (*ROW_FAULTS, *TOO_SLOW))
        return frozenset(row[2] for row, there in zip(wanted, found, strict=True) if there)

    def _held(self, wanted: Sequence[tuple[str, str, str]]) -> list[bool]:
        rows = self._rows("held", columns_of(wanted), TOO_SLOW if len(wanted) > 1 else ())
        there = {chunk_id for (chunk_id,) in rows}
        return [row[2] in there for row in wanted]

    def apply(self, plans: Sequence[Plan], vectors: Sequence[Vectors]) -> list[Outcome]:
        """Bring each plan's document to its state; see `VectorStore.apply`.

        A batch is one transaction; several where it has more than 64 MiB, a bad row, or takes longer than the server
        allows. A vector that didn't change is not written again. NUL characters in metadata, which jsonb can't hold,
        become U+FFFD.
        Raises Unavailable where the server is away for longer than the store's patience, ConfigError where its tables
        or rights are gone.
        """
        outcomes: dict[int, Outcome] = {}
        ready: list[Work] = []
        for at, (plan, rows) in enumerate(zip(plans, vectors, strict=True)):
            try:
                ready.append(work_of(at, plan, rows, self._dimension))
            except UNFIT as error:
                outcomes[at] = refused(plan, error)
        outcomes |= self._writer.apply(ready)
        self._forget()
        return [outcomes[at] for at in range(len(plans))]

    def _forget(self) -> None:
        if time.monotonic() < self._forget_at:
            return
        self._rows("forget", [self._remember_deletes_s])
        self._forget_at = time.monotonic() + _FORGET_EVERY_S

    def clear(self, table: str, before: Position) -> int:
        """Delete the table's documents older than `before`; see `VectorStore.clear`. One transaction."""

        def clear() -> int:
            with self._session.transaction() as connection:
                connection.execute(self._sql["exclusive"])
                self._tenure.take()
                connection.execute(self._sql["mark"], [table, before])
                return int(connection.execute(self._sql["clear"], [table, before, table]).fetchall()[0][0])

        return self._session.patiently(clear, self._patience_s)

    def read(self, document_ids: Sequence[str]) -> dict[str, Stored]:
        """What is stored of these documents; see `VectorStore.read`."""
        rows = self._rows("read", [self._model, list(document_ids)])
        found: dict[str, list[tuple[Any, ...]]] = {}
        for row in rows:
            found.setdefault(row[0], []).append(row)
        return {document_id: stored_of(each, self._model, self._dimension) for document_id, each in found.items()}

    def positions(self, document_ids: Sequence[str]) -> dict[str, Position]:
        """Where the ledger has the documents; see `VectorStore.positions`."""
        return dict(self._rows("positions", [list(document_ids)]))

    def stood(self, document_ids: Sequence[str]) -> dict[str, Stood]:
        """Where the ledger has the documents; see `VectorStore.stood`. A batch is written in one transaction."""
        rows = self._session.once(lambda: self._session.rows(self._sql["stood"], [list(document_ids)]))
        found = {document_id: stood_of(entry) for document_id, entry in rows}
        return {document_id: stood for document_id, stood in found.items() if stood is not None}

    def keep(self, progress: Progress) -> None:
        """Keep what a run says of itself; see `VectorStore.keep`."""
        self._session.once(lambda: self._writer.keep(progress_to_text(progress)))

    def progress(self) -> Progress | None:
        """What was kept last; see `VectorStore.progress`."""
        rows = self._session.once(lambda: self._session.rows(self._sql["progress"]))
        return progress_from_text(rows[0][0]) if rows else None

    def latest(self, table: str) -> Position:
        """The latest position of a table's documents and mark; see `VectorStore.latest`."""
        return Position(self._rows("latest", [table, table])[0][0])

    def mark(self, table: str) -> Position:
        """Where the ledger has the table itself; see `VectorStore.mark`."""
        return self.positions([table]).get(table, BEGINNING)

    def drop(self, stood: Mapping[str, Position]) -> frozenset[str]:
        """Take documents out as if they had never been; see `VectorStore.drop`. One transaction."""
        dropped: set[str] = set()

        def drop() -> None:
            with self._session.transaction() as connection:
                connection.execute(self._sql["exclusive"])
                gone = connection.execute(self._sql["drop"], [list(stood), list(stood.values())]).fetchall()
            dropped.update(document_id for (document_id,) in gone)

        self._session.patiently(drop, self._patience_s)
        return frozenset(dropped)

    def models(self) -> dict[str, int]:
        """How many chunks there are of each model. Doesn't wait for a server that is away."""
        # all rows are counted: the table as it lies is read faster than by any index
        query = statements.MODELS.format(**self._names)
        return dict(self._session.once(lambda: self._session.connection().execute(query).fetchall()))

    def bereft(self) -> int:
        """How many documents have lost all chunks; see `VectorStore.bereft`."""
        return self._session.once(lambda: bereft(self._session.connection(), self._names))

    def document_ids(self) -> Iterator[str]:
        """The id of every document that has chunks, in the order of the database's collation, page by page."""
        page: list[tuple[Any, ...]] = [("",)]
        while page:
            last = page[-1][0]
            page = self._rows("page", [last, _PAGE])
            yield from (document_id for (document_id,) in page)

    def claim(self, say: Callable[[str], None] = nobody_hears) -> None:
        """Make the store its owner's; see `VectorStore.claim`. Doesn't wait for a server that is away."""
        if self._tenure.owner_entry is not None:
            self._session.once(lambda: self._tenure.claim(say))

    def unindexed(self) -> int:
        """None: filters look into the metadata itself."""
        return 0

    def owner(self) -> Owner | None:
        """Whose the store is; None where nobody's yet. Doesn't wait for a server that is away."""
        return self._session.once(self._tenure.there)

    def _rows(
        self, name: str, parameters: Sequence[Any], passing: tuple[type[Exception], ...] = ()
    ) -> list[tuple[Any, ...]]:
        return self._session.patiently(
            lambda: self._session.rows(self._sql[name], parameters), self._patience_s, passing
        )

    def search(self, vector: NDArray[np.float32], k: int, where: Filter = EVERYTHING) -> list[Hit]:
        """The `k` nearest chunks of this store's model whose metadata passes `where`, nearest first.

        Equal distances are ordered by document, ordinal and chunk id. The HNSW index answers, scanning on until the
        filter has let k through; where it ends with fewer than k, as it may for a rare value in a large table, every
        row is compared instead: k rows come back wherever k exist.
        `vector` has shape (dimension,). Doesn't wait for a server that is away; raises as `prepare` does.
        """
        if vector.shape != (self._dimension,):
            raise ValueError(f"a query vector of shape {vector.shape} for a store of {self._dimension} dimensions")
        condition, asked = condition_of(where)
        # More than k, so that which of several equally near ones are let in doesn't depend on the index.
        reach = k + 20
        query = statements.NEAREST.format(**self._names, filter=condition, stood=self._standing())
        parameters = [Vector(vector), self._model, *asked, reach, k]
        settings = (*searching(self._layout.index, reach), *self._within)
        rows = self._session.once(lambda: self._session.rows(query, parameters, settings, prepare=False))
        if len(rows) < k:
            settings = (statements.EXACT, *self._within)
            rows = self._session.once(lambda: self._session.rows(query, parameters, settings, prepare=False))
        return [hit_of(row) for row in rows]

    def _standing(self) -> sql.Composable:
        """What searches say of chunks' documents: nothing to who may not read the ledger."""
        if self._reads_ledger is None:
            asked = statements.READABLE.format(**self._names)
            self._reads_ledger = self._session.once(lambda: bool(self._session.rows(asked)[0][0]))
        return statements.OF_LEDGER.format(**self._names) if self._reads_ledger else statements.WITHOUT_LEDGER

    def match(
        self, text: str, k: int, where: Filter = EVERYTHING, vector: NDArray[np.float32] | None = None
    ) -> list[Hit]:
        """The `k` best chunks by the words of `text`; see `VectorStore.match`. Raises as `search` does, and ConfigError
        where the file says that no index of words is kept.

        PostgreSQL's own ranking knows nothing of how rare a word is. So its index on words tells how many chunks have
        each and finds those with the rarest, which BM25 then compares.
        """
        if not self._layout.has_words:
            raise ConfigError([_WORDLESS])
        condition, asked = condition_of(where)
        query = statements.MATCHING.format(**self._names, filter=condition, stood=self._standing())
        given = None if vector is None else Vector(vector)
        among = [self._model, *asked]
        parameters = [words_of(text), *among, *among, max(statements.COMPARED, 2 * k), given, k]
        settings = (*BY_INDEX, *self._within)
        rows = self._session.once(lambda: self._session.rows(query, parameters, settings, prepare=False))
        return [hit_of(row) for row in rows]

    def close(self) -> None:
        """Give the connection back."""
        self._session.close()
