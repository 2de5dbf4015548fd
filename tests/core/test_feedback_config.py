"""The part `feedback` of a pipeline file: what it takes, and what it says of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.answers.kpis.ready_made import READY_MADE
from core.config.file import load
from core.errors import ConfigError
from core.stores.fingerprint import Fingerprint, changes

FILE = """
name: feedback
source: {kafka: {topic: t, properties.bootstrap.servers: "127.0.0.1:9092"}}
format: conversations
feedback:
  kpis:
    satisfaction: {to: [postgres]}
    mine:
      sql: SELECT 1
      key: [a]
      to: [postgres]
store: {postgres: {dsn: "postgresql://127.0.0.1/d"}}
dead_letters: {kafka: {topic: letters}}
"""


def read(folder: Path, text: str = FILE) -> Path:
    path = folder / "feedback.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_of_feedback(tmp_path: Path) -> None:
    pipeline = load(read(tmp_path))
    feedback = pipeline.feedback_job.feedback
    assert (pipeline.kind, feedback.late_ms, feedback.watermark_ms) == ("feedback", 3_600_000, 5_000)
    assert feedback.query("satisfaction") == READY_MADE["satisfaction"]
    assert feedback.query("mine").sql == "SELECT 1"
    assert feedback.kpis["mine"].line == f"{tmp_path / 'feedback.yaml'}, line 9"


@pytest.mark.parametrize("name", READY_MADE)
def test_what_comes_with_freshet_is_keyed_by_its_own_columns(name: str) -> None:
    query = READY_MADE[name]
    assert query.key[0] == "window_start"
    assert all(each in query.sql.partition("SELECT")[2] for each in query.key)


WRONG = [
    ("satisfaction:", "happiness:", "happiness has no sql, and none of this name comes with Freshet: cost, latency"),
    ("      key: [a]\n", "", "key is missing"),
    ("      key: [a]\n", "      key: [a, a]\n", "key names a column twice"),
    ("{to: [postgres]}", "{to: [postgres], key: [a]}", "key goes with sql"),
    ("{to: [postgres]}", "{to: [milvus]}", "feedback.kpis.satisfaction.to"),
    ("{to: [postgres]}", "{to: [kafka]}", "store.kafka is missing: KPIs go to it"),
    (
        "store: {postgres:",
        "store: {kafka: {topic: k, properties.bootstrap.servers: b}, postgres:",
        "store.kafka is set",
    ),
    ("  kpis:", "  late: 31 d\n  kpis:", "feedback.late is '31 d': must be 30 d at most"),
    ("  kpis:", "  watermark: 2 d\n  kpis:", "feedback.watermark is '2 d': must be 1 d at most"),
    ("format: conversations", "format: debezium", "format is debezium; feedback is made of conversations"),
    ("postgres: {dsn:", "pgvector: {table: t, dsn:", "store.postgres is missing: KPIs go to it"),
    ("store: {", "store: {milvus: {uri: a, collection: b}, ", "store.milvus is set, and no KPI goes to it"),
    ("dead_letters:", "embedding: {model: hash}\ndead_letters:", "embedding makes vectors, and feedback has none"),
    ("dead_letters:", "reselect: {postgres: {dsn: d}}\ndead_letters:", "conversations are none: leave it out"),
    ("{kafka: {topic: t,", "{kinesis: {stream: t}, kafka: {topic: t,", "names kafka and kinesis"),
    (
        'kafka: {topic: t, properties.bootstrap.servers: "127.0.0.1:9092"}',
        "kinesis: {stream.arn: arn:aws:kinesis:eu-central-1:123456789012:stream/t, connector: flink}",
        "source.kinesis.connector is flink, whose time is not that of arrival",
    ),
    ("feedback:\n", "documents: {a: {text: '{a}'}}\nfeedback:\n", "both documents and feedback are set"),
]


@pytest.mark.parametrize(("text", "wrong", "problem"), WRONG)
def test_what_is_wrong_is_said(text: str, wrong: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load(read(tmp_path, FILE.replace(text, wrong, 1)))
    assert problem in str(refused.value)


VECTORS = [
    ("kafka", "{topic: k, properties.bootstrap.servers: b, precision: float16}", "store.kafka.precision is of vectors"),
    ("opensearch", "{hosts: ['http://a'], index: k, method: {m: 8}}", "store.opensearch.method is of vectors"),
]


@pytest.mark.parametrize(("store", "settings", "problem"), VECTORS)
def test_settings_of_vectors_say_nothing_of_kpis(store: str, settings: str, problem: str, tmp_path: Path) -> None:
    text = FILE.replace("to: [postgres]", f"to: [postgres, {store}]", 1)
    with pytest.raises(ConfigError, match=problem):
        load(read(tmp_path, text.replace("store: {", f"store: {{{store}: {settings}, ")))


def test_a_place_of_kpis_is_no_store_of_vectors(tmp_path: Path) -> None:
    text = FILE.replace("to: [postgres]", "to: [postgres, kafka]", 1)
    more = "store: {kafka: {topic: k, properties.bootstrap.servers: b}, "
    pipeline = load(read(tmp_path, text.replace("store: {", more)))
    assert (pipeline.store.names, pipeline.vector_stores) == (("kafka",), ())


def test_documents_are_made_of_no_conversations(tmp_path: Path) -> None:
    at = FILE.index("feedback:\n"), FILE.index("store:")
    text = FILE[: at[0]] + "documents: {a: {text: '{a}'}}\nstore: {pgvector: {dsn: d, table: t}}\n" + FILE[at[1] :]
    with pytest.raises(ConfigError, match="format is conversations, which feedback alone is made of"):
        load(read(tmp_path, text.replace('store: {postgres: {dsn: "postgresql://127.0.0.1/d"}}\n', "")))


def test_other_queries_cant_go_on_from_what_was_counted(tmp_path: Path) -> None:
    def made(text: str) -> Fingerprint:
        return Fingerprint("m", profiles=load(read(tmp_path, text)).job.rules)

    before = made(FILE)
    assert changes(before, made(FILE.replace("SELECT 1", "'SELECT  1 -- one'").replace(" -- one", ""))) == ()
    (change,) = changes(before, made(FILE.replace("SELECT 1", "SELECT 2")))
    assert str(change) == "feedback.kpis.mine was SELECT 1 BY a, is SELECT 2 BY a"
    assert change.recounts and not change.relinks
