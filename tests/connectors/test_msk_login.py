"""Login to MSK by IAM: librdkafka asks for tokens, and they are what MSK reads. No broker of MSK's is reached."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from connectors.kafka import clients as kafka_clients
from connectors.kafka import msk, source
from core.config.source import Kafka
from core.errors import ConfigError

SERVERS = "b-1.shop.c1.kafka.eu-central-1.amazonaws.com:9098"
IAM = {
    "topic": "t",
    "properties.bootstrap.servers": SERVERS,
    "properties.security.protocol": "SASL_SSL",
    "properties.sasl.mechanism": "AWS_MSK_IAM",
    "properties.sasl.jaas.config": "software.amazon.msk.auth.iam.IAMLoginModule required;",
}


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "Geheimnis")
    for name in ("AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def test_a_token_is_a_signed_url_for_the_clusters_region() -> None:
    text, ends = source.login(Kafka.model_validate(IAM))["oauth_cb"]("")
    url = urlsplit(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode())
    query = parse_qs(url.query)
    assert url.netloc == "kafka.eu-central-1.amazonaws.com"
    assert query["Action"] == ["kafka-cluster:Connect"]
    assert query["X-Amz-Credential"][0].startswith("AKIDEXAMPLE/")
    assert "eu-central-1/kafka-cluster/aws4_request" in query["X-Amz-Credential"][0]
    assert "Geheimnis" not in url.query
    assert 0 < ends - time.time() <= 900


@pytest.mark.parametrize("make", [kafka_clients.producer, kafka_clients.consumer, kafka_clients.admin])
def test_a_client_asks_for_a_token_before_anyone_polls_it(make: Callable[..., Any]) -> None:
    asked: list[float] = []
    options = source.login(Kafka.model_validate(IAM))
    told = options["oauth_cb"]

    def token(config: str) -> Any:
        asked.append(time.monotonic())
        return told(config)

    group = {"group.id": "g"} if make is kafka_clients.consumer else {}
    client = make({**options, **group, "bootstrap.servers": "127.0.0.1:1", "oauth_cb": token, **source.SILENT})
    deadline = time.monotonic() + 20
    while not asked and time.monotonic() < deadline:
        time.sleep(0.01)
    assert asked
    del client


@pytest.mark.parametrize(
    ("servers", "region"),
    [
        (SERVERS, "eu-central-1"),
        ("boot-abc.c1.kafka-serverless.us-gov-west-1.amazonaws.com:9098", "us-gov-west-1"),
        ("vpce-1.internal:9098", "eu-north-1"),
    ],
)
def test_the_region_is_the_brokers_else_the_environments(
    servers: str, region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    assert msk.region(servers) == region


def test_a_cluster_of_no_known_region_is_named() -> None:
    with pytest.raises(ConfigError, match=r"vpce-1\.internal:9098 names no region, .*: set AWS_REGION"):
        source.client_options(Kafka.model_validate({**IAM, "properties.bootstrap.servers": "vpce-1.internal:9098"}))


def test_without_the_signer_the_login_is_one_of_java_clients_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msk, "is_here", lambda: False)
    assert source.client_options(Kafka.model_validate(IAM)) is None
    with pytest.raises(ConfigError, match=r"for AWS_MSK_IAM install freshet\[aws\]"):
        source.login(Kafka.model_validate(IAM))
