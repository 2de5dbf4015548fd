"""The plugin's archive for MSK Connect, and the connector's configuration against Debezium's own."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from zipfile import ZipFile

import pytest

from cli.bundle import described
from core.errors import ConfigError, FreshetError
from deploy.msf.archive import packed
from deploy.msk_connect import plugin
from operations.bundle import write_plugin
from operations.reporting import Line
from stack.connect import SETTINGS, _postgres_config
from tests.deploy.cloudformation import TEMPLATES, made, scope


def providers(folder: Path, name: str = plugin.PROVIDER) -> Path:
    path = folder / "msk-config-providers.zip"
    path.write_bytes(packed({"folder/providers.jar": packed({name: b"class"}), "LICENSE": b"text"}))
    return path


PIPELINE = """\
name: articles
source: {kafka: {topic: shop.public.articles, properties.bootstrap.servers: "b:9098"}}
format: debezium
documents: {public.articles: {text: "{title}"}}
embedding: {model: hash}
store: {opensearch: {hosts: ["http://o:9200"], index: articles}}
dead_letters: {kafka: {topic: letters}}
"""


def test_the_plugin_has_debezium_and_the_providers_and_its_hash_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    pipeline, lines, seen = described(tmp_path / "pipeline.yaml"), list[Line](), set[bytes]()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_plugin(pipeline, providers(tmp_path), tmp_path / name, lines.append)
        (file,) = (tmp_path / name).iterdir()
        seen.add(file.read_bytes())
        assert re.fullmatch(TEMPLATES["debezium"]["Parameters"]["Plugin"]["AllowedPattern"], f"plugins/{file.name}")
    (content,) = seen
    digest = hashlib.sha256(content).hexdigest()
    assert digest[:12] in file.name
    names = ZipFile(io.BytesIO(content)).namelist()
    assert "providers/providers.jar" in names
    assert any(name.startswith("debezium/debezium-connector-postgres-") for name in names)
    said = lines[0].head + lines[0].rest
    assert f"sha256 {digest}" in said
    assert hashlib.sha256(providers(tmp_path).read_bytes()).hexdigest() in said


def test_a_pipeline_that_reads_nothing_of_debeziums_has_no_plugin(tmp_path: Path) -> None:
    text = PIPELINE.replace("format: debezium", "format: dms").replace('"{title}"', '"{title}", key: [id]')
    (tmp_path / "pipeline.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="reads no events of Debezium"):
        write_plugin(described(tmp_path / "pipeline.yaml"), providers(tmp_path), tmp_path, lambda line: None)


def test_an_archive_without_the_provider_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FreshetError, match="take the archive with dependencies"):
        plugin.plugin({}, providers(tmp_path, "Another.class"))
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(FreshetError, match=r"text\.zip can't be read as a zip"):
        plugin.plugin({}, tmp_path / "text.zip")


def test_the_connector_is_as_the_local_stacks_but_for_its_server_and_secrets() -> None:
    given = {
        "Plugin": "plugins/debezium-0123456789ab.zip",
        "BootstrapServers": "b-1:9098",
        "Host": "shop.eu-central-1.rds.amazonaws.com",
    }
    exports = {
        f"freshet-foundation-{name}": name
        for name in ("KeyArn", "CodeBucketArn", "CodeBucket", "SubnetA", "SubnetB", "ApplicationGroup")
    }
    exports |= {f"freshet-data-{name}": name for name in ("KafkaArn", "TopicsArn", "GroupsArn")}
    resources = made(scope("freshet-debezium", TEMPLATES["debezium"], given, exports))
    ours = resources["Connector"]["Properties"]["ConnectorConfiguration"]
    local = _postgres_config("freshet", "postgresql://u:p@localhost/shop", "shop", ["public.articles"], 3)
    same = (
        "connector.class",
        "plugin.name",
        "topic.prefix",
        "table.include.list",
        "publication.autocreate.mode",
        "skipped.operations",
        "topic.creation.default.partitions",
    )
    assert {name: ours[name] for name in same} == {name: local[name] for name in same}
    assert ours["database.password"] == "${secretsmanager:freshet-database/owner:password}"
    assert ours["database.sslrootcert"] == "${s3import:eu-central-1:CodeBucket/plugins/rds.pem}"
    assert resources["Debezium"]["Properties"]["Name"] == "freshet-debezium-debezium-0123456789ab"
    worker = resources["Workers"]["Properties"]["PropertiesFileContent"]["Fn::Base64"]
    providing = dict(line.split("=", 1) for line in worker.splitlines())
    # with schemas: else nobody could tell numbers and dates from texts
    converters = {name: value for name, value in SETTINGS.items() if "converter" in name}
    assert len(converters) == 4 and {name: providing[name] for name in converters} == converters
    for name in providing["config.providers"].split(","):
        assert providing[f"config.providers.{name}.class"].startswith("com.amazonaws.kafka.config.providers.")
        assert any(f"${{{name}:" in str(value) for value in ours.values())
    assert providing["config.providers.secretsmanager.class"].replace(".", "/") + ".class" == plugin.PROVIDER
