"""The plugin's archive for MSK Connect, and the connector's configuration against Debezium's own."""

from __future__ import annotations

import io
import re
from pathlib import Path
from zipfile import ZipFile

import pytest

from core.errors import FreshetError
from deploy.msf.archive import packed
from deploy.msk_connect import plugin
from stack.connect import _postgres_config
from tests.deploy.cloudformation import TEMPLATES, made, scope


def providers(folder: Path, name: str = plugin.PROVIDER) -> Path:
    path = folder / "msk-config-providers.zip"
    path.write_bytes(packed({"folder/providers.jar": packed({name: b"class"}), "LICENSE": b"text"}))
    return path


def test_the_archive_has_debezium_and_the_providers_and_its_hash_in_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin.main(providers(tmp_path), tmp_path)
    (made_,) = tmp_path.glob("debezium-*.zip")
    before = made_.read_bytes()
    names = ZipFile(io.BytesIO(before)).namelist()
    assert "providers/providers.jar" in names
    assert any(name.startswith("debezium/debezium-connector-postgres-") for name in names)
    assert re.fullmatch(TEMPLATES["debezium"]["Parameters"]["Plugin"]["AllowedPattern"], f"plugins/{made_.name}")
    digest = capsys.readouterr().out.split()[-1]
    assert digest[:12] in made_.name
    plugin.main(providers(tmp_path), tmp_path)
    assert [each.read_bytes() for each in tmp_path.glob("debezium-*.zip")] == [before]


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
    for name in providing["config.providers"].split(","):
        assert providing[f"config.providers.{name}.class"].startswith("com.amazonaws.kafka.config.providers.")
        assert any(f"${{{name}:" in str(value) for value in ours.values())
    assert providing["config.providers.secretsmanager.class"].replace(".", "/") + ".class" == plugin.PROVIDER
