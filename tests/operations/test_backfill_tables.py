"""`freshet backfill` of tables: each row is sent as its connector sends it, whatever stops it on the way."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import psutil
import psycopg
import pytest
import yaml
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from connectors.kafka.producer import ensure_topics
from connectors.postgres.column_types import typed
from core.change import Change, Event, Operation, Position
from core.config.file import load
from core.formats.debezium.decoding import decode
from core.letters import BACKFILL
from core.plans import Plan
from operations.backfill.progress import Pace
from operations.servers import stores
from stack.local import Stack
from tests.connectors.test_postgres_rows import COLUMNS
from tests.databases import as_user, new_database
from tests.debezium import connector, converters, events
from tests.topics import consume
from udfs.embedding.embedder import dimension

TABLE = "public.things"
EARLIEST = f"{0:016x}.{0:016x}"
# what the connector's snapshot writes in another way than its log
METADATA = [name for name in COLUMNS if name not in ("id", "t", "x y\"'", "d", "ts")]


@dataclass(frozen=True)
class Desk:
    """A folder with a pipeline file for tables of a database of its own, and a topic."""

    folder: Path
    servers: str
    dsn: str
    topic: str

    def write(self, table: str = TABLE, **changes: Any) -> None:
        pipeline = {
            "name": "things",
            "source": {"kafka": {"topic": self.topic, "properties.bootstrap.servers": self.servers}},
            "format": "debezium",
            "documents": {table: {"text": "{t}"}},
            "embedding": {"model": "hash"},
            "store": {"pgvector": {"dsn": self.dsn, "table": "chunks"}},
            "dead_letters": {"kafka": {"topic": f"{self.topic}.letters"}},
            "reselect": {"postgres": {"dsn": self.dsn}},
            **changes,
        }
        kept = {name: value for name, value in pipeline.items() if value is not None}
        (self.folder / "pipeline.yaml").write_text(yaml.safe_dump(kept), encoding="utf-8")

    def sql(self, *statements: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def start(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "cli", "backfill", "pipeline.yaml", *options],
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env={**os.environ, "COLUMNS": "300", "NO_COLOR": "1"},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def run(self, *options: str, code: int = 0) -> str:
        job = self.start(*options)
        printed, _ = job.communicate(timeout=120)
        assert job.returncode == code, printed
        return " ".join(printed.split())

    @property
    def notes(self) -> Path:
        return self.folder / ".freshet" / "pipelines" / "things" / "backfill.json"

    def arrived(self) -> list[Event]:
        """What the backfills have sent."""
        found = consume(self.servers, self.topic)
        return [
            Event(self.topic, each.partition or 0, 0, each.key, each.value, dict(each.headers))
            for each in found
            if BACKFILL in dict(each.headers)
        ]

    def changes(self) -> list[Change]:
        """The same, as the job reads them."""
        settings = typed(load(self.folder / "pipeline.yaml"))[0].events.debezium
        found = [decode(event, settings) for event in self.arrived()]
        assert all(isinstance(each, Change) for each in found)
        return [each for each in found if isinstance(each, Change)]

    def empty(self) -> None:
        """As retention leaves a topic in which nothing has come for long."""
        admin = AdminClient({"bootstrap.servers": self.servers})
        partitions = admin.list_topics(timeout=10).topics[self.topic].partitions
        for deleted in admin.delete_records([TopicPartition(self.topic, each, -1) for each in partitions]).values():
            deleted.result()


def desk_in(stack: Stack, folder: Path, topic: str = "") -> Desk:
    name = f"b{uuid4().hex[:8]}"
    dsn = new_database(stack.postgres.dsn, name)
    return Desk(folder, stack.kafka.bootstrap_servers, dsn, topic or f"{name}.{TABLE}")


@pytest.fixture
def desk(stack: Stack, tmp_path: Path) -> Desk:
    made = desk_in(stack, tmp_path)
    ensure_topics(made.servers, {made.topic: 2})
    made.write()
    return made


@pytest.mark.parametrize("schemas", [True, False], ids=["schemas", "bare"])
def test_rows_are_sent_as_the_connector_sends_them(stack: Stack, tmp_path: Path, schemas: bool) -> None:
    made = desk_in(stack, tmp_path)
    quoted = {column: '"' + column.replace('"', '""') + '"' for column in COLUMNS}
    rows = [", ".join(found[at] if at < len(found) else "NULL" for _, found in COLUMNS.values()) for at in range(5)]
    made.sql(
        "CREATE EXTENSION vector",
        "CREATE TYPE mood AS ENUM ('happy', 'sad')",
        "CREATE DOMAIN posint AS int CHECK (value > 0)",
        f"CREATE TABLE things ({', '.join(f'{quoted[name]} {kind}' for name, (kind, _) in COLUMNS.items())}, "
        "secret text, PRIMARY KEY (id))",
        *(f"INSERT INTO things VALUES ({row}, 'secret')" for row in rows),  # noqa: S608
    )
    settings = {**converters(schemas), "column.exclude.list": f"{TABLE}.secret"}
    with connector(stack, made.dsn, settings, partitions=2) as prefix:
        desk = Desk(made.folder, made.servers, made.dsn, f"{prefix}.{TABLE}")
        desk.write(documents={TABLE: {"text": "{t}", "metadata": METADATA}})
        snapshot = events(stack, desk.topic, 5)
        modes = typed(load(desk.folder / "pipeline.yaml"))[0].events.debezium
        want = {each.key["id"]: each for event in snapshot if isinstance(each := decode(event, modes), Change)}
        printed = desk.run()
        assert re.search(rf"5 rows of {TABLE} sent to topic {desk.topic}, [\d,]+ rows/s", printed), printed
        assert "public.things:" not in printed and "ends without" not in printed
        found = {each.key["id"]: each for each in desk.changes()}
        assert sorted(found) == sorted(want)
        for key, each in found.items():
            assert {**each.row, **_unlike()} == {**want[key].row, **_unlike()}
            assert (each.operation, each.position) == (Operation.UPSERT, want[key].position)
            assert not each.ends_snapshot
        assert {event.key: event.partition for event in desk.arrived()} == {
            event.key: event.partition for event in snapshot
        }
        # nothing is there to go by: no event, no store
        desk.empty()
        printed = desk.run(TABLE)
        assert f"topic {desk.topic} ends without an event of {TABLE}: its rows are sent with" in printed
        assert f"nothing tells a position of {TABLE}" in printed
        again = {each.key["id"]: each for each in desk.changes()}
        used = {"t", *METADATA}
        for key, each in again.items():
            assert {name: each.row[name] for name in used} == {name: want[key].row[name] for name in used}
            assert each.position == EARLIEST
            assert each.row.keys() == {"id", *used}
    assert sorted(again) == sorted(want)


def _unlike() -> dict[str, None]:
    return dict.fromkeys(("d", "ts"))


def test_a_column_that_was_added_or_changed_is_sent_as_it_is_now(stack: Stack, tmp_path: Path) -> None:
    made = desk_in(stack, tmp_path)
    made.sql(
        "CREATE TABLE things (id int PRIMARY KEY, t text, price numeric(8,2))",
        "INSERT INTO things VALUES (1, 'a', 1.25)",
    )
    with connector(stack, made.dsn, converters(True)) as prefix:
        desk = Desk(made.folder, made.servers, made.dsn, f"{prefix}.{TABLE}")
        desk.write(documents={TABLE: {"text": "{t}", "metadata": ["price", "since"]}})
        events(stack, desk.topic, 1)
        desk.sql(
            "ALTER TABLE things ALTER price TYPE numeric(9,3), ADD since date DEFAULT '2024-02-29', ADD unused text"
        )
        desk.run()
        (change,) = desk.changes()
        assert change.row == {"id": 1, "t": "a", "price": "1.250", "since": "2024-02-29"}


def test_where_the_topic_tells_nothing_the_store_does(desk: Desk) -> None:
    desk.sql("CREATE TABLE things (id int PRIMARY KEY, t text)", "INSERT INTO things VALUES (1, 'a'), (2, 'b')")
    pipeline = load(desk.folder / "pipeline.yaml")
    (store,) = stores(pipeline).values()
    store.prepare()
    position = Position(f"{16:016x}.{17:016x}")
    store.apply([Plan(f"{TABLE}/7", position)], [np.zeros((0, dimension(pipeline.embedding)), np.float32)])
    store.close()
    printed = desk.run()
    assert "nothing tells a position" not in printed
    assert {(each.key["id"], each.position) for each in desk.changes()} == {(1, position), (2, position)}
    # what was sent is what the next one goes by
    assert "ends without" not in desk.run()


ROWS = 6_000


@pytest.fixture
def many(desk: Desk) -> Desk:
    desk.sql(
        "CREATE TABLE things (a int, b text, t text, PRIMARY KEY (b, a))",
        f"INSERT INTO things SELECT n, 'b' || n % 10, 'text ' || n FROM generate_series(1, {ROWS}) n",  # noqa: S608
        "ANALYZE things",
    )
    return desk


def killed(desk: Desk, end: signal.Signals, at_least: int) -> tuple[dict[str, Any], str]:
    """A backfill that was stopped on its way: its stand, and what it printed."""
    job = desk.start("--rate", "2000")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and job.poll() is None:
        if desk.notes.exists() and json.loads(desk.notes.read_bytes()).get(TABLE, {}).get("rows", 0) >= at_least:
            break
        time.sleep(0.01)
    job.send_signal(end)
    printed, _ = job.communicate(timeout=60)
    assert job.returncode == (130 if end is signal.SIGINT else -signal.SIGKILL), printed
    return json.loads(desk.notes.read_bytes())[TABLE], " ".join(printed.split())


def test_what_was_killed_goes_on_where_it_was(many: Desk) -> None:
    first, _ = killed(many, signal.SIGKILL, 1_000)
    second, printed = killed(many, signal.SIGINT, 3_000)
    b, a = first["key"]
    assert first["columns"] == ["b", "a"]
    assert f"going on after b {b}, a {a}, with {first['rows']:,} rows sent before" in printed
    assert f"stopped at {second['rows']:,} rows of {TABLE}; the same command goes on from there" in printed
    started = time.monotonic()
    printed = many.run()
    assert time.monotonic() - started < 30
    assert f"{ROWS:,} rows of {TABLE} sent to topic {many.topic}" in printed
    sent = [(each.key["b"], each.key["a"]) for each in many.changes()]
    assert set(sent) == {(f"b{n % 10}", n) for n in range(1, ROWS + 1)}
    # at most what was sent and not noted
    assert len(sent) <= ROWS + 2 * 1_000
    assert json.loads(many.notes.read_bytes()) == {}


def test_an_unfinished_one_begins_anew_where_that_is_said_or_the_key_is_another(many: Desk) -> None:
    many.notes.parent.mkdir(parents=True)
    kept = {TABLE: {"columns": ["b", "a"], "key": ["b9", "5999"], "rows": 5_999}, "public.b": {"rows": 1}}
    many.notes.write_text(json.dumps(kept))
    assert "6,000 rows" not in many.run()
    many.notes.write_text(json.dumps({**kept, TABLE: {**kept[TABLE], "columns": ["a"], "key": ["7"]}}))
    printed = many.run(code=2)
    assert f"says how far {TABLE} was sent in the order of a, and its key is b, a: begin anew with --restart" in printed
    assert f"{ROWS:,} rows" in many.run("--restart")
    assert json.loads(many.notes.read_bytes()) == {"public.b": {"rows": 1}}
    many.notes.write_text(json.dumps({TABLE: {"columns": ["b", "a"], "rows": 6_000, "done": True}}))
    assert f"all 6,000 rows of {TABLE} were sent before; --restart begins anew" in many.run()


def test_rows_of_all_tables_and_their_partitions_are_sent(stack: Stack, tmp_path: Path) -> None:
    desk = desk_in(stack, tmp_path)
    prefix = desk.topic.partition(".")[0]
    names = ("things", "ev_2024", "ev_2025")
    ensure_topics(desk.servers, {f"{prefix}.public.{name}": 1 for name in names})
    desk.sql(*(f"CREATE TABLE {name} AS SELECT 1 AS id, '{name}' AS t" for name in names))
    kafka = {"topic-pattern": rf"{prefix}\.public\..*", "properties.bootstrap.servers": desk.servers}
    document = {"text": "{t}", "key": ["id"]}
    tables = {TABLE: document, "public.ev": {**document, "tables": [r"public\.ev_\d+"]}}
    desk.write(source={"kafka": kafka}, documents=tables)
    printed = desk.run()
    for name in names:
        assert f"1 rows of public.{name} sent to topic {prefix}.public.{name}" in printed
        (record,) = consume(desk.servers, f"{prefix}.public.{name}")
        change = decode(Event("t", 0, 0, record.key, record.value), load(desk.folder / "pipeline.yaml").events.debezium)
        assert isinstance(change, Change)
        assert (change.table, change.row) == (TABLE if name == "things" else "public.ev", {"id": 1, "t": name})
    assert "public.ev_2024" in desk.run("public.ev_2024")


DMS = {"documents": {TABLE: {"text": "{t}", "key": ["t"]}}, "format": "dms"}
FOLDER = {
    "source": {"file": {"path": "docs"}}, "format": "files", "documents": {"docs": {"text": "{text}"}},
    "dead_letters": {"kafka": {"topic": "letters", "properties.bootstrap.servers": "127.0.0.1:1"}},
}  # fmt: skip
NO_KEY = "public.things has no primary key, and documents.public.things.key names nothing: name columns"


@pytest.mark.parametrize(
    ("place", "changes", "message"),
    [
        ("", {"reselect": None}, "reselect is missing: a backfill reads the source's tables; add reselect: {postgres"),
        ("", {}, NO_KEY),
        ("", {"table": "public.thing"}, "has no table public.thing that this user sees"),
        (
            "public.thing",
            {},
            "public.thing: the pipeline file names no such table, and the job would leave it out: did",
        ),
        ("", DMS, "format is dms, through source.kafka: a backfill sends rows as Debezium writes them, through Kafka"),
        ("", FOLDER, "source.file: the job tells all files of its folder by itself: there is nothing to backfill"),
    ],
)
def test_what_cannot_be_backfilled_is_refused(desk: Desk, place: str, changes: dict[str, Any], message: str) -> None:
    desk.sql("CREATE TABLE things (t text)")
    desk.write(**changes)
    assert message in desk.run(*([place] if place else []), code=2)


def test_a_topic_that_is_not_there_and_a_right_that_is_missing_are_refused(desk: Desk) -> None:
    desk.sql("CREATE TABLE things (t text PRIMARY KEY)")
    kafka = {"topic": f"no-{desk.topic}", "properties.bootstrap.servers": desk.servers}
    desk.write(source={"kafka": kafka})
    assert f"source.kafka.topic is 'no-{desk.topic}', which isn't there: make it" in desk.run(code=2)
    desk.write(reselect={"postgres": {"dsn": as_user(desk.dsn, "secret", "NOSUPERUSER")}})
    assert "refuses (permission denied for table things)" in desk.run(code=2)


def test_a_pace_is_kept_and_what_was_missed_is_not_made_up_for() -> None:
    slept, now = list[float](), [100.0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(50, clock=lambda: now[0], sleep=sleep)
    assert (pace.at_most(1_000), Pace(None).at_most(1_000)) == (50, 1_000)
    for _ in range(3):
        pace.keep(50)
    assert sum(slept) == pytest.approx(3)
    now[0] += 60
    for _ in range(3):
        pace.keep(50)
    assert sum(slept) == pytest.approx(5)


@pytest.fixture
def long(desk: Desk) -> Iterator[Desk]:
    desk.sql(
        "CREATE TABLE things (id int PRIMARY KEY, t text)",
        "INSERT INTO things SELECT n, repeat(md5(n::text), 100000) FROM generate_series(1, 40) n",
    )
    yield desk
    desk.empty()


def test_long_rows_are_few_in_memory(long: Desk) -> None:
    """40 rows of 3 MB: 128 MB, and more than that in any form that would hold all of them."""
    found: list[int] = []
    job = long.start()
    while job.poll() is None:
        try:
            found.append(psutil.Process(job.pid).memory_info().rss)
        except psutil.Error:
            break
        time.sleep(0.02)
    printed, _ = job.communicate(timeout=60)
    assert job.returncode == 0, printed
    assert max(found) < 300 * 2**20
