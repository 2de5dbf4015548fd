"""When a change became visible in the store, to the moment: PostgreSQL notifies after the commit, and nothing polls."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from bench.rig import ledger, pgvector
from core.config.pipeline import Pipeline

_CHANNEL = "freshet_bench"

_TRIGGER = """
CREATE OR REPLACE FUNCTION bench_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_notify({channel}, json_build_array(NEW.document_id, NEW.position)::text); RETURN NULL; END $$;
CREATE TRIGGER bench_notify AFTER INSERT OR UPDATE ON {ledger} FOR EACH ROW EXECUTE FUNCTION bench_notify()
"""


@dataclass(slots=True)
class Waiting:
    """Changes sent and not yet seen, by document, and the seconds that those seen took.

    Times are of `time.perf_counter`. A later position of a document answers the earlier ones too: they were folded.
    """

    pending: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    taken: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def sent(self, document: str, position: str, at: float) -> None:
        """A change leaves now; position "" is answered by whatever comes next for its document."""
        with self.lock:
            self.pending.setdefault(document, []).append((position, at))

    def seen(self, document: str, position: str, at: float) -> None:
        """The store tells that it stands at this position."""
        with self.lock:
            waiting = self.pending.pop(document, [])
            self.taken += [at - since for wanted, since in waiting if wanted <= position]
            later = [(wanted, since) for wanted, since in waiting if wanted > position]
            if later:
                self.pending[document] = later

    def outstanding(self) -> int:
        """How many changes are not seen yet."""
        with self.lock:
            return sum(map(len, self.pending.values()))


@contextmanager
def watching(pipeline: Pipeline) -> Iterator[Waiting]:
    """Tells a `Waiting` of every change that the pipeline's store commits. The store's tables must be there."""
    waiting = Waiting()
    over = threading.Event()
    with psycopg.connect(pgvector(pipeline).dsn, autocommit=True) as connection:
        names = {"channel": sql.Literal(_CHANNEL), "ledger": ledger(pipeline)}
        connection.execute(sql.SQL(_TRIGGER).format(**names))
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(_CHANNEL)))
        thread = threading.Thread(target=_listen, args=(connection, waiting.seen, over), daemon=True)
        thread.start()
        try:
            yield waiting
        finally:
            over.set()
            thread.join()
            connection.execute(sql.SQL("DROP TRIGGER bench_notify ON {}").format(ledger(pipeline)))


def _listen(
    connection: psycopg.Connection[object], seen: Callable[[str, str, float], None], over: threading.Event
) -> None:
    while not over.is_set():
        for notice in connection.notifies(timeout=0.2):
            now = time.perf_counter()
            document, position = json.loads(notice.payload)
            seen(document, position, now)
