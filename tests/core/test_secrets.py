"""What refers to secrets stays beside what they meant, and is read again, not too often."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import yaml

from core.config.file import load
from core.config.pipeline import Pipeline
from core.config.secrets import READ_EVERY_S, Reference, Rotation, nobody_tells, refers, resolved
from core.errors import ConfigError

FILE = {
    "name": "articles",
    "source": {"kinesis": {"stream": "articles"}},
    "format": "dynamodb",
    "documents": {"articles": {"text": "{title}"}},
    "embedding": {"model": "m", "openai": {"url": "http://127.0.0.1/v1", "api_key": "${secretsmanager:key}"}},
    "store": {
        "pgvector": {"dsn": "postgresql://${WHO}:${secretsmanager:db:password}@db/x", "table": "chunks"},
        "opensearch": {"hosts": ["https://search"], "index": "a", "user": "u", "password": "p"},
    },
    "dead_letters": {"kinesis": {"stream": "letters"}},
}


def told(name: str, key: str | None) -> str:
    return f"{name}-{key}"


def read(folder: Path) -> Pipeline:
    path = folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump(FILE), encoding="utf-8")
    return load(path, {"WHO": "app"}, {}, told)


def test_settings_remember_what_they_refer_to_wherever_they_are_taken(tmp_path: Path) -> None:
    pipeline = read(tmp_path)
    dsn = Reference("postgresql://app:${secretsmanager:db:password}@db/x", told)
    for each in (pipeline, pickle.loads(pickle.dumps(pipeline)), copy.deepcopy(pipeline)):
        pgvector, opensearch = each.store.pgvector, each.store.opensearch
        assert pgvector.dsn == "postgresql://app:db-password@db/x"
        assert pgvector.references("dsn", "table") == {"dsn": dsn}
        assert pgvector.model_copy(update={"table": "other"}).references("dsn") == {"dsn": dsn}
        assert each.embedding.openai.references("api_key")["api_key"].text == "${secretsmanager:key}"
        assert opensearch.references("user", "password") == {}
    assert pipeline == read(tmp_path)
    assert "secretsmanager" not in repr(pipeline)


def test_a_secret_is_read_again_after_some_seconds_and_not_before() -> None:
    values = iter(["second", "third"])
    rotation = Rotation({"password": Reference("x${secretsmanager:db}y", lambda name, key: next(values))})
    assert rotation.read(100.0) == {"password": "xsecondy"}
    assert rotation.read(100.0 + READ_EVERY_S - 0.1) == {}
    assert rotation.read(100.0 + READ_EVERY_S) == {"password": "xthirdy"}


def test_nothing_is_read_where_nothing_refers_to_a_secret() -> None:
    assert Rotation({}).read(0.0) == {}
    assert not refers("${HOME} and $PASSWORD")
    assert resolved("${HOME}", nobody_tells) == "${HOME}"
    with pytest.raises(ConfigError, match="secret db can't be asked for here"):
        Rotation({"password": Reference("${secretsmanager:db}", nobody_tells)}).read(0.0)
