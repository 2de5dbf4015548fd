"""Secrets of a real server that plays AWS (moto)."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, replace

import boto3
import pytest

from connectors.aws.client import Aws
from connectors.aws.secrets import SecretsManager
from core.errors import ConfigError, Unavailable


@dataclass(frozen=True)
class Kept:
    """A secret, and what it is a secret of."""

    aws: Aws
    name: str
    arn: str


def kept(aws: Aws, **content: object) -> Kept:
    name = f"shop/{uuid.uuid4().hex[:8]}"
    client = boto3.client("secretsmanager", region_name=aws.region, endpoint_url=aws.endpoint)
    return Kept(aws, name, client.create_secret(Name=name, **content)["ARN"])


def test_a_secret_is_read_by_name_and_by_arn_whole_and_by_key(aws: Aws) -> None:
    text = json.dumps({"user": "app", "password": "p4ss", "port": 5432})
    secret = kept(aws, SecretString=text)
    manager = SecretsManager(aws)
    assert manager.value(secret.name, None) == text
    assert manager.value(secret.name, "password") == "p4ss"
    assert manager.value(secret.name, "port") == "5432"
    # an ARN says its region itself
    assert SecretsManager(replace(aws, region="us-west-2")).value(secret.arn, "user") == "app"


def test_a_secret_is_asked_for_each_time(aws: Aws) -> None:
    secret = kept(aws, SecretString="one")
    manager = SecretsManager(aws)
    assert manager.value(secret.name, None) == "one"
    client = boto3.client("secretsmanager", region_name=aws.region, endpoint_url=aws.endpoint)
    client.put_secret_value(SecretId=secret.name, SecretString="two")
    assert manager.value(secret.name, None) == "two"


def test_what_is_wrong_is_named_without_the_secret(aws: Aws) -> None:
    manager = SecretsManager(aws)
    with pytest.raises(ConfigError, match=r"secret shop/none: ResourceNotFoundException"):
        manager.value("shop/none", None)
    secret = kept(aws, SecretString='{"password": "p4ss"}')
    with pytest.raises(ConfigError, match="has no key passwrd; it has password") as raised:
        manager.value(secret.name, "passwrd")
    assert "p4ss" not in str(raised.value)
    plain = kept(aws, SecretString="p4ss")
    with pytest.raises(ConfigError, match="is no JSON object, so it has no key password") as raised:
        manager.value(plain.name, "password")
    assert "p4ss" not in str(raised.value)
    with pytest.raises(ConfigError, match="is binary"):
        manager.value(kept(aws, SecretBinary=b"\x00").name, None)


def test_a_server_that_is_away_is_unavailable(aws: Aws) -> None:
    with pytest.raises(Unavailable, match="Secrets Manager doesn't answer"):
        SecretsManager(Aws(aws.region, "http://127.0.0.1:9")).value("shop", None)
