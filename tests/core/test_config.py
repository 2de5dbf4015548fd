from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.config.dead_letters import DeadLetterObjects, DeadLetterTopic
from core.config.file import load
from core.config.format import FORMATS
from core.config.source import Sqs
from core.errors import ConfigError

GOOD = """
name: articles
source:
  kafka:
    topic: shop.public.articles
    properties.bootstrap.servers: 127.0.0.1:9092
    scan.startup.mode: earliest-offset
    properties.enable.auto.commit: false
format: debezium
documents:
  public.articles:
    text: "{title}\\n\\n{body}"
    metadata: [lang, updated_at]
    chunk: {tokens: 256, overlap: 32}
embedding: {model: all-MiniLM-L6-v2}
store:
  pgvector: {dsn: "postgresql://me:${PASSWORD}@127.0.0.1/db", table: articles}
dead_letters:
  kafka: {topic: articles.dead-letters}
parallelism: 1
"""

MISTAKES = [
    ("name: articles", "name: 'a b'", "name is 'a b'"),
    ("format: debezium", "format: xml", "format is 'xml': must be one of debezium, dynamodb"),
    ("overlap: 32", "overlap: 300", "documents.public.articles.chunk.overlap is 300, must be less than tokens (256)"),
    ("tokens: 256", "tokens: many", "documents.public.articles.chunk.tokens is 'many'"),
    ("public.articles:", "articles:", "documents.articles must be written schema.table"),
    ("{title}", "{title", "documents.public.articles.text is '{title"),
    ("topic: shop", "topic-pattern: x\n    topic: shop", "topic-pattern is 'x': either topic or topic-pattern"),
    ("scan.startup.mode: earliest-offset", "value.format: json", "value.format is set by Freshet"),
    ("parallelism: 1", "parallelism: 0", "parallelism is 0"),
    ("parallelism: 1", "paralelism: 1", "paralelism is no setting"),
    ("parallelism: 1", "flink: {python.execution-mode: process}", "python.execution-mode is set by Freshet"),
    (", table: articles}", "}", "store.pgvector.table is missing"),
]


def write(folder: Path, text: str) -> Path:
    path = folder / "pipeline.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str, environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(write(folder, text), {"PASSWORD": "hunter2"} if environment is None else environment)
    return raised.value.problems


@pytest.mark.parametrize(
    ("right", "wrong", "place"),
    [
        ("parallelism: 1", "flink: {metrics.reporter.push.hostUrl: URL}", "flink.metrics.reporter.push.hostUrl"),
        ("{model: all-MiniLM-L6-v2}", "{openai: {url: URL}}", "embedding.openai.url"),
        ("{model: all-MiniLM-L6-v2}", "URL", "embedding"),
        ("  pgvector:", "  opensearch: {index: a, hosts: [URL]}\n  pgvector:", "store.opensearch.hosts.0"),
        ("  pgvector:", "  opensearch: {index: a, hosts: URL}\n  pgvector:", "store.opensearch.hosts"),
        ("properties.enable.auto.commit: false", "properties.oauth.url: URL", "source.kafka.properties.oauth.url"),
    ],
)
def test_a_url_with_a_user_is_refused_and_not_quoted(tmp_path: Path, right: str, wrong: str, place: str) -> None:
    url = "HTTPS://someone:Geheimnis@search.example:9200/x"
    for written in (url, "${URL}"):
        text = GOOD.replace(right, wrong.replace("URL", f'"{written}"'))
        lines = problems(tmp_path, text, {"PASSWORD": "hunter2", "URL": url})
        assert any(f"{place}: a URL names a user" in line for line in lines), lines
        assert "Geheimnis" not in "".join(lines)


def test_a_text_may_have_an_address_with_a_user(tmp_path: Path) -> None:
    load(write(tmp_path, GOOD.replace("{title}\\n", "http://user@x {title}\\n")), {"PASSWORD": "hunter2"})


def test_a_good_file(tmp_path: Path) -> None:
    pipeline = load(write(tmp_path, GOOD), {"PASSWORD": "hunter2"})
    assert pipeline.store.pgvector.dsn == "postgresql://me:hunter2@127.0.0.1/db"
    assert pipeline.kafka.options == {
        "scan.startup.mode": "earliest-offset",
        "properties.enable.auto.commit": "false",
    }
    assert pipeline.documents["public.articles"].spec("public.articles").metadata == ("lang", "updated_at")


@pytest.mark.parametrize(("right", "wrong", "says"), MISTAKES)
def test_a_mistake_is_placed_quoted_and_explained(tmp_path: Path, right: str, wrong: str, says: str) -> None:
    assert right in GOOD
    found = problems(tmp_path, GOOD.replace(right, wrong, 1))
    assert any(re.match(r".*pipeline\.yaml(, line \d+)?: ", line) and says in line for line in found), found


KINESIS = GOOD.replace(
    GOOD[GOOD.index("  kafka:") : GOOD.index("format:")],
    "  kinesis: {stream: orders, aws.region: eu-west-1, source.init.position: TRIM_HORIZON}\n",
).replace("topic: articles.dead-letters", "topic: letters, properties.bootstrap.servers: 'k:9092'")


def test_a_source_without_kafka_names_the_cluster_of_its_dead_letters(tmp_path: Path) -> None:
    pipeline = load(write(tmp_path, KINESIS), {"PASSWORD": "hunter2"})
    assert pipeline.source.kinesis is not None
    assert pipeline.source.kinesis.region == "eu-west-1"
    assert pipeline.letters.bootstrap_servers == "k:9092"
    with pytest.raises(ConfigError, match=r"needs source\.kafka"):
        _ = pipeline.kafka


def test_the_cluster_of_dead_letters_takes_its_clients_options(tmp_path: Path) -> None:
    text = KINESIS.replace("'k:9092'", "'k:9092', properties.security.protocol: SSL")
    target = load(write(tmp_path, text), {"PASSWORD": "hunter2"}).dead_letters.chosen
    assert isinstance(target, DeadLetterTopic) and target.cluster is not None
    assert target.cluster.options["properties.security.protocol"] == "SSL"


def test_dead_letters_go_to_a_stream_or_a_bucket_without_any_cluster(tmp_path: Path) -> None:
    kafka = KINESIS[KINESIS.index("kafka: {topic: letters") :].partition("\n")[0]
    for place in ("kinesis: {stream: orders-letters, aws.region: eu-west-1}", "s3: {bucket: letters, prefix: a/b/}"):
        pipeline = load(write(tmp_path, KINESIS.replace(kafka, place)), {"PASSWORD": "hunter2"})
        assert pipeline.dead_letters.name == place.partition(":")[0]
        with pytest.raises(ConfigError, match=r"needs source\.kafka"):
            _ = pipeline.letters
    for place, says in (
        ("kinesis: {stream: orders}", "dead_letters.kinesis.stream is orders, which is the source's own"),
        ("s3: {bucket: letters, prefix: a}", "prefix is 'a'"),
        ("s3: {bucket: Letters}", "bucket is 'Letters'"),
        ("s3: {bucket: letters}\n  kinesis: {stream: letters}", "names kinesis and s3"),
    ):
        assert any(says in line for line in problems(tmp_path, KINESIS.replace(kafka, place))), says


def test_a_letter_may_not_be_a_document_and_so_a_letter_again() -> None:
    place = DeadLetterObjects(bucket="handbook")
    source = Sqs(queue_url="http://127.0.0.1:4566/000000000000/handbook")
    assert "whose objects are documents" in place.misfit(source, {"s3.handbook": None})
    assert not place.misfit(source, {"s3.others": None})


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        (", properties.bootstrap.servers: 'k:9092'", "", "dead_letters.kafka.properties.bootstrap.servers is missing"),
        ("TRIM_HORIZON", "AT_TIMESTAMP", "source.init.timestamp is missing"),
        ("  kinesis:", "  kafka: {topic: a, properties.bootstrap.servers: b}\n  kinesis:", "names kafka and kinesis"),
        ("topic: letters", "topic: letters, retries: 3", "retries is no setting"),
        ("stream: orders", "stream: a b", "stream is 'a b'"),
        ("stream: orders", "stream: orders, retries: 3", "retries is no setting of Freshet's own reader"),
        ("stream: orders", "aws.x: 1, connector: flink", "must have stream.arn with connector: flink"),
    ],
)
def test_a_mistake_in_a_source_without_kafka(tmp_path: Path, right: str, wrong: str, says: str) -> None:
    assert right in KINESIS
    found = problems(tmp_path, KINESIS.replace(right, wrong, 1))
    assert any(re.match(r".*pipeline\.yaml(, line \d+)?: ", line) and says in line for line in found), found


SQS = KINESIS.replace(
    "kinesis: {stream: orders, aws.region: eu-west-1, source.init.position: TRIM_HORIZON}",
    "sqs: {queue_url: 'https://sqs.eu-west-1.amazonaws.com/1/pages', aws.region: eu-west-1}",
)
STREAMS = KINESIS.replace(
    "kinesis: {stream: orders, aws.region: eu-west-1, source.init.position: TRIM_HORIZON}", "dynamodb: {table: orders}"
)
FLINKS = KINESIS.replace(
    "stream: orders,", "connector: flink, stream.arn: 'arn:aws:kinesis:eu-west-1:123456789012:stream/orders', aws.x: 1,"
)
FOLDER = KINESIS.replace(
    "kinesis: {stream: orders, aws.region: eu-west-1, source.init.position: TRIM_HORIZON}", "file: {path: notes}"
)


@pytest.mark.parametrize(
    ("text", "format_", "table", "says"),
    [
        (SQS, "s3", "s3.pages", ""),
        (SQS, "debezium", "public.articles", "source.sqs is for format: s3 alone, not debezium"),
        (STREAMS, "debezium", "public.articles", "source.dynamodb is for format: dynamodb alone, not debezium"),
        (SQS, "files", "pages", "source.file and format: files go together"),
        (SQS.replace("'https://sqs", "'sqs"), "s3", "s3.pages", "source.sqs.queue_url is"),
        (FLINKS, "debezium", "public.articles", ""),
        (FLINKS, "{rows: {table: articles, position_field: version}}", "articles", ""),
        (FLINKS, "{rows: {table: articles}}", "articles", "source.kinesis.connector is flink, which doesn't tell how"),
        (FOLDER, "files", "notes", ""),
        (FOLDER, "{files: {key: [id], max_bytes: 1000}}", "notes", ""),
        (FOLDER, "s3", "s3.notes", "source.file and format: files go together"),
        (FOLDER, "{files: {aws.region: x}}", "notes", "aws.region is no setting"),
        (FOLDER.replace("notes}", "notes, every: 1}"), "files", "notes", "every is no setting"),
        (
            FOLDER.replace("documents:", "documents:\n  more: {text: '{text}'}"),
            "files",
            "notes",
            "names more and notes",
        ),
    ],
)
def test_sources_of_objects(tmp_path: Path, text: str, format_: str, table: str, says: str) -> None:
    text = text.replace("format: debezium", f"format: {format_}").replace("public.articles:", f"{table}:")
    if says:
        found = problems(tmp_path, text)
        assert any(says in line for line in found), found
    else:
        pipeline = load(write(tmp_path, text), {"PASSWORD": ""})
        assert pipeline.format.table_of(table.removeprefix("s3.")) == table


@pytest.mark.parametrize(
    ("format_", "table", "says"),
    [
        ("dms", "articles", "pipeline.yaml, line 11: documents.articles must be written schema.table"),
        ("dms", "public.articles", "pipeline.yaml, line 11: documents.public.articles.key is missing"),
        ("s3", "handbook", "pipeline.yaml, line 11: documents.handbook must be written s3.BUCKET"),
        ("rows", "articles", "format.rows: neither table nor table_field is set"),
        ("{rows: {}}", "articles", "format.rows: neither table nor table_field is set"),
        (
            "{s3: {}, dms: {}}",
            "a.b",
            f"format: names dms and s3; it must have one of {', '.join(FORMATS)}",
        ),
    ],
)
def test_a_format_and_its_tables(tmp_path: Path, format_: str, table: str, says: str) -> None:
    text = GOOD.replace("format: debezium", f"format: {format_}").replace("public.articles:", f"{table}:")
    found = problems(tmp_path, text)
    assert any(says in line for line in found), found


@pytest.mark.parametrize(
    ("format_", "table"),
    [("dynamodb", "Articles"), ("{rows: {table: articles}}", "articles"), ("s3", "s3.my.bucket"), ("debezium", "a.b")],
)
def test_a_format_takes_its_tables(tmp_path: Path, format_: str, table: str) -> None:
    text = GOOD.replace("format: debezium", f"format: {format_}").replace("public.articles:", f"{table}:")
    assert list(load(write(tmp_path, text), {"PASSWORD": ""}).documents) == [table]


def test_all_mistakes_come_together(tmp_path: Path) -> None:
    text = GOOD.replace("overlap: 32", "overlap: 300").replace("format: debezium", "format: xml")
    found = problems(tmp_path, text.replace("parallelism: 1", "parallelism: many"), {})
    assert [line.split(": ")[1].split()[0] for line in found] == [
        "store.pgvector.dsn",
        "format",
        "documents.public.articles.chunk.overlap",
        "parallelism",
    ]


def test_secrets_are_never_quoted(tmp_path: Path) -> None:
    text = GOOD.replace("table: articles}", "table: 1}").replace('dsn: "postgresql', 'dsn: ["postgresql')
    text = text.replace('/db"', '/db"]')
    assert "hunter2" not in "\n".join(problems(tmp_path, text))


def test_a_key_that_stands_twice(tmp_path: Path) -> None:
    assert "'name' stands twice" in problems(tmp_path, "name: other\n" + GOOD)[0]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize("text", ["", "- a", "a: [", "\t"])
def test_not_a_mapping(tmp_path: Path, text: str) -> None:
    assert len(problems(tmp_path, text)) == 1
