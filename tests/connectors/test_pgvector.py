"""What is PostgreSQL's own in the pgvector store: rows left alone, names, rights, secrets."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from connectors.pgvector import claim as pgvector_claim
from connectors.pgvector.layout import Layout
from connectors.pgvector.store import PgvectorStore
from connectors.postgres.session import with_whole_passfile
from core.config.store import NO_WORDS
from core.errors import ConfigError, Unavailable
from core.metrics import tally
from core.stores.filters.language import parse
from core.stores.fingerprint import Fingerprint, Owner
from tests.connectors.servers import Server
from tests.connectors.test_store_contract import APPLIED, apply, plan, texts, vector_of
from tests.databases import as_user


@pytest.fixture
def database(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def chunks(dsn: str) -> Iterator[PgvectorStore]:
    store = PgvectorStore(dsn, "articles", 4, "m", patience_s=5)
    store.prepare()
    yield store
    store.close()


def versions(database: psycopg.Connection[Any]) -> list[Any]:
    return database.execute("SELECT chunk_id, xmin, ctid FROM articles ORDER BY 1").fetchall()


def test_the_table_has_the_promised_columns(chunks: PgvectorStore, database: psycopg.Connection[Any]) -> None:
    query = """SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
               WHERE attrelid = 'articles'::regclass AND attnum > 0 ORDER BY attnum"""
    assert database.execute(query).fetchall() == [
        ("chunk_id", "text"),
        ("document_id", "text"),
        ("ordinal", "integer"),
        ("text", "text"),
        ("metadata", "jsonb"),
        ("embedding", "vector(4)"),
        ("model", "text"),
    ]
    indexes = database.execute("SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema()").fetchall()
    assert len(indexes) == 5
    assert any("USING hnsw (embedding vector_cosine_ops)" in index for (index,) in indexes)


def test_a_rare_word_of_others_takes_no_answer_away(chunks: PgvectorStore, database: psycopg.Connection[Any]) -> None:
    """Else who sees a part of the table can ask which words the other parts have."""
    database.execute("""
        INSERT INTO articles SELECT 'c' || n, 'd' || n, 0, CASE n WHEN 1 THEN 'common zebra' ELSE 'common' END,
        jsonb_build_object('tenant', CASE WHEN n > 2097 THEN 'acme' ELSE 'beta' END), '[1,0,0,0]', 'm'
        FROM generate_series(1, 2100) AS n
    """)
    acme, beta = (parse({"tenant": each}, {"tenant"}) for each in ("acme", "beta"))
    found = [[hit.document_id for hit in chunks.match(f"common {word}", 10, acme)] for word in ("zebra", "unicorn")]
    assert found == [["d2098", "d2099", "d2100"]] * 2
    assert [hit.document_id for hit in chunks.match("common zebra", 10, beta)] == ["d1"]


def test_a_search_that_takes_too_long_is_ended_once(dsn: str, database: psycopg.Connection[Any]) -> None:
    chunks = PgvectorStore(dsn, "articles", 4, "m", search_s=0.3)
    chunks.prepare()
    database.execute("""
        INSERT INTO articles SELECT 'c' || n, 'd' || n, 0, 'common', jsonb_build_object('at', '2026-03-01T10:00:00Z'),
        '[1,0,0,0]', 'm' FROM generate_series(1, 4000) AS n
    """)
    never = parse({"or": [{"at": {"gt": f"2027-03-01T10:00:00.{n:03}Z"}} for n in range(300)]}, {"at"})
    tally.drain()
    for search in (lambda: chunks.search(vector_of("x"), 5, never), lambda: chunks.match("common", 5, never)):
        with pytest.raises(Unavailable, match="cancels what takes longer"):
            search()
    assert "retries" not in [each.name for each in tally.drain()]
    assert len(chunks.match("common", 5)) == 5
    chunks.close()


def test_a_table_without_an_index_of_words_gets_one_another_language_another_and_none_none(
    chunks: PgvectorStore, dsn: str, database: psycopg.Connection[Any]
) -> None:
    def indexes() -> list[str]:
        query = "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() AND indexdef LIKE '%to_tsvector%'"
        return [index for (index,) in database.execute(query).fetchall()]

    database.execute("DROP INDEX articles_words")
    apply(chunks, plan("d", "1", "The river's banks are running dry"))
    assert [hit.document_id for hit in chunks.match("BANKS", 5)] == ["d"], "slow, but so it is until a run prepares"
    chunks.prepare()
    (made,) = indexes()
    chunks.prepare()
    assert "'simple'" in made and indexes() == [made]
    assert chunks.match("bank runs", 5) == []
    english = PgvectorStore(dsn, "articles", 4, "m", layout=Layout("english"))
    english.prepare()
    assert [hit.document_id for hit in english.match("bank runs", 5)] == ["d"]
    assert english.match("the", 5) == []
    assert ["'english'" in index for index in indexes()] == [True]
    english.close()
    with pytest.raises(ConfigError, match=r"text_search_config is 'klingon': .* it has arabic, .*, simple"):
        PgvectorStore(dsn, "articles", 4, "m", layout=Layout("klingon")).prepare()
    wordless = PgvectorStore(dsn, "articles", 4, "m", layout=Layout(NO_WORDS))
    wordless.prepare()
    wordless.prepare()
    with pytest.raises(ConfigError, match="text_search_config is none, and nothing is found by words"):
        wordless.match("bank runs", 5)
    assert indexes() == [] and wordless.search(np.ones(4, np.float32), 5) != []
    wordless.close()
    chunks.prepare()
    assert indexes() == [made]


def test_applying_again_rewrites_no_row(chunks: PgvectorStore, database: psycopg.Connection[Any]) -> None:
    first = plan("d", "1", "one", "two", metadata={"lang": "en"})
    apply(chunks, first)
    before = versions(database)
    ledger = database.execute("SELECT xmin, ctid FROM articles_ledger").fetchall()
    apply(chunks, first)
    apply(chunks, plan("d", "1", "one", "two", new=[], metadata={"lang": "en"}))
    assert versions(database) == before
    assert database.execute("SELECT xmin, ctid FROM articles_ledger").fetchall() == ledger


def test_a_kept_chunk_is_not_touched(chunks: PgvectorStore, database: psycopg.Connection[Any]) -> None:
    first = plan("d", "1", "one", "two")
    apply(chunks, first)
    before = {row[0]: row for row in versions(database)}
    apply(chunks, plan("d", "2", "one", "zwei", new=["zwei"]))
    assert before[first.chunk_ids[0]] in versions(database)


@pytest.mark.parametrize("new", [[], None], ids=["moved", "written again"])
def test_new_metadata_leaves_the_indexes_alone(
    chunks: PgvectorStore, database: psycopg.Connection[Any], new: list[str] | None
) -> None:
    apply(chunks, plan("d", "1", "one " * 2000, "two", metadata={"lang": "en"}))
    apply(chunks, plan("d", "2", "one " * 2000, "two", new=new, metadata={"lang": "de"}))
    assert updates(chunks, database) == (2, 2)


def test_all_chunks_of_a_long_document_may_move_again_and_again(
    chunks: PgvectorStore, database: psycopg.Connection[Any]
) -> None:
    words = random.Random(1)
    long = [" ".join(f"{words.random():.8f}" for _ in range(90)) for _ in range(60)]
    for number in range(6):
        apply(chunks, plan("d", str(number), *long, new=None if number == 0 else [], metadata={"at": number}))
    assert updates(chunks, database) == (300, 300)


def updates(chunks: PgvectorStore, database: psycopg.Connection[Any]) -> Any:
    """How many rows were updated, and how many of them without a new entry in any index."""
    chunks.close()
    query = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'articles'::regclass"
    for _ in range(100):
        updated = database.execute(query).fetchone()
        if updated and updated[0]:
            break
        database.execute("SELECT pg_sleep(0.02)")
    return updated


def test_what_runs_over_and_over_is_prepared(chunks: PgvectorStore) -> None:
    for position in range(8):
        apply(chunks, plan("d", str(position), "one"))
    prepared = "SELECT count(*) FROM pg_prepared_statements WHERE statement ~ 'INSERT'"
    assert chunks._session.connection().execute(prepared).fetchall() == [(2,)]


def test_lost_connections_are_made_again(chunks: PgvectorStore, database: psycopg.Connection[Any]) -> None:
    apply(chunks, plan("d", "1", "one"))
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'freshet'"
    assert (True,) in database.execute(kill).fetchall()
    assert apply(chunks, plan("d", "2", "two")) == [APPLIED]
    database.execute(kill)
    assert texts(chunks) == [("d", "two")]


def test_names_are_quoted_and_may_have_a_schema(dsn: str, database: psycopg.Connection[Any]) -> None:
    database.execute('DROP SCHEMA IF EXISTS "my app" CASCADE; CREATE SCHEMA "my app"')
    store = PgvectorStore(dsn, 'my app.an "odd" Name', 4, "m")
    store.prepare()
    assert apply(store, plan("d", "1", "one")) == [APPLIED]
    store.close()
    assert database.execute('SELECT count(*) FROM "my app"."an ""odd"" Name"').fetchall() == [(1,)]
    assert database.execute('SELECT count(*) FROM "my app"."an ""odd"" Name_ledger"').fetchall() == [(1,)]


@pytest.mark.parametrize("table", ["", "a.b.c", ".a", "a" * 57])
def test_a_table_that_has_no_such_name_is_refused(table: str) -> None:
    with pytest.raises(ConfigError, match=r"store\.pgvector\.table"):
        PgvectorStore("host=nowhere", table, 4, "m")


def test_more_dimensions_than_an_index_takes_are_refused() -> None:
    with pytest.raises(ConfigError, match="3072 dimensions"):
        PgvectorStore("host=nowhere", "articles", 3072, "m")


def test_a_missing_schema_and_a_foreign_table_are_refused(dsn: str, database: psycopg.Connection[Any]) -> None:
    with pytest.raises(ConfigError, match='schema "nowhere" does not exist'):
        PgvectorStore(dsn, "nowhere.articles", 4, "m").prepare()
    database.execute("CREATE TABLE articles (id int, text text)")
    with pytest.raises(ConfigError, match=r"articles is not a table of Freshet's: chunk_id missing \(needed: text\)"):
        PgvectorStore(dsn, "articles", 4, "m").prepare()


def test_a_table_dropped_under_the_job_is_named(chunks: PgvectorStore, database: psycopg.Connection[Any]) -> None:
    database.execute("DROP TABLE articles")
    with pytest.raises(ConfigError, match='relation "articles" does not exist'):
        apply(chunks, plan("d", "1", "one"))


def test_a_user_without_rights_to_create_uses_what_is_there(
    chunks: PgvectorStore, dsn: str, database: psycopg.Connection[Any]
) -> None:
    name = f"reader_{uuid4().hex[:8]}"
    database.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    database.execute(f"DO $$ BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO {name}', current_schema()); END $$")
    theirs = PgvectorStore(dsn.replace("freshet@", f"{name}:x@"), "articles", 4, "m")
    theirs.prepare()
    with pytest.raises(ConfigError, match="permission denied"):
        apply(theirs, plan("d", "1", "one"))
    database.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON articles, articles_ledger TO {name}")
    assert apply(theirs, plan("d", "1", "one")) == [APPLIED]
    theirs.close()


def test_a_password_that_is_not_there_is_asked_for_by_its_file(
    pgvector_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    plain = pgvector_server.dsn.partition("?")[0]
    for dsn, message in (
        (plain, "its password isn't there: the connection string must name its file, as in ?passfile=pgpass; `freshet"),
        (f"{plain}?passfile={tmp_path}/no", f"its passfile {tmp_path}/no isn't there, or has no line for freshet at"),
    ):
        with pytest.raises(ConfigError) as raised:
            PgvectorStore(dsn, "articles", 4, "m").prepare()
        assert f"store.pgvector.dsn: PostgreSQL at {pgvector_server.address} asks for a password" in str(raised.value)
        assert message in str(raised.value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").symlink_to(conninfo_to_dict(pgvector_server.dsn)["passfile"] or "")
    found = with_whole_passfile(f"{plain}?passfile=own")
    assert conninfo_to_dict(found)["passfile"] == str(tmp_path / "own")
    assert with_whole_passfile(found) == found and with_whole_passfile(plain) == plain
    monkeypatch.chdir("/")
    PgvectorStore(found, "articles_by_file", 4, "m").prepare()


def owner(epoch: int) -> Owner:
    return Owner("articles", epoch, Fingerprint("m"))


def test_a_claim_says_whom_it_waits_for_and_gives_up(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgvector_claim, "_QUIET_S", 0.2)
    monkeypatch.setattr(pgvector_claim, "_PATIENCE_S", 0.5)
    mine, said = PgvectorStore(dsn, "articles", 4, "m", owner=owner(1)), list[str]()
    mine.prepare()
    with psycopg.connect(dsn) as batch:
        # a run's worker that was cut off within its batch
        batch.execute(mine._sql["shared"])
        process = batch.info.backend_pid
        with pytest.raises(Unavailable, match=rf"after 0 s .* SELECT pg_terminate_backend\({process}\)"):
            mine.claim(said.append)
        line = f"store.pgvector: table articles: waits for the batch under way of PostgreSQL's process {process} (idle"
        assert len(said) == 1 and said[0].startswith(line)
        monkeypatch.setattr(pgvector_claim, "_PATIENCE_S", 30)
        # it ends as soon as the run has said that it waits
        mine.claim(lambda line: batch.rollback())
    assert mine.owner() == owner(1)
    assert mine._session.connection().execute("SHOW lock_timeout").fetchone() == ("0",)
    mine.close()


def test_passwords_are_in_no_message(pgvector_server: Server) -> None:
    host, port = pgvector_server.address.split(":")
    with pytest.raises(Unavailable, match=rf"{host}:1 [\s\S]*start it, or correct the address") as away:
        PgvectorStore(f"postgresql://freshet:hunter2@{host}:1/freshet", "articles", 4, "m").prepare()
    user = conninfo_to_dict(as_user(pgvector_server.dsn, "hunter2"))["user"]
    with pytest.raises(Unavailable, match='database "nowhere" does not exist') as unknown:
        PgvectorStore(f"host={host} port={port} user={user} password=hunter2 dbname=nowhere", "a", 4, "m").prepare()
    with pytest.raises(ConfigError, match=r"store\.pgvector\.dsn can't be read") as unreadable:
        PgvectorStore("postgresql:/freshet:hunter2@nowhere", "articles", 4, "m")
    for caught in (away, unknown, unreadable):
        error: BaseException | None = caught.value
        while error is not None:
            assert "hunter2" not in str(error)
            error = error.__cause__


def test_only_chunks_of_the_stores_model_answer(chunks: PgvectorStore, dsn: str) -> None:
    apply(chunks, plan("d", "1", "one"))
    other = PgvectorStore(dsn, "articles", 4, "another model")
    assert texts(other) == []
    other.close()


def test_a_batch_of_large_texts_takes_several_transactions(
    chunks: PgvectorStore, database: psycopg.Connection[Any]
) -> None:
    large = "all work and no play " * 1_000_000
    plans = [plan(f"d{number}", "1", f"{number} {large}") for number in range(5)]
    assert apply(chunks, *plans) == [APPLIED] * 5
    sizes = database.execute("SELECT xmin::text, sum(length(text)) FROM articles GROUP BY 1").fetchall()
    assert len(sizes) == 2 and sum(size for _, size in sizes) == sum(len(each.write[0].text) for each in plans)
