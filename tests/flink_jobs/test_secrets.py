"""What a pipeline file keeps secret is shown nowhere; what an event names is never taken for code."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg

from core.formats.debezium.decoding import UNAVAILABLE
from tests.databases import as_user
from tests.flink_jobs.conftest import Workshop
from tests.flink_jobs.events import envelope, key, row

SECRET = "hunter2-Geheimnis"


def files_with(folder: Path, secret: str) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "pipeline.yaml"]
    return [str(path) for path in files if secret.encode() in path.read_bytes()]


def away(name: str) -> str:
    """A database of a server that isn't there."""
    return f"postgresql://freshet:{SECRET}@127.0.0.1:1/{name}"


def test_no_secret_is_shown(workshop: Workshop) -> None:
    source = {
        "topic-pattern": rf"{workshop.prefix}\.public\..*",
        "properties.bootstrap.servers": workshop.bootstrap_servers,
        "properties.sasl.jaas.config": f'x.PlainLoginModule required username="u" password="{SECRET}";',
        "scan.startup.mode": "earliest-offset",
        "scan.bounded.mode": "latest-offset",
    }
    for number, body in enumerate(("good", UNAVAILABLE, UNAVAILABLE)):
        workshop.send(key(number), envelope(number + 1, row(number, body), op="u"))
    workshop.send(key(9), b"nonsense")
    # by another key than the events': none of its rows can be looked up
    with psycopg.connect(workshop.dsn) as server:
        server.execute("CREATE TABLE public.documents (nr bigint PRIMARY KEY, title text, body text)")
    dsn = as_user(workshop.dsn, SECRET)
    pipeline = workshop.pipeline(
        source={"kafka": source},
        store={"pgvector": {"dsn": dsn, "table": "chunks"}},
        reselect={"postgres": {"dsn": dsn}},
        documents={"public.documents": {"text": "{title}\n\n{body}"}},
    )
    printed = workshop.freshet("check", pipeline) + workshop.freshet("run", pipeline, alone=True)
    assert len(workshop.letters()) == 3
    assert f"finished: 3 dead letters are in topic {workshop.dead_letters}" in printed
    assert not (workshop.folder / ".freshet/pipelines/documents/tmp").exists()
    other = workshop.pipeline(
        source={"kafka": source},
        store={"pgvector": {"dsn": away("x"), "table": "documents"}},
        reselect={"postgres": {"dsn": away("x")}},
    )
    printed += workshop.freshet("check", other, ok=False) + workshop.freshet("run", other, ok=False)
    printed += workshop.freshet("verify", other, ok=False) + workshop.freshet("dead-letters", "list", other)
    assert "127.0.0.1:1" in printed
    assert SECRET not in printed
    assert files_with(workshop.folder, SECRET) == []
    for letter_key, value, headers in workshop.letters():
        assert SECRET.encode() not in b"".join((letter_key or b"", value or b"", *headers.values()))


HOSTILE = [
    "'; DROP TABLE documents; --",
    '"quoted" %s {title} $1 \\',
    "../../etc/passwd%2F",
    "a/b/c",
    "\r\nheader: x",
    "_search?q=*",
    "‮🙂",
]


def test_what_events_name_is_only_ever_a_value(workshop: Workshop) -> None:
    tables = ['public.do"cs; DROP', "public.do'cs--", "public.%2e%2e/x"]
    documents = {table: {"text": "{title}|{body}", "metadata": ["title"]} for table in tables}
    count = 0
    for table in tables:
        for hostile in HOSTILE:
            count += 1
            change = {"op": "c", "before": None, "after": {"id": hostile, "title": hostile, "body": hostile}}
            source = {"connector": "postgresql", "schema": "public", "table": table.partition(".")[2]}
            source |= {"lsn": count, "sequence": json.dumps([str(count)] * 2), "snapshot": "false"}
            workshop.send(json.dumps({"id": hostile}).encode(), json.dumps(change | {"source": source}).encode())
    truncated = {"connector": "postgresql", "schema": "public", "table": tables[0].partition(".")[2]}
    truncated |= {"lsn": 1000, "sequence": '["1000","1000"]', "snapshot": "false"}
    workshop.send(None, json.dumps({"op": "t", "before": None, "after": None, "source": truncated}).encode())
    workshop.freshet("run", workshop.pipeline(documents=documents))
    stored = {text for _, _, text in workshop.rows()}
    assert stored == {f"{hostile}|{hostile}" for hostile in HOSTILE}
    assert len({document for document, _, _ in workshop.rows()}) == 2 * len(HOSTILE)
    assert not workshop.has_letters()
