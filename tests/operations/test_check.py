"""`freshet check`: what would produce nothing is named, dead servers once and quickly, and nothing is written."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from rich.console import Console

from connectors.kafka.producer import ensure_topics, produce
from connectors.kafka.source import topics_there
from connectors.kafka.topics import Message
from connectors.opening.dead_letters import place_of_letters
from connectors.opening.stores import prepare, stores_of
from connectors.postgres.faults import named
from core.config.log_identity import LogIdentity
from core.config.pipeline import Pipeline
from core.config.references import references, unmet
from core.documents.unfolding import ObjectState, position
from core.errors import ConfigError, Unavailable
from core.formats.recordings import Record
from core.stores.owning import How
from operations import clocks
from operations.log_record import begin, submitted
from operations.owning import take
from operations.reporting import unheard
from operations.resuming import Beginning
from operations.run import run
from operations.servers import stores
from operations.source_columns import differences, lost_columns, refuse_lacking, seen
from stack.layout import Ports, layout_of, remember_ports
from stack.local import Stack
from terminal.checking import check, check_file
from tests.connectors.test_store_contract import plan
from tests.databases import new_database
from udfs.embedding.embedder import dimension, embedder

NOBODY = "127.0.0.1:1"
TABLE = "public.articles"


@dataclass(frozen=True)
class Place:
    """A database with the table, and a topic with one event of it."""

    dsn: str
    servers: str
    topic: str

    def pipeline(self, asked: bool = True, text: str = "{title} {body}", **changes: Any) -> Pipeline:
        settings: dict[str, Any] = {
            "name": "checked",
            "source": {"kafka": {"topic": self.topic, "properties.bootstrap.servers": self.servers}},
            "format": "debezium",
            "documents": {TABLE: {"text": text, "metadata": ["lang"]}},
            "embedding": {"model": "hash"},
            "store": {"pgvector": {"dsn": self.dsn, "table": "chunks"}},
            "dead_letters": {"kafka": {"topic": f"{self.topic}.letters"}},
        }
        if asked:
            settings["reselect"] = {"postgres": {"dsn": self.dsn}}
        return Pipeline.model_validate({**settings, **changes})


@pytest.fixture(scope="module")
def place(stack: Stack) -> Iterator[Place]:
    name = f"checked_{uuid4().hex[:6]}"
    made = Place(new_database(stack.postgres.dsn, name), stack.kafka.bootstrap_servers, f"{name}.{TABLE}")
    with psycopg.connect(made.dsn) as server:
        server.execute("CREATE TYPE addr AS (street text, nr int)")
        server.execute("CREATE TABLE articles (id int PRIMARY KEY, title text, body text, lang text)")
    ensure_topics(made.servers, {made.topic: 1})
    produce(made.servers, [Record(made.topic, b'{"id": 7}', event())])
    yield made


def event(table: str = "articles", after: Mapping[str, Any] | None = None) -> bytes:
    row = after or {"id": 7, "title": "a", "body": "b", "lang": "de"}
    source = {"connector": "postgresql", "schema": "public", "table": table, "sequence": '["40","50"]'}
    return json.dumps({"op": "c", "before": None, "after": row, "source": source}).encode()


def checked(pipeline: Pipeline, **options: bool) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and each step by its name, of the JSON that the documentation describes."""
    seen = io.StringIO()
    code = check(pipeline, Console(file=seen), as_json=True, **options)
    report = json.loads(seen.getvalue())
    assert report["ok"] is (code == 0) and report.keys() == {"pipeline", "ok", "problems", "steps", "notes"}
    return code, {each["step"]: each for each in report["steps"]}


def test_a_right_one_is_approved_and_nothing_is_written_until_it_is_asked_to(place: Place) -> None:
    for reselect, step in ((True, "reselect.postgres"), (False, "source.kafka")):
        code, steps = checked(place.pipeline(reselect))
        assert code == 0 and "with all that the file names of them" in steps[step]["message"]
        assert steps["store.pgvector"]["message"] == "table chunks isn't there yet: run makes it"
    with psycopg.connect(place.dsn) as server:
        made = server.execute("SELECT relname FROM pg_class WHERE relname LIKE 'chunks%'").fetchall()
        assert made + server.execute("SELECT extname FROM pg_extension WHERE extname = 'vector'").fetchall() == []
    pipeline = place.pipeline()
    assert place_of_letters(pipeline).name not in (topics_there(pipeline.kafka) or ())
    code, steps = checked(pipeline, prepare=True)
    assert (code, steps["store.pgvector"]["message"]) == (0, "table chunks is ready")
    assert place_of_letters(pipeline).name in (topics_there(pipeline.kafka) or ())
    assert checked(pipeline)[1]["store.pgvector"]["message"] == "table chunks is ready"


def test_a_run_that_begins_is_refused_for_what_the_database_lacks(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("operations.run.start", lambda *_: pytest.fail("it was started"))
    for changes, said in (
        ({"documents": {"public.artikels": {"text": "{title}"}}}, "did you mean public.articles?"),
        ({"text": "{titel} {body}"}, "did you mean title?"),
    ):
        with pytest.raises(ConfigError, match="reselect.postgres: .* " + re.escape(said)):
            run(place.pipeline(**changes), unheard, Beginning())
    with pytest.raises(ConfigError, match=r"source\.kafka: documents\..*\.text names titel.*did you mean title"):
        run(place.pipeline(False, text="{titel} {body}"), unheard, Beginning())
    nobody = {"reselect": {"postgres": {"dsn": f"postgresql://u@{NOBODY}/x"}}}
    refuse_lacking(place.pipeline(text="{titel}", **nobody))


def test_a_run_names_all_servers_that_are_away_at_once_and_does_not_wait(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dead, began = "postgresql://u@127.0.0.1:2/x", time.monotonic()
    away = {"kafka": {"topic": place.topic, "properties.bootstrap.servers": NOBODY}}
    stores_away = {"pgvector": {"dsn": dead, "table": "t"}}
    with pytest.raises(Unavailable) as raised:
        run(place.pipeline(source=away, store=stores_away, reselect={"postgres": {"dsn": dead}}), unheard, Beginning())
    assert [line.split(": nobody")[0] for line in str(raised.value).splitlines()] == [
        "source.kafka.properties.bootstrap.servers",
        "reselect.postgres.dsn and store.pgvector.dsn",
    ]
    with pytest.raises(Unavailable) as raised:
        run(place.pipeline(reselect={"postgres": {"dsn": dead}}), unheard, Beginning())
    message = (
        "reselect.postgres.dsn: nobody answers at 127.0.0.1:2 (Connection refused): start it, or correct the address"
    )
    assert str(raised.value) == message
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("reselect", [True, False])
def test_misspelt_columns_and_tables_are_named_with_what_was_meant(place: Place, reselect: bool) -> None:
    step = "reselect.postgres" if reselect else "source.kafka"
    code, steps = checked(place.pipeline(reselect, text="{titel} {body} {extra|}"))
    assert code == 1
    assert "documents.public.articles.text names titel" in steps[step]["message"]
    assert "did you mean title?" in steps[step]["message"] and "extra" not in steps[step]["message"]
    code, steps = checked(place.pipeline(reselect, documents={"public.artikels": {"text": "{title}"}}))
    assert code == 1 and steps[step]["message"].endswith("did you mean public.articles?")


def test_a_store_that_stands_at_a_time_to_come_is_warned_of(place: Place, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text("a")
    pipeline = place.pipeline(
        asked=False,
        name="notes",
        source={"file": {"path": str(tmp_path / "notes")}},
        format="files",
        documents={"notes": {"text": "{text}"}},
        store={"pgvector": {"dsn": place.dsn, "table": "notes"}},
        dead_letters={"kafka": {"topic": "notes.letters", "properties.bootstrap.servers": place.servers}},
    )
    assert clocks.warning(pipeline) == ""
    assert checked(pipeline, prepare=True)[1]["source.file"]["message"].endswith("notes has 1 files")
    month_on = position(ObjectState(time.time_ns() // 1_000_000 + 30 * 86_400_000 + 60_000))
    with psycopg.connect(place.dsn) as server:
        server.execute("INSERT INTO notes_ledger (document_id, position) VALUES ('notes/a.md', %s)", [month_on])
    seen = io.StringIO()
    assert check(pipeline, Console(file=seen, width=1_000)) == 0
    assert "30 days ahead of this machine's clock" in seen.getvalue()


def test_a_table_whose_changes_come_as_another_row_s_or_not_at_all_is_refused(place: Place) -> None:
    with psycopg.connect(place.dsn, autocommit=True) as server:
        server.execute("CREATE TABLE slugs (id int PRIMARY KEY, slug text NOT NULL UNIQUE, called name, attrs addr)")
        server.execute("ALTER TABLE slugs REPLICA IDENTITY USING INDEX slugs_slug_key")
    pipeline = place.pipeline(documents={"public.slugs": {"text": "{slug} {called|} {attrs.street|}"}})
    code, steps = checked(pipeline)
    lines = steps["reselect.postgres"]["message"].splitlines()
    assert code == 1 and [line.split(",")[0] for line in lines] == [
        "documents.public.slugs.text names called of public.slugs",
        "documents.public.slugs.text names attrs of public.slugs",
        "public.slugs has REPLICA IDENTITY USING INDEX",
    ]
    with pytest.raises(ConfigError, match="REPLICA IDENTITY DEFAULT, or FULL"):
        lost_columns(pipeline)  # as a run does
    assert lost_columns(place.pipeline(documents={"public.slugs": {"text": "{slug}"}}, reselect=None)) == []
    with psycopg.connect(place.dsn, autocommit=True) as server:
        server.execute("ALTER TABLE slugs REPLICA IDENTITY DEFAULT")
    assert lost_columns(pipeline) == lines[:2]


def test_a_topic_that_is_not_there_is_named(place: Place) -> None:
    kafka = {"topic": place.topic.replace("articles", "artikles"), "properties.bootstrap.servers": place.servers}
    code, steps = checked(place.pipeline(source={"kafka": kafka}))
    assert code == 1 and steps["source.kafka"]["message"].endswith(f"did you mean {place.topic}?")
    kafka = {"topic-pattern": "nothing\\..*", "properties.bootstrap.servers": place.servers}
    code, steps = checked(place.pipeline(source={"kafka": kafka}))
    assert code == 1 and r"no topic whose whole name matches nothing\..* yet" in steps["source.kafka"]["message"]


def test_dead_servers_are_named_once_each_and_at_once(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    dead = f"postgresql://u:geheim@{NOBODY}/x"
    pipeline = place.pipeline(
        source={"kafka": {"topic": place.topic, "properties.bootstrap.servers": NOBODY}},
        embedding={"model": "m", "openai": {"url": f"http://{NOBODY}/v1"}},
        store={"pgvector": {"dsn": dead, "table": "t"}, "opensearch": {"hosts": [f"http://{NOBODY}"], "index": "i"}},
        reselect={"postgres": {"dsn": dead}},
    )
    began = time.monotonic()
    code, steps = checked(pipeline)
    assert code == 1 and time.monotonic() - began < 5
    whole = [
        name for name, each in steps.items() if "nobody answers at 127.0.0.1:1 (Connection refused)" in each["message"]
    ]
    assert whole == ["source.kafka"] and not any(each["ok"] for each in steps.values())
    assert {each["message"] for name, each in steps.items() if name not in whole} == {
        "not asked: 127.0.0.1:1 doesn't answer, see source.kafka"
    }
    other = place.pipeline(reselect={"postgres": {"dsn": dead}})
    code, steps = checked(other)
    assert code == 1 and [name for name, each in steps.items() if not each["ok"]] == ["reselect.postgres"]
    printed = capfd.readouterr()
    assert printed.err == "" and "geheim" not in json.dumps(steps)


def test_a_state_is_not_asked_for_where_kafka_is_away_and_no_store_where_the_log_is_another(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = {"pgvector": {"dsn": place.dsn, "table": "of_another_log"}}
    pipeline = place.pipeline(name="elsewhere", store=store)
    prepare(stores_of(pipeline), lambda: dimension(pipeline.embedding))
    take(pipeline, unheard, How.REFUSE, True)
    submitted(pipeline, "f" * 32)
    left = tmp_path / ".freshet/pipelines/elsewhere/checkpoints" / ("f" * 32) / "chk-1/_metadata"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"x")
    begin(pipeline, LogIdentity(logs={f"topic {place.topic}": "of before"}))
    submitted(pipeline, "f" * 32)
    with psycopg.connect(place.dsn, autocommit=True) as server:
        server.execute("DROP TABLE of_another_log, of_another_log_ledger")
    code, steps = checked(pipeline)
    assert code == 1 and [name for name, each in steps.items() if not each["ok"]] == ["state"]
    assert "was made anew since chk-1" in steps["state"]["message"]
    assert steps["state"]["message"].splitlines()[-1].split("  ")[1] == "--without-state", "the one way on"
    away = {"kafka": {"topic": place.topic, "properties.bootstrap.servers": NOBODY}}
    _, steps = checked(place.pipeline(name="elsewhere", store=store, source=away))
    assert steps["state"]["message"] == "not asked: 127.0.0.1:1 doesn't answer, see source.kafka"


def test_a_server_of_the_folders_own_stack_is_named_as_that(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    of = layout_of(tmp_path)
    of.folder.mkdir(parents=True)
    remember_ports(of, Ports(postgres=1))
    code, steps = checked(place.pipeline(reselect={"postgres": {"dsn": f"postgresql://u@{NOBODY}/x"}}))
    assert code == 1 and steps["reselect.postgres"]["message"].endswith("this folder's stack: freshet stack up")


def test_a_slip_on_a_pipeline_that_ran_is_reported_alone(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    right = place.pipeline(name="ran", store={"pgvector": {"dsn": place.dsn, "table": "ran"}})
    prepare(stores_of(right), lambda: dimension(right.embedding))
    (store,) = stores(right).values()
    plans = [plan(f"{TABLE}/7", "1", "a b")]
    take(right, unheard, How.REFUSE, True)
    store.apply(plans, [embedder("hash").embed(["a b"])])
    store.close()
    wrong = place.pipeline(name="ran", store=right.store.model_dump(exclude_none=True), text="{titel} {body}")
    code, steps = checked(wrong)
    assert code == 1 and [name for name, each in steps.items() if not each["ok"]] == ["reselect.postgres"]
    checkpoint = tmp_path / ".freshet/pipelines/ran/checkpoints/job/chk-1/_metadata"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"x")
    for _ in range(2):
        with pytest.raises(ConfigError) as raised:
            run(wrong, unheard, Beginning())
        (line,) = str(raised.value).splitlines()
        assert line.startswith("reselect.postgres: ") and line.endswith("did you mean title?"), "the slip alone"
    checkpoint.unlink()
    other = place.pipeline(name="ran", store=right.store.model_dump(exclude_none=True), text="{body}")
    code, steps = checked(other)
    assert code == 1 and "freshet run pipeline.yaml --rebuild  reads all" in steps["store.pgvector"]["message"]


def test_a_refused_login_is_no_server_that_does_not_answer() -> None:
    refused = psycopg.OperationalError('connection failed: FATAL:  password authentication failed for user "u"')
    message = str(named(refused, "reselect.postgres", "db:5432"))
    assert message.startswith("reselect.postgres.dsn: PostgreSQL at db:5432 refuses the login (")
    assert message.endswith("correct user and password")


def test_a_model_that_is_not_there_is_reported_once(place: Place, tmp_path: Path) -> None:
    code, steps = checked(place.pipeline(embedding={"model": str(tmp_path / "all-MiniLM")}))
    assert code == 1 and "there is no such folder" in steps["embedding"]["message"]
    assert steps["store.pgvector"]["message"].endswith("the model alone could say; see embedding")


def test_a_wrong_file_has_its_problems_in_json(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("name: x\n", encoding="utf-8")
    seen = io.StringIO()
    assert check_file(tmp_path / "p.yaml", Console(file=seen), prepare=False, as_json=True) == 2
    report = json.loads(seen.getvalue())
    assert report["pipeline"] is None and not report["ok"]
    assert f"{tmp_path / 'p.yaml'}: source is missing; it is required" in report["problems"]


def message(value: bytes, key: bytes | None = b'{"id": 7}') -> Message:
    return Message("t", 0, 0, 0, key, value, ())


def test_events_tell_columns_of_all_rows_together_and_of_other_formats(place: Place) -> None:
    pipeline = place.pipeline()
    rows = [{"id": 7, "title": "a", "body": "b"}, {"id": 8, "title": "a", "lang": "de"}]
    found = seen(pipeline, [message(event(after=row)) for row in rows] + [message(b"no JSON"), message(event("other"))])
    assert found[TABLE].events == 2 and differences(pipeline, found) == []
    (line,) = differences(pipeline, seen(pipeline, [message(event(after=rows[0]))]))
    assert line.startswith(
        "documents.public.articles.metadata names lang, which public.articles, in its last 1 events,"
    )
    both = place.pipeline(documents={TABLE: {"text": "{title}"}, "public.pagse": {"text": "{title}"}})
    (line,) = differences(both, seen(both, [message(event(after=rows[0])), message(event("pages"))]))
    assert line == "no event of the topic's last is of public.pagse: did you mean public.pages?"
    of_rows = place.pipeline(False, format={"rows": {"table": TABLE}}, text="{titel}")
    assert len(differences(of_rows, seen(of_rows, [message(json.dumps(rows[1]).encode())]))) == 1


def test_parts_alternatives_and_profiles_name_columns_too(place: Place) -> None:
    document = {"text": "{attrs.lang} {old|title}", "metadata": ["a.b.c"], "key": ["nr"]}
    (places,) = references(place.pipeline(documents={TABLE: document})).values()
    assert len(unmet(places, ["attrs", "title", "a.b", "nr"], "t")) == 0
    assert [line.split(" ")[2] for line in unmet(places, ["attrs"], "t")] == ["old", "a.b.c,", "nr,"]
    record = {
        "identifiers": {"email": ["{mail}"]},
        "attributes": {"name": "{first} {last}"},
        "events": {"spent": {"sum": "total"}},
        "time": "at",
    }
    profiles = {"identifiers": [{"type": "email", "limit": 3}], "records": {"public.people": record}}
    store = {"postgres": {"dsn": place.dsn}}
    pipeline = place.pipeline(
        documents={}, profiles=profiles, embedding={"model": "hash", "text": "{name}"}, store=store
    )
    (places,) = references(pipeline).values()
    assert {name for each in places for name in each.names} == {"mail", "first", "last", "total", "at"}
