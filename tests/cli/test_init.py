"""`freshet init` and `freshet stack connect`: two commands from a table to a pipeline file that is right."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from rich.console import Console
from typer.testing import CliRunner

from cli.main import commands
from cli.stack_connecting import connector_of
from connectors.kafka.source import topics_there
from connectors.postgres.catalog import without_password
from core.config.source import Kafka
from operations.pipeline_file import load
from stack import local as local_stack
from stack.connect import remove_postgres
from stack.local import Stack
from terminal.checking import check
from tests.databases import as_user, new_database

SECRET = "gehe:im"
COLUMNS = (
    'id int, lang varchar(2), "Titel" text, body text, "gebühr" numeric(8,2), seit date, extra jsonb, '
    "PRIMARY KEY (lang, id)"
)


@pytest.fixture
def database(stack: Stack) -> Iterator[tuple[str, str]]:
    """A database of the stack's server, whose name and connection string these are, with a few tables."""
    name = f"first_{uuid4().hex[:6]}"
    dsn = new_database(stack.postgres.dsn, name)
    with psycopg.connect(dsn) as server:
        server.execute(f"CREATE TABLE articles ({COLUMNS})".encode())
        row = (7, "de", "Versand", "Nach Österreich auch", 4.90, "2026-03-01", '{"by": "Post"}')
        server.execute("INSERT INTO articles VALUES (%s, %s, %s, %s, %s, %s, %s)", row)
        server.execute('CREATE TABLE "Ohne" (code text NOT NULL UNIQUE, note text)')
        server.execute("CREATE TABLE numbers (id int PRIMARY KEY)")
        server.execute("CREATE TABLE slugs (id int PRIMARY KEY, slug text NOT NULL UNIQUE)")
        server.execute("ALTER TABLE slugs REPLICA IDENTITY USING INDEX slugs_slug_key")
        server.execute("CREATE VIEW seen AS SELECT * FROM articles")
    yield name, dsn


def ran(*typed: str | Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a command says, right or wrong, in a folder; it must not end by itself."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    result = CliRunner().invoke(commands, [str(each) for each in typed])
    return result.output if result.exception is None else f"{result.output}{result.exception}"


def test_from_a_table_to_a_pipeline_that_check_approves(
    stack: Stack, database: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, dsn = database
    here = stack.folder.parents[1]
    topic = f"{name}.public.articles"
    with psycopg.connect(stack.postgres.dsn) as connection:
        # a page of the documentation may have made them of its own table of this name
        connection.execute("DROP TABLE IF EXISTS articles_chunks, articles_chunks_ledger")
    shutil.rmtree(here / ".freshet" / "pipelines" / "articles", ignore_errors=True)
    try:
        secret = as_user(dsn, SECRET)
        for how in ("reports", "reported already"):
            printed = ran("stack", "connect", "articles", "--dsn", secret, folder=here, monkeypatch=monkeypatch)
            assert f"public.articles: Debezium {how} its changes to topic {topic}" in printed
        # whoever is on this machine can ask Connect
        connectors = httpx.get(
            f"{stack.connect.url}/connectors", params=[("expand", "info"), ("expand", "status")]
        ).text
        logged = stack.connect.server.log.read_text(encoding="utf-8")
        assert connector_of(name, "public.articles") in connectors and SECRET not in connectors + logged
        file = tmp_path / "pipeline.yaml"
        printed = ran("init", file, "--table", "public.articles", "--dsn", dsn, folder=here, monkeypatch=monkeypatch)
        assert f"{file}: public.articles by lang, id" in printed.replace("\n", "")
        assert "not used: extra (jsonb" in printed
        pipeline = load(file)
        document = pipeline.documents["public.articles"]
        assert (document.text, document.key) == ("{Titel}\n\n{body}", ("lang", "id"))
        assert document.metadata == ("id", "lang", "gebühr", "seit")
        assert pipeline.kafka.topic == topic
        # written as this folder has it, read as it is found from everywhere
        assert "passfile=.freshet/stack/pgpass" in file.read_text(encoding="utf-8")
        assert pipeline.store.pgvector is not None
        assert conninfo_to_dict(pipeline.store.pgvector.dsn) == conninfo_to_dict(stack.postgres.dsn)
        seen = io.StringIO()
        assert check(pipeline, Console(file=seen, width=200), as_json=True) == 0, seen.getvalue()
        steps = {each["step"]: each for each in json.loads(seen.getvalue())["steps"]}
        assert "with all that the file names" in steps["reselect.postgres"]["message"]
        again = ran("init", file, "--table", "public.articles", folder=here, monkeypatch=monkeypatch)
        assert "is there already" in again
    finally:
        remove_postgres(stack.connect.url, connector_of(name, "public.articles"), dsn)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("public.artikles", "has no table public.artikles that this user sees: did you mean public.articles?"),
        ("artikles", "did you mean public.articles?"),
        ("public.Ohne", 'ALTER TABLE "public"."Ohne" ADD PRIMARY KEY ("code")'),
        ("slugs", 'ALTER TABLE "public"."slugs" REPLICA IDENTITY DEFAULT, or FULL'),
        ("numbers", "public.numbers has no column of text: id"),
        ("seen", "public.seen is a view"),
    ],
)
def test_what_cannot_be_read_is_named_and_nothing_written(
    stack: Stack, database: tuple[str, str], table: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, file = stack.folder.parents[1], tmp_path / "pipeline.yaml"
    assert message in ran("init", file, "--table", table, "--dsn", database[1], folder=here, monkeypatch=monkeypatch)
    assert not file.exists()
    if table in ("public.Ohne", "slugs"):
        connected = ran("stack", "connect", table, "--dsn", database[1], folder=here, monkeypatch=monkeypatch)
        assert ("its UPDATEs and DELETEs fail" if table == "public.Ohne" else message) in connected
        kafka = Kafka.model_validate({"topic": "x", "properties.bootstrap.servers": stack.kafka.bootstrap_servers})
        assert not any(database[0] in topic for topic in topics_there(kafka) or ())


def test_no_password_is_written(
    stack: Stack, database: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = as_user(database[1], "p@ss'wörd")
    folder, file = stack.folder.parents[1], tmp_path / "pipeline.yaml"
    printed = ran("init", file, "--table", "articles", "--dsn", dsn, folder=folder, monkeypatch=monkeypatch)
    assert "$DATABASE_PASSWORD is the password in it" in printed
    assert "ss'w" not in printed + file.read_text(encoding="utf-8")
    as_written, escaped = without_password(dsn, "DATABASE_PASSWORD")
    monkeypatch.setenv("DATABASE_PASSWORD", escaped)
    written = load(file).reselect
    assert written is not None and written.postgres is not None
    parts = psycopg.conninfo.conninfo_to_dict(written.postgres.dsn)
    assert parts == psycopg.conninfo.conninfo_to_dict(dsn) and "DATABASE_PASSWORD" in as_written


def test_where_nothing_says_what_is_asked_for_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--dsn is missing" in ran("init", "--table", "a", folder=tmp_path, monkeypatch=monkeypatch)
    of_mysql = ran("init", "--table", "a", "--dsn", "mysql://u@h/d", "--store", "x", "--bootstrap-servers", "h:1",
                   folder=tmp_path, monkeypatch=monkeypatch)  # fmt: skip
    assert "--dsn is of mysql, and only PostgreSQL's tables can be asked" in of_mysql
    assert "`freshet stack up` starts them" in ran("stack", "connect", "a", folder=tmp_path, monkeypatch=monkeypatch)
    assert local_stack.status(tmp_path).running is False


def test_connectors_have_slots_of_their_own() -> None:
    assert connector_of("shop", "public.articles") == "shop.public.articles"
    odd = ["public.größe", "public.gröte", "public.Größe", "public." + "a" * 70, "public." + "a" * 71]
    names = {connector_of("shop", each) for each in odd}
    assert len(names) == len(odd) and all(name.isascii() and len(name) <= 55 for name in names)
