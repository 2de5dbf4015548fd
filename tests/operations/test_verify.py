"""`freshet verify` on a real database and a real store: equal is equal, and each kind of damage is found and named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import yaml
from rich.console import Console

from connectors.opening.stores import prepare, stores_of
from connectors.postgres.column_types import typed
from connectors.postgres.rows import Reselect
from core.change import Position
from core.config.file import load
from core.config.pipeline import Pipeline
from core.config.store import Pgvector
from core.errors import ConfigError, Unavailable
from core.plans import Plan
from operations.servers import stores
from operations.verify.one_pass import watched
from operations.verify.whole import Options
from stack.local import Stack
from terminal.verification import verify
from tests.databases import new_database
from udfs.embedding.embedder import dimension, embedder
from udfs.embedding.tokenizing import document_chunker

TABLES: dict[str, dict[str, Any]] = {
    "public.articles": {
        "text": "{title}\n\n{body}",
        "metadata": ["lang", "price", "at"],
        "chunk": {"tokens": 16, "overlap": 4},
    },
    'public.odd "name': {"text": "{k y}", "metadata": []},
}


@dataclass(frozen=True)
class Bench:
    """A source with rows, a store that equals it, and a pipeline that names both."""

    dsn: str
    pipeline: Pipeline

    def sql(self, query: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(query.encode())

    def verify(self, **options: Any) -> tuple[int, str]:
        printed = StringIO()
        code = verify(self.pipeline, Options(wait_s=0, **options), Console(file=printed, width=200))
        return code, printed.getvalue()

    def fill(self) -> None:
        """Bring the store to what the source says, as the job would."""
        pipeline, _ = typed(self.pipeline)
        source = Reselect(self.dsn, pipeline.events.debezium, schemas=False)
        chunkers = {
            name: document_chunker("hash", document.chunk) for name, document in self.pipeline.documents.items()
        }
        (store,) = stores(self.pipeline).values()
        store.prepare()
        with source.snapshot() as state:
            for each in watched(pipeline, source, chunkers):
                for batch in state.rows(each.spec.table, each.columns, 1000):
                    plans = [self._positioned(each.plan(raw)) for raw in batch]
                    vectors = [embedder("hash").embed([chunk.text for chunk in plan.write]) for plan in plans]
                    store.apply(plans, vectors)
        store.close()
        source.close()

    def _positioned(self, plan: Plan) -> Plan:
        return Plan(plan.document_id, Position(f"{1:016x}.{1:016x}"), plan.chunk_ids, plan.write, plan.metadata)


def database(stack: Stack) -> str:
    name = f"v{uuid4().hex[:8]}"
    return new_database(stack.postgres.dsn, name)


def pipeline_of(folder: Path, stack: Stack, dsn: str, **changes: Any) -> Pipeline:
    settings = {
        "name": "v",
        "source": {
            "kafka": {"topic": f"{uuid4().hex}", "properties.bootstrap.servers": stack.kafka.bootstrap_servers},
        },
        "format": "debezium",
        "documents": TABLES,
        "embedding": {"model": "hash"},
        "store": {"pgvector": {"dsn": dsn, "table": "chunks"}},
        "dead_letters": {"kafka": {"topic": "letters"}},
        "reselect": {"postgres": {"dsn": dsn}},
        **changes,
    }
    file = folder / "pipeline.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return load(file)


@pytest.fixture
def bench(stack: Stack, tmp_path: Path) -> Iterator[Bench]:
    dsn = database(stack)
    bench = Bench(dsn, pipeline_of(tmp_path, stack, dsn))
    bench.sql(
        "CREATE TABLE articles (id bigint PRIMARY KEY, title text, body text, lang text, price numeric(10,2), "
        "at timestamptz DEFAULT '2024-02-29 12:00:00.5+01')"
    )
    bench.sql("""CREATE TABLE "odd ""name" (a text, b int, "k y" text, PRIMARY KEY (b, a))""")
    bench.sql(
        "INSERT INTO articles SELECT n, 'title ' || n, repeat('some words about ' || n || '. ', 12), "
        "CASE WHEN n % 3 = 0 THEN NULL ELSE 'en' END, n / 7.0 FROM generate_series(1, 300) AS n"
    )
    bench.sql("""INSERT INTO "odd ""name" VALUES ('a/b', 1, 'slash'), ('%', 2, NULL), ('ü', 3, 'umlaut')""")
    bench.sql("INSERT INTO articles VALUES (301, NULL, ' ', 'en', 1)")
    bench.fill()
    yield bench


def test_what_a_store_has_let_go_is_counted_and_no_difference(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.sql("DELETE FROM chunks WHERE document_id = 'public.articles/7'")
    assert bench.verify(sample=5)[0] == 1
    monkeypatch.setattr(Pgvector, "forgets", "it lets records go")
    code, printed = bench.verify(json_file=tmp_path / "found.json", sample=5)
    said = " ".join(printed.split())
    assert code == 0 and "1 rows of public.articles weren't compared with pgvector" in said, printed
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["let_go"] == [{"table": "public.articles", "store": "pgvector", "rows": 1}]
    assert [each["ok"] for each in found["tables"] if each["table"] == "public.articles"] == [300]


def test_an_equal_store_has_no_difference(bench: Bench, tmp_path: Path) -> None:
    code, printed = bench.verify(json_file=tmp_path / "found.json", sample=50)
    assert code == 0, printed
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["equal"]
    assert [(line["table"], line["rows"], line["ok"]) for line in found["tables"]] == [
        ("public.articles", 301, 301),
        ('public.odd "name', 3, 3),
    ]
    assert found["sampled"] == 50
    assert "no difference: pgvector equals the source" in printed
    assert "vectors: a sample of 50 of " in printed


DAMAGES = {
    "text": (
        "UPDATE chunks SET text = 'other' WHERE document_id = 'public.articles/7' AND ordinal = 1",
        "stale in pgvector: public.articles/7: another text in chunk 1",
    ),
    "chunk": (
        "DELETE FROM chunks WHERE document_id = 'public.articles/7' AND ordinal = 1",
        "stale in pgvector: public.articles/7: lacks 1 of",
    ),
    "all chunks": (
        "DELETE FROM chunks WHERE document_id = 'public.articles/7'",
        "missing in pgvector: public.articles/7: none of its",
    ),
    "order": (
        "UPDATE chunks SET ordinal = ordinal + 5 WHERE document_id = 'public.articles/7' AND ordinal = 1",
        "stale in pgvector: public.articles/7: another place for chunk 1",
    ),
    "metadata": (
        "UPDATE chunks SET metadata = '{\"lang\": \"de\"}' WHERE document_id = 'public.articles/7'",
        "stale in pgvector: public.articles/7: other metadata: at, lang, price",
    ),
    "deleted row": ("DELETE FROM articles WHERE id = 7", "ghost in pgvector: public.articles/7: the source has no row"),
    "deleted odd row": (
        'DELETE FROM "odd ""name" WHERE a = \'a/b\'',
        'ghost in pgvector: public.odd "name/1/a%2Fb: the source has no row',
    ),
    "changed row": (
        "UPDATE articles SET body = 'new' WHERE id = 7",
        "stale in pgvector: public.articles/7: lacks 1 of 1 chunk; has",
    ),
    "new row": (
        "INSERT INTO articles VALUES (999, 'new', '', 'en', 0)",
        "missing in pgvector: public.articles/999: none of its 1 chunk",
    ),
    "id of no key": (
        "INSERT INTO chunks SELECT 'x', 'public.articles/no/key', 0, 't', '{}', embedding, model FROM chunks LIMIT 1;"
        "INSERT INTO chunks_ledger VALUES ('public.articles/no/key', '1')",
        "ghost in pgvector: public.articles/no/key: the source has no row",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_named(bench: Bench, name: str) -> None:
    query, line = DAMAGES[name]
    bench.sql(query)
    code, printed = bench.verify(sample=0)
    assert code == 1
    assert line in printed
    assert printed.count(" in pgvector: ") == 1


def test_foreign_documents_are_kept_apart_from_ghosts(bench: Bench) -> None:
    bench.sql(
        "INSERT INTO chunks SELECT 'x', 'public.other/1' || chr(27), 0, 't', '{}', embedding, model FROM chunks LIMIT 1"
    )
    code, printed = bench.verify(sample=0)
    assert code == 1
    assert r"foreign in pgvector: public.other/1\x1b: the pipeline names no table public.other" in printed
    assert "ghost in" not in printed
    assert "\x1b" not in printed


def test_a_replaced_vector_is_found_by_the_sample_and_only_by_it(bench: Bench) -> None:
    bench.sql(
        "UPDATE chunks SET embedding = other.embedding FROM chunks AS other WHERE chunks.ordinal = 0 "
        "AND other.ordinal = 0 AND chunks.document_id ~ 'articles/7$' AND other.document_id ~ 'articles/8$'"
    )
    assert bench.verify(sample=0)[0] == 0
    code, printed = bench.verify(sample=1000)
    assert code == 1
    assert "stale in pgvector: public.articles/7: another vector in chunk 0" in printed
    assert printed.count(" in pgvector: ") == 1


def test_only_the_first_twenty_are_listed_and_all_are_counted(bench: Bench, tmp_path: Path) -> None:
    bench.sql("DELETE FROM chunks WHERE document_id ~ 'articles/1[0-9]$|articles/2[0-9]$|articles/3[0-9]$'")
    code, printed = bench.verify(sample=0, json_file=tmp_path / "found.json")
    assert code == 1
    assert printed.count("missing in pgvector") == 20
    assert "… and 10 more" in printed
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["tables"][0]["missing"] == 30
    assert found["tables"][0]["ok"] == 271
    assert len(found["differences"]) == 30
    assert not found["equal"]


@pytest.mark.parametrize(
    ("source", "format_"),
    [("kafka", {"rows": {"table": "public.articles"}}), ("kafka", "dms"), ("kinesis", "dms"), ("kinesis", "debezium")],
    ids=str,
)
def test_rows_of_other_feeds_are_compared_when_they_had_time_to_come(
    bench: Bench, stack: Stack, tmp_path: Path, source: str, format_: Any
) -> None:
    kafka = {"topic": "none", "properties.bootstrap.servers": stack.kafka.bootstrap_servers}
    changes = {
        "source": {source: kafka if source == "kafka" else {"stream": "none"}},
        "format": format_,
        "documents": {"public.articles": {**TABLES["public.articles"], "metadata": ["lang"], "key": ["id"]}},
        "store": {"pgvector": {"dsn": bench.dsn, "table": "others"}},
        "dead_letters": {"kafka": {**kafka, "topic": "letters"}},
    }
    other = Bench(bench.dsn, pipeline_of(tmp_path, stack, bench.dsn, **changes))
    other.fill()
    code, printed = other.verify(sample=0)
    assert code == 0
    assert "the way from the source can't be asked how far it is" in printed
    bench.sql("DELETE FROM others WHERE document_id = 'public.articles/7'")
    code, printed = other.verify(sample=0)
    assert code == 1
    assert "missing in pgvector: public.articles/7: none of its" in printed
    assert ("the stream lags" in printed) is (source == "kafka")
    with pytest.raises(ConfigError, match="--repair"):
        other.verify(repair=True)


def test_rows_that_make_no_document_are_counted(bench: Bench, stack: Stack, tmp_path: Path) -> None:
    documents = {"public.articles": {**TABLES["public.articles"], "key": ["lang"]}}
    other = Bench(bench.dsn, pipeline_of(tmp_path, stack, bench.dsn, documents=documents))
    _, printed = other.verify(sample=0)
    assert "100 rows of public.articles make no document: documents.public.articles.key names lang" in printed


def test_what_is_missing_to_verify_is_named(bench: Bench, stack: Stack, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="reselect is missing"):
        Bench(bench.dsn, pipeline_of(tmp_path, stack, bench.dsn, reselect=None)).verify()
    documents = {"public.nothing": {"text": "{a}"}}
    with pytest.raises(ConfigError, match=r"no table public\.nothing"):
        Bench(bench.dsn, pipeline_of(tmp_path, stack, bench.dsn, documents=documents)).verify()
    documents = {"public.articles": {"text": "{a}"}}
    code, printed = Bench(bench.dsn, pipeline_of(tmp_path, stack, bench.dsn, documents=documents)).verify()
    assert code == 1
    assert "uses column 'a', which the row lacks" in printed
    # an empty store doesn't equal a source of which nothing was compared
    empty = {"documents": documents, "store": {"pgvector": {"dsn": bench.dsn, "table": "none"}}}
    other = Bench(bench.dsn, pipeline_of(tmp_path, stack, bench.dsn, **empty))
    prepare(stores_of(other.pipeline), lambda: dimension(other.pipeline.embedding))
    code, printed = other.verify(json_file=tmp_path / "found.json")
    assert (code, json.loads((tmp_path / "found.json").read_text())["equal"]) == (1, False)
    assert "nothing to compare: none of the 301 rows of public.articles makes a document" in printed
    assert "no difference" not in printed
    away = {"postgres": {"dsn": "postgresql://me:hunter2@127.0.0.1:1/x"}}
    with pytest.raises(Unavailable, match=r"reselect\.postgres\.dsn") as raised:
        Bench(bench.dsn, pipeline_of(tmp_path, stack, bench.dsn, reselect=away)).verify()
    assert "hunter2" not in str(raised.value)
