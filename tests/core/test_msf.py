from pathlib import Path

import pytest
import yaml

from core.config.file import load
from core.config.msf import TAKEN, overridden, refused, taken
from core.errors import ConfigError
from flink_jobs.engine.environment import local_options, service_options

FILE = {
    "name": "articles",
    "source": {"kafka": {"topic": "shop.public.articles", "properties.bootstrap.servers": "laptop:9092"}},
    "format": "debezium",
    "documents": {
        "public.articles": {"text": "{body}", "chunk": {"tokens": 256}},
        "public.articles_old": {"text": "{body}"},
    },
    "embedding": {"model": "hash"},
    "store": {"pgvector": {"dsn": "postgresql://laptop/shop", "table": "articles"}},
    "dead_letters": {"kafka": {"topic": "dead"}},
}


def written(tmp_path: Path, **changes: object) -> Path:
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump({**FILE, **changes}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [
        ("name", "other", ("name",)),
        ("source.kafka.topic", "t", ("source", "kafka", "topic")),
        (
            "source.kafka.properties.bootstrap.servers",
            "msk:9098",
            ("source", "kafka", "properties.bootstrap.servers"),
        ),
        ("source.kafka.properties.security.protocol", "SASL_SSL", ("source", "kafka", "properties.security.protocol")),
        ("documents.public.articles.chunk.tokens", "64", ("documents", "public.articles", "chunk", "tokens")),
        ("documents.public.articles_old.text", "{title}", ("documents", "public.articles_old", "text")),
        ('documents."public.posts".text', "{body}", ("documents", "public.posts", "text")),
        ("store.opensearch.aws.region", "eu-central-1", ("store", "opensearch", "aws", "region")),
        ("format.debezium.unavailable_value", "?", ("format", "debezium", "unavailable_value")),
        ("format.debezium.time.precision.mode", "connect", ("format", "debezium", "time.precision.mode")),
        ("flink.table.exec.state.ttl", "1 d", ("flink", "table.exec.state.ttl")),
    ],
)
def test_a_property_stands_in_place_of_a_setting_whatever_dots_its_name_has(
    name: str, value: str, place: tuple[str, ...]
) -> None:
    changed: object = overridden(FILE, {name: value})
    for key in place:
        assert isinstance(changed, dict)
        changed = changed[key]
    assert changed == value


def test_the_rest_of_the_file_stays_and_so_does_the_file() -> None:
    before = yaml.safe_dump(FILE)
    changed = overridden(FILE, {"documents.public.articles.chunk.tokens": "64"})
    assert yaml.safe_dump(FILE) == before
    changed["documents"]["public.articles"]["chunk"]["tokens"] = 256
    assert changed == FILE


def test_lists_are_json_and_templates_in_brackets_are_text() -> None:
    properties = {
        "documents.public.articles.metadata": '["author", "lang"]',
        "documents.public.articles.text": "[{title}] {body}",
    }
    articles = overridden(FILE, properties)["documents"]["public.articles"]
    assert articles["metadata"] == ["author", "lang"]
    assert articles["text"] == "[{title}] {body}"


def test_a_table_that_is_not_there_is_a_mistake_that_names_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"documents\.public\.posts\.text.*public\.articles_old.*double quotes"):
        overridden(FILE, {"documents.public.posts.text": "{body}"})


def test_an_overridden_file_is_checked_as_a_file_is(tmp_path: Path) -> None:
    path = written(tmp_path)
    properties = {"documents.public.articles.chunk.tokens": "64", "parallelism": "4"}
    pipeline = load(path, {}, properties)
    assert (pipeline.documents["public.articles"].chunk.tokens, pipeline.parallelism) == (64, 4)
    with pytest.raises(ConfigError, match=r"documents\.public\.articles\.chunk\.tokens is '1'"):
        load(path, {}, {"documents.public.articles.chunk.tokens": "1"})
    with pytest.raises(ConfigError, match="shop is no setting"):
        load(path, {}, {"shop.name": "x"})


def test_secrets_stand_where_they_are_referred_to_and_in_no_message(tmp_path: Path) -> None:
    asked = []

    def tell(name: str, key: str | None) -> str:
        asked.append((name, key))
        return "pa${HOME}ss"

    arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop-AbCdEf"
    dsn = (
        "postgresql://u:${secretsmanager:shop:password}@db/${secretsmanager:" + arn + "}${secretsmanager:" + arn + ":k}"
    )
    store = {"pgvector": {"dsn": dsn, "table": "articles"}}
    pipeline = load(written(tmp_path, store=store), {}, {}, tell)
    assert pipeline.store.pgvector is not None
    # a secret's text is taken as it is, also where it looks like a variable
    assert pipeline.store.pgvector.dsn == "postgresql://u:pa${HOME}ss@db/pa${HOME}sspa${HOME}ss"
    assert asked == [("shop", "password"), (arn, None), (arn, "k")]
    with pytest.raises(ConfigError) as raised:
        load(written(tmp_path, store=store, parallelism="${secretsmanager:shop:password}"), {}, {}, tell)
    assert "pa${HOME}ss" not in str(raised.value)
    with pytest.raises(ConfigError, match=r"store\.pgvector\.dsn: secret shop can't be asked for here"):
        load(written(tmp_path, store=store), {})


def test_a_file_holds_a_secret_for_whatever_command_reads_the_pipeline(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    store = {"pgvector": {"dsn": f"postgresql://u:${{file:{secret}}}@db/x", "table": "articles"}}

    def dsn_of(written_there: bytes) -> str:
        secret.write_bytes(written_there)
        pipeline = load(written(tmp_path, store=store), {})
        assert pipeline.store.pgvector is not None
        return pipeline.store.pgvector.dsn

    # what editors and commands leave at the end is none of it, and its text is taken as it is
    for there in (b"pa${HOME}ss", b"pa${HOME}ss\n", b"pa${HOME}ss\r\n"):
        assert dsn_of(there) == "postgresql://u:pa${HOME}ss@db/x"
    assert dsn_of(b" pass \n\n") == "postgresql://u: pass \n@db/x"


def test_a_file_that_can_not_be_read_is_named_and_what_it_holds_is_not(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    store = {"pgvector": {"dsn": f"${{file:{secret}}}", "table": "articles"}}

    def problem() -> str:
        with pytest.raises(ConfigError) as raised:
            load(written(tmp_path, store=store), {})
        return str(raised.value)

    assert f"store.pgvector.dsn: there is no file {secret}" in problem()
    secret.write_bytes(b"hunter2\xff")
    assert "is not written in UTF-8" in (line := problem()) and "hunter2" not in line
    secret.write_bytes(b"x" * 70_000)
    assert "has more than 65,536 bytes, which is no secret" in problem()
    secret.unlink()
    secret.mkdir()
    assert "can't be read: Is a directory" in problem()


def test_the_job_sets_on_the_service_what_that_takes_and_nothing_else(tmp_path: Path) -> None:
    flink = {
        "execution.checkpointing.interval": "10 s",
        "table.exec.state.ttl": "1 d",
        "pipeline.jars": "file:///a.jar",
    }
    pipeline = load(written(tmp_path, flink=flink), {})
    options = service_options(pipeline)
    assert set(options) <= TAKEN
    assert options["table.exec.state.ttl"] == "1 d"
    assert options["python.execution-mode"] == "thread"
    assert "pipeline.jars" not in options
    # what a local run has beside it is refused there, so this would be seen
    local = local_options(pipeline, tmp_path, [], None)
    assert {name for name in local if not taken(name)} > {"python.fn-execution.bundle.time", "parallelism.default"}


def test_each_refused_option_has_a_way_out() -> None:
    remedies = refused(
        {
            "execution.checkpointing.interval": "10 s",
            "python.fn-execution.bundle.time": "5",
            "pipeline.name": "x",
            "table.local-time-zone": "UTC",
            "state.backend.type": "rocksdb",
        }
    )
    assert remedies.keys() == {
        "execution.checkpointing.interval",
        "python.fn-execution.bundle.time",
        "state.backend.type",
    }
    assert "CheckpointConfiguration" in remedies["execution.checkpointing.interval"]
