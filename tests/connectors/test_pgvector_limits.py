"""What PostgreSQL doesn't take: too much at once, too slow, or nothing at all; and what is said of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from connectors.pgvector import rows as pgvector_rows
from connectors.pgvector.rows import Work, at_once, moving, rows_to_move, rows_to_write, work_of, writing
from connectors.pgvector.store import PgvectorStore
from connectors.postgres.session import Session
from core.errors import ConfigError, Unavailable
from core.plans import Plan
from tests.connectors.servers import Server
from tests.connectors.test_store_contract import APPLIED, REJECTED, apply, plan, texts, vectors_of
from tests.databases import new_database


@pytest.fixture
def chunks(dsn: str) -> Iterator[PgvectorStore]:
    with closing(PgvectorStore(dsn, "articles", 4, "m", patience_s=5)) as store:
        store.prepare()
        yield store


def limited(dsn: str, setting: str, patience_s: float = 0.3) -> PgvectorStore:
    """The same table by a session with one more setting."""
    options = f"{conninfo_to_dict(dsn).get('options', '')} -c{setting}"
    return PgvectorStore(make_conninfo(dsn, options=options), "articles", 4, "m", patience_s)


def slow_rows(dsn: str) -> None:
    """From now on a chunk of t/2 takes 10 ms to be written, moved or deleted, on however fast a machine."""
    with psycopg.connect(dsn, autocommit=True) as hand:
        hand.execute(
            "CREATE FUNCTION rests() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(0.01); RETURN coalesce(new, old); END $$"
        )
        for event, row in (("INSERT OR UPDATE", "new"), ("DELETE", "old")):
            hand.execute(
                f"CREATE TRIGGER rests_{row} BEFORE {event} ON articles FOR EACH ROW "
                f"WHEN ({row}.document_id = 't/2') EXECUTE FUNCTION rests()".encode()
            )


def ready(*plans: Plan) -> list[Work]:
    return [work_of(at, each, rows, 4) for at, (each, rows) in enumerate(zip(plans, vectors_of(plans), strict=True))]


def test_metadata_travels_once_a_document_whatever_its_chunks() -> None:
    long = {"payload": "m" * 2_000_000}
    works = ready(
        plan("t/1", "1", *(f"chunk {number}" for number in range(600)), new=["chunk 1", "chunk 2"], metadata=long),
        plan("t/2", "1", "a neighbour", metadata={"lang": "en"}),
    )
    for parameters in (writing(rows_to_write(works), "m"), moving(rows_to_move(works))):
        assert [len(each) for each in parameters[2]] == [len(work.metadata) for work in works][: len(parameters[2])]
    assert [work.size() < 2_200_000 for work in works] == [True, True]


def test_a_long_document_is_written_in_statements_of_few_bytes(
    chunks: PgvectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pgvector_rows, "_BYTES_AT_ONCE", 4000)
    long = [f"chunk {number} {'and so on ' * 20}" for number in range(50)]
    assert len(list(at_once(rows_to_write(ready(plan("t/1", "1", *long, metadata={"lang": "en"})))))) > 3
    neighbour = plan("t/2", "1", "a neighbour")
    assert apply(chunks, plan("t/1", "1", *long, metadata={"lang": "en"}), neighbour) == [APPLIED] * 2
    assert apply(chunks, plan("t/1", "2", *long, new=[], metadata={"lang": "de"})) == [APPLIED]
    stored = chunks.read(["t/1"])["t/1"]
    assert [each.text for each in stored.chunks] == long and stored.metadata == {"lang": "de"}


def test_a_text_that_no_statement_takes_is_rejected_alone(
    chunks: PgvectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pgvector_rows, "_MOST_BYTES", 1000)
    large = plan("t/1", "1", "é" * 600)
    outcomes = chunks.apply([large, plan("t/2", "1", "a neighbour")], vectors_of([large, plan("t/2", "1", "a")]))
    assert [each.status for each in outcomes] == [REJECTED, APPLIED]
    assert (
        outcomes[0].reason == "the text of chunk 0 has 1200 bytes, which is more than the 1000 that are written at once"
    )
    assert apply(chunks, plan("t/1", "1", "one", metadata={"payload": "x" * 1000})) == [REJECTED]


def test_a_document_that_takes_too_long_is_written_in_steps(chunks: PgvectorStore, dsn: str) -> None:
    long = [f"chunk {number}" for number in range(60)]
    slow_rows(dsn)
    with closing(limited(dsn, "statement_timeout=200", 5)) as hasty:
        first, neighbour = plan("t/2", "1", *long), plan("t/1", "1", "a neighbour")
        assert apply(hasty, neighbour, first, plan("t/3", "1", "another")) == [APPLIED] * 3
        assert apply(hasty, plan("t/2", "2", *reversed(long), new=[], metadata={"lang": "en"})) == [APPLIED]
        assert apply(hasty, plan("t/2", "3", "the end")) == [APPLIED]
    assert texts(chunks) == [("t/1", "a neighbour"), ("t/2", "the end"), ("t/3", "another")]


def test_a_document_too_long_for_a_transaction_is_rejected_alone(chunks: PgvectorStore, dsn: str) -> None:
    long = plan("t/2", "1", *(f"chunk {number}" for number in range(100)))
    slow_rows(dsn)
    neighbours = [plan("t/1", "1", "a neighbour"), plan("t/3", "1", "another")]
    with closing(limited(dsn, "transaction_timeout=300", 5)) as hasty:
        plans = [neighbours[0], long, neighbours[1]]
        outcomes = hasty.apply(plans, vectors_of(plans))
    assert [each.status for each in outcomes] == [APPLIED, REJECTED, APPLIED]
    assert re.search(r", after \d+ of (its|the document's) chunks", outcomes[1].reason)
    assert texts(chunks) == [("t/1", "a neighbour"), ("t/3", "another")]


def test_a_table_that_is_locked_is_the_servers_fault(chunks: PgvectorStore, dsn: str) -> None:
    with psycopg.connect(dsn) as vacuum, closing(limited(dsn, "statement_timeout=50")) as hasty:
        vacuum.execute("LOCK TABLE articles IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Unavailable, match=r"cancels what takes longer than it allows .*raise that limit"):
            apply(hasty, plan("t/1", "1", "one", "two"), plan("t/2", "1", "three"))
        with pytest.raises(Unavailable, match="cancels what takes longer"):
            hasty.held([plan("t/1", "1", "one"), plan("t/2", "1", "two")])
        vacuum.rollback()
        assert apply(hasty, plan("t/1", "1", "one", "two"), plan("t/2", "1", "three")) == [APPLIED] * 2


def test_a_session_that_may_only_read_is_reported_as_such(chunks: PgvectorStore, dsn: str) -> None:
    with closing(limited(dsn, "default_transaction_read_only=on")) as reading:
        message = r"takes no writes \(cannot execute .* in a read-only transaction\): name the primary"
        with pytest.raises(Unavailable, match=message):
            apply(reading, plan("t/1", "1", "one"))
        with pytest.raises(Unavailable, match=message):
            reading.claim() if reading.owner() else reading.prepare()
        assert reading.look()


def test_an_extension_that_was_dropped_is_named(pgvector_server: Server) -> None:
    dsn = new_database(pgvector_server.dsn, f"dropped_{uuid4().hex[:8]}")
    with closing(PgvectorStore(dsn, "articles", 4, "m", 0.3)) as store, psycopg.connect(dsn, autocommit=True) as hand:
        store.prepare()
        assert apply(store, plan("t/1", "1", "one")) == [APPLIED]
        hand.execute("DROP EXTENSION vector CASCADE")
        for call in (lambda: apply(store, plan("t/1", "2", "two")), lambda: texts(store)):
            with pytest.raises(ConfigError, match=r"pgvector isn't in this database.* run CREATE EXTENSION vector"):
                call()
        hand.execute("DROP TABLE articles, articles_ledger")
        store.prepare()  # with a type of another number
        assert apply(store, plan("t/1", "2", "two")) == [APPLIED]
        assert texts(store) == [("t/1", "two")]


def test_a_failure_of_the_server_is_not_an_absence(dsn: str) -> None:
    session = Session(dsn, "store.pgvector")
    with pytest.raises(Unavailable, match=r"fails \(out of disk\): see to what it lacks"):
        session.once(lambda: session.rows("DO $$ BEGIN RAISE 'out of disk' USING ERRCODE = 'disk_full'; END $$"))
    session.close()
