"""What is reported of each kind of mistake in a pipeline file, word for word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.config.file import load
from core.config.pipeline import Pipeline
from core.config.problems import PATTERNS
from core.errors import ConfigError
from tests.core.test_config import GOOD, KINESIS
from tests.core.test_config_profiles import GOOD as PROFILES

METADATA = "metadata: [lang, updated_at]"
CHUNK = "chunk: {tokens: 256, overlap: 32}"
EMBEDDING = "embedding: {model: all-MiniLM-L6-v2}"
LAST = "parallelism: 1"
PLACE = "documents.public.articles"

OF_DOCUMENTS = [
    # lists
    (METADATA, "metadata: tenant", f"line 13: {PLACE}.metadata is 'tenant': it must be a list, as in [tenant]"),
    (METADATA, "metadata:", f"line 13: {PLACE}.metadata is empty: it must be a list, as in [a, b]"),
    (METADATA, "metadata: {a: b}", f"line 13: {PLACE}.metadata must be a list, as in [a, b], but is names with values"),
    # texts
    (METADATA, "metadata: [a, 2]", f"line 13: {PLACE}.metadata.1 is 2: it must be a text: put it in quotes"),
    ("name: articles", "name: yes", "line 2: name is true: it must be a text: put it in quotes"),
    ("name: articles", "name: 2026-01-31", "line 2: name is '2026-01-31': it must be a text: put it in quotes"),
    ("name: articles", "name:", "line 2: name is empty: it must be a text"),
    ("topic: shop.public.articles", "topic: [a]", "line 5: source.kafka.topic must be a text, but is a list"),
    ('text: "{title}\\n\\n{body}"', "text: ''", f"line 12: {PLACE}.text is empty: it needs a text"),
    ("{body}", "{body", "its braces don't pair; {column} is a column's value, and {{ or }} a brace of the text"),
    ("articles}", f"{'a' * 130}}}", ": it must be a text of 120 characters at most"),
    (
        "name: articles",
        "name: a b",
        "line 2: name is 'a b': it must be up to 100 letters, digits, _, . and -, the first a letter or digit",
    ),
    (
        "table: articles}",
        "table: a.b.c}",
        "line 17: store.pgvector.table is 'a.b.c': it must be table or schema.table, as in public.article_chunks",
    ),
    (
        LAST,
        "delete_retention: 7 days",
        "line 20: delete_retention is '7 days': it must be a number and its unit, s, min, h or d, as in 7 d",
    ),
    # numbers, true and false
    (CHUNK, "chunk: {tokens: 3}", f"line 14: {PLACE}.chunk.tokens is 3: it must be at least 8"),
    (CHUNK, "chunk: {tokens: 1.5}", f"line 14: {PLACE}.chunk.tokens is 1.5: it must be a whole number"),
    (CHUNK, "chunk: {tokens: many}", f"line 14: {PLACE}.chunk.tokens is 'many': it must be a whole number"),
    (CHUNK, "chunk: {tokens: }", f"line 14: {PLACE}.chunk.tokens is empty: it must be a whole number"),
    (CHUNK, "chunk: {headings: maybe}", f"line 14: {PLACE}.chunk.headings is 'maybe': it must be true or false"),
    (LAST, "parallelism: 500", "line 20: parallelism is 500: it must be at most 128"),
    (EMBEDDING, "embedding: {timeout: 0}", "line 15: embedding.timeout is 0: it must be more than 0"),
    (EMBEDDING, "embedding: {timeout: long}", "line 15: embedding.timeout is 'long': it must be a number"),
    # settings below
    (CHUNK, "chunk: 256", f"line 14: {PLACE}.chunk is 256: it must be settings of its own, as in {{tokens: 256}}"),
    (EMBEDDING, "embedding: e5", "line 15: embedding is 'e5': it must be settings of its own, as in {model: e5}"),
    (
        "  kafka:\n    topic: shop",
        "  kafka: 3\n  x:\n    topic: shop",
        "line 4: source.kafka is 3: it must be settings of its own: topic, topic-pattern and "
        "properties.bootstrap.servers",
    ),
    (
        "documents:\n  public.articles:",
        "documents:\n  - public.articles:",
        "line 10: documents must be names with settings of their own each, but is a list",
    ),
    (LAST, "flink: fast", "line 20: flink is 'fast': it must be names with a value each, as in {a: b}"),
    (LAST, "flink: {a.b: [1]}", "line 20: flink.a.b must be a text, a number, true or false, but is a list"),
    (LAST, "flink: {a.b: }", "line 20: flink.a.b is empty: it must be a text, a number, true or false"),
    (
        "format: debezium",
        "format: {rows: {table: a, deletes: []}}",
        "format.rows.deletes is empty: it needs at least 1",
    ),
    # one of several
    (
        "format: debezium",
        "format: {debezium: {decimal.handling.mode: strin}}",
        "line 9: format.debezium.decimal.handling.mode is 'strin': it must be precise, string or double; "
        "did you mean string?",
    ),
    # no setting, and none there
    (CHUNK, "chunk: {token: 3}", f"line 14: {PLACE}.chunk.token is no setting; did you mean tokens?"),
    (CHUNK, "tokens: 3", f"line 14: {PLACE}.tokens is no setting here; did you mean documents.….chunk.tokens?"),
    (
        "articles}",
        "articles, graph: 3}",
        "line 17: store.pgvector.graph is no setting; "
        "there are dsn, aws, table, text_search_config, vector_type and index",
    ),
    (", table: articles}", "}", "line 17: store.pgvector.table is missing; it is required"),
    ("name: articles\n", "", "pipeline.yaml: name is missing; it is required"),
    # what our own rules say has its line too
    ("scan.startup.mode: earliest-offset", "value.format: json", "line 7: source.kafka.value.format is set by Freshet"),
    (
        "scan.startup.mode: earliest-offset",
        "scan.startup.mod: earliest-offset",
        "source.kafka.scan.startup.mod is no option of Flink's connector for Kafka; did you mean scan.startup.mode?",
    ),
    (
        "scan.startup.mode: earliest-offset",
        "group.id: shop",
        "source.kafka.group.id is no option of Flink's connector for Kafka; there are properties.… and scan.startup.",
    ),
    ("overlap: 32", "overlap: 300", f"line 14: {PLACE}.chunk.overlap is 300, must be less than tokens (256)"),
    ("    topic: shop.public.articles\n", "", "line 4: source.kafka.topic-pattern: either topic or topic-pattern must"),
    ("${PASSWORD}", "${NOT_THERE}", "line 17: store.pgvector.dsn uses ${NOT_THERE}, which is not in the environment"),
]
OF_STREAMS = [
    (
        "stream: orders",
        "stream: a b",
        "stream is 'a b': it must be a stream's name: up to 128 letters, digits, _, . and -",
    ),
    (
        "TRIM_HORIZON",
        "AT_TIMESTAMP, source.init.timestamp: yesterday",
        "source.init.timestamp is 'yesterday': it must be a time with its offset, as in 2026-01-31T12:00:00Z",
    ),
    (
        "TRIM_HORIZON",
        "AT_TIMESTAMP, source.init.timestamp: '2026-01-31T12:00:00'",
        ": it must be a time with its offset, as in 2026-01-31T12:00:00Z",
    ),
    (
        "TRIM_HORIZON",
        "TRIM_HORIZONT",
        "it must be LATEST, TRIM_HORIZON or AT_TIMESTAMP; did you mean TRIM_HORIZON?",
    ),
]
OF_PROFILES = [
    (
        "- {type: customer_id, limit: 1}",
        "- customer_id",
        "line 10: profiles.identifiers.0 is 'customer_id': it must be settings of its own, as in {type: customer_id}",
    ),
    ("- {type: customer_id, limit: 1}", "- {type: customer_id}", "line 10: profiles.identifiers.0.limit is missing"),
    (
        "city: latest",
        "city: latst",
        "line 26: profiles.survivorship.city is 'latst': it must be latest, most_trusted, most_frequent or union; "
        "did you mean latest?",
    ),
    ("  records:\n", "  records: {}\n  x:\n", "line 16: profiles.records is empty: it needs at least 1"),
]
NO_YAML = [
    ("", "pipeline.yaml: the file is empty; docs/pipeline-file.md has a whole one"),
    ("# nothing yet\n", "pipeline.yaml: the file is empty; docs/pipeline-file.md has a whole one"),
    ("- a", "pipeline.yaml: the file holds a list; it must hold settings: name, source, format and so on"),
    ("s3cret", "pipeline.yaml: the file holds one value; it must hold settings: name, source, format and so on"),
    ("a:\n\tb: c", "line 2: this is no YAML: a tab stands here; indent with spaces"),
    ("a: b: c", "line 1: this is no YAML: a colon stands where none may; look at the indentation, or put"),
    ("a: {b: ${X}}", "line 1: this is no YAML: a text with ${…} must stand in quotes between braces or brackets"),
    ("a: @b", "line 1: this is no YAML: a text that begins with such a sign must stand in quotes"),
    ("a:\n  b: 1\n c: 2", "line 3: this is no YAML: the indentation doesn't fit the lines above"),
    ("a: [1, 2", "line 1: this is no YAML: a bracket or brace is never closed"),
    ("a: 'x\nb: 1\n", "line 3: this is no YAML: a quote is never closed"),
    ("name: a\nname: b", "line 2: 'name' stands twice"),
    ("name: a\nflink: &a {k: *a}", "line 2: this is no YAML: an alias names what it is a part of"),
    ("name: a\nflink: &a {k: [1, {l: *a}]}", "line 2: this is no YAML: an alias names what it is a part of"),
    (
        "a0: &a0 [x, x]\n" + "".join(f"a{at}: &a{at} [*a{at - 1}, *a{at - 1}]\n" for at in range(1, 99)),
        "line 15: this is no YAML: it has more than 100,000 values, with those that aliases name",
    ),
    ("a: " + "[" * 20_000 + "]" * 20_000, "pipeline.yaml: this is no YAML: its values are nested too deep"),
    ("name: 2026-99-01", "pipeline.yaml: this is no YAML: a value is none of its kind: month must be in 1..12"),
    ("name: !!timestamp now", "pipeline.yaml: this is no YAML: a value is none of its kind: "),
]


def reported(folder: Path, text: str) -> list[str]:
    path = folder / "pipeline.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load(path, {"PASSWORD": "hunter2"})
    assert all(line.startswith(str(path)) for line in raised.value.problems)
    return raised.value.problems


@pytest.mark.parametrize(
    ("good", "right", "wrong", "says"),
    [
        *((GOOD, *case) for case in OF_DOCUMENTS),
        *((KINESIS, *case) for case in OF_STREAMS),
        *((PROFILES, *case) for case in OF_PROFILES),
    ],
)
def test_each_kind_of_mistake_is_a_plain_sentence(tmp_path: Path, good: str, right: str, wrong: str, says: str) -> None:
    assert right in good
    found = reported(tmp_path, good.replace(right, wrong, 1))
    assert any(says in line for line in found), found
    assert not any("nput should" in line or "valid" in line for line in found), found


@pytest.mark.parametrize(("text", "says"), NO_YAML)
def test_a_text_that_is_no_mapping_in_yaml(tmp_path: Path, text: str, says: str) -> None:
    (found,) = reported(tmp_path, text)
    assert says in found and "s3cret" not in found


def test_a_folder_and_another_encoding(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder, must be a file"):
        load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("name: Müller".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml: is not written in UTF-8: byte 0xfc at place 7; save it so"):
        load(tmp_path / "latin.yaml")


def test_a_mistake_is_reported_once_where_a_value_may_be_of_several_types(tmp_path: Path) -> None:
    assert len(reported(tmp_path, GOOD.replace(LAST, "flink: {a.b: [1]}"))) == 1
    assert len(reported(tmp_path, GOOD.replace("topic: shop.public.articles", "topic: [a]"))) == 1


def test_what_may_be_a_secret_is_not_quoted(tmp_path: Path) -> None:
    text = GOOD.replace('{dsn: "postgresql://me:${PASSWORD}@127.0.0.1/db"', "{dsn: [hunter2]")
    assert "hunter2" not in "\n".join(reported(tmp_path, text))
    text = GOOD.replace(EMBEDDING, "embedding: {openai: {url: 'http://x/v1', api_key: 12345}}")
    (found,) = reported(tmp_path, text)
    assert "12345" not in found and "embedding.openai.api_key is (not shown): it must be a text" in found


def test_a_setting_of_a_property_has_no_line_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(GOOD, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"pipeline\.yaml: parallelism is 'many': it must be a whole number"):
        load(path, {"PASSWORD": "x"}, {"parallelism": "many"})


def test_every_pattern_has_its_words() -> None:
    patterns: set[str] = set()

    def walk(node: object) -> None:
        if isinstance(node, dict):
            patterns.update([node["pattern"]] if isinstance(node.get("pattern"), str) else [])
            for inner in node.values():
                walk(inner)
        elif isinstance(node, list):
            for inner in node:
                walk(inner)

    walk(json.loads(json.dumps(Pipeline.model_json_schema())))
    assert patterns and patterns - set(PATTERNS) == set()
