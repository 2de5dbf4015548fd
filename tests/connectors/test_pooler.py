"""Behind a pooler in transaction mode all that uses PostgreSQL works, and leaves nothing behind in others' sessions."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from uuid import uuid4

import psycopg
import pytest

from connectors.pgvector.store import PgvectorStore
from connectors.postgres.catalog import catalog
from connectors.postgres.profiles.store import PostgresProfiles
from connectors.postgres.rows import Reselect
from core.change import Position
from core.plans import Status
from core.stores.fingerprint import Fingerprint, Owner
from tests.connectors.pooler import SESSIONS, another_session, pooler
from tests.connectors.servers import Server
from tests.connectors.test_profile_store_contract import KARI, change, writer
from tests.connectors.test_store_contract import APPLIED, STALE, apply, having, plan, texts, vector_of
from tests.databases import in_database, new_database

# what whoever comes next must find as the server has it
_SETTINGS = ("enable_seqscan", "enable_indexscan", "plan_cache_mode", "jit", "lock_timeout", "hnsw.ef_search",
             "DateStyle", "IntervalStyle", "TimeZone", "extra_float_digits")  # fmt: skip


@pytest.fixture(scope="module")
def through(pgvector_server: Server) -> Iterator[str]:
    """A database of its own, whose dates no other setting than this one's would make Freshet's."""
    name = f"pooled_{uuid4().hex[:8]}"
    direct = new_database(pgvector_server.dsn, name)
    with psycopg.connect(direct, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        for setting in ("DateStyle TO 'German, DMY'", "IntervalStyle TO 'sql_standard'", "extra_float_digits TO 0"):
            connection.execute(f"ALTER DATABASE {name} SET {setting}".encode())
    with pooler(direct) as pooled:
        through = in_database(pooled, name)
        before = left_behind(through)
        yield through
        assert left_behind(through) == before


def left_behind(through: str) -> list[list[object]]:
    """What each session of the pool has set, and has prepared or locked for longer than a transaction."""
    found: list[list[object]] = []
    with ExitStack() as stack:
        for _ in range(SESSIONS):
            connection = stack.enter_context(psycopg.connect(through, prepare_threshold=None))
            held = connection.execute(
                "SELECT (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_cursors), "
                "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), "
                "(SELECT count(*) FROM pg_class WHERE relpersistence = 't')"
            ).fetchall()
            shown = [connection.execute(f"SELECT current_setting('{name}', true)".encode()) for name in _SETTINGS]
            found.append([*held[0], *(each.fetchall()[0][0] or "40" for each in shown)])
    return found


def owned(through: str, table: str, epoch: int) -> PgvectorStore:
    return PgvectorStore(through, table, 4, "m", patience_s=0.5, owner=Owner("articles", epoch, Fingerprint("m")))


def test_a_store_goes_from_session_to_session(through: str) -> None:
    with closing(owned(through, "moving", 1)) as store:
        store.prepare()
        for position in ("1", "2"):
            assert apply(store, plan("t/1", position, "one", f"two {position}")) == [APPLIED]
            assert apply(store, plan("t/2", position)) == [APPLIED]
            with another_session(through):
                assert apply(store, plan("t/1", position, "one", f"two {position}", new=[])) == [APPLIED]
                assert store.held([plan("t/1", "3", "one", "three")]) == frozenset(plan("t/1", "1", "one").chunk_ids)
                assert texts(store) == [("t/1", "one"), ("t/1", f"two {position}")]
                assert sorted(store.read(["t/1", "t/2"])) == list(store.document_ids()) == ["t/1"]
                assert store.positions(["t/2"]) == {"t/2": position} and store.latest("t") == position
                assert store.models() == {"m": 2}
                store.claim()
        assert store.search(vector_of("one"), 1, having({"lang": "no"})) == []
        with another_session(through):
            assert store.clear("t", Position("3")) == 1
            assert apply(store, plan("t/1", "2", "one")) == [STALE]
            assert store.drop({"t/1": Position("2")}) == frozenset()


def test_writers_share_the_sessions(through: str) -> None:
    owned(through, "shared", 1).prepare()

    def write(writer: int) -> list[Status]:
        with closing(owned(through, "shared", 1)) as store:
            plans = [plan(f"t/{writer}-{number}", "1", f"one {writer} {number}") for number in range(10)]
            return [status for each in plans for status in apply(store, each)]

    with ThreadPoolExecutor(4) as pool:
        assert {status for each in pool.map(write, range(4)) for status in each} == {APPLIED}
    with closing(owned(through, "shared", 1)) as store:
        assert len(list(store.document_ids())) == 40


def test_profiles_go_from_session_to_session(through: str) -> None:
    with closing(PostgresProfiles(through, "people", patience_s=0.5)) as store:
        store.prepare()
        held = writer(store)
        held.follow([change("crm/1", 1, "customer=1"), change("crm/2", 2, "customer=2")])
        with another_session(through):
            held.follow([change("crm/3", 3, "customer=1")])
            found = store.find(KARI)
            assert found is not None and store.get(found.profile_id) == found
            members = [each.record for each in store.members(found.profile_id, 10)]
            assert members == ["crm/1", "crm/3"] and store.history(found.profile_id, 10) == []
            assert len(store.everything()[0]) == 2


def test_rows_are_read_as_people_write_them_in_every_session(through: str) -> None:
    with psycopg.connect(through, prepare_threshold=None) as connection:
        connection.execute("CREATE TABLE rows (id int PRIMARY KEY, day date, took interval, at timestamptz, f real)")
        connection.execute("INSERT INTO rows VALUES (1, '2024-02-29', '1 day 02:00', '2024-02-29 12:00+02', 0.1)")
    with closing(Reselect(through)) as source:
        row = source.raw_row("public.rows", {"id": 1})
        assert row is not None and source.as_in_events("public.rows", row)["day"] == "2024-02-29"
        with another_session(through):
            assert source.raw_row("public.rows", {"id": 1}) == row
            with source.snapshot() as snapshot:
                assert next(snapshot.rows("public.rows", list(row), 10)) == [row]
        for _ in range(8):
            assert source.key("public.rows") == ("id",) and source.execute("SELECT 1") == [(1,)]


def test_the_catalog_is_read_in_every_session(through: str) -> None:
    with catalog(through, "--source") as found:
        for _ in range(8):
            assert "public.moving" in found.tables()
        with another_session(through):
            assert found.wal_level() and "public.moving" in found.tables()
