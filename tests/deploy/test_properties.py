"""What application.yaml puts in place of the pipeline file's settings: what its parameters name, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from connectors.pgvector.store import PgvectorStore
from connectors.postgres.login import login_of
from core.config.file import load
from core.config.pipeline import Pipeline
from deploy.msf.bundle import RUN_OPTIONS
from tests.deploy.cloudformation import ACCOUNT, REGION, TEMPLATES, made, outputs, placed, scope

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:Password-AbCdEf"
AURORA = "freshet.cluster-abc.eu-central-1.rds.amazonaws.com"
VERIFIED = "?sslmode=verify-full&sslrootcert=rds"
BROKERS = "b-1.shop.c1.kafka.eu-central-1.amazonaws.com:9098"
EXPORTS = {
    "freshet-foundation-StreamsEndpoint": "https://vpce-1.streams.dynamodb.eu-central-1.vpce.amazonaws.com",
    "freshet-data-Stream": "freshet-data-Stream",
    "freshet-data-DeadLetters": "articles.dead-letters",
    "freshet-letters-Stream": "freshet-letters-Stream",
    "freshet-letters-Bucket": "freshet-letters-bucket",
    "freshet-letters-Prefix": "letters/",
    "freshet-data-AuroraDsn": f"postgresql://freshet:${{secretsmanager:{ARN}:password}}@{AURORA}:5432/freshet{VERIFIED}",
    "freshet-data-OpenSearchHost": "vpc-freshet-abc.eu-central-1.es.amazonaws.com",
    "freshet-profiles-Table": "freshet-profiles-Table",
    "freshet-s3-Queue": "https://sqs.eu-central-1.amazonaws.com/123456789012/freshet-changes",
    "freshet-model-Endpoint": "freshet-model",
    **{
        f"freshet-foundation-{name}": name
        for name in (
            "ApplicationName", "RoleArn", "CodeBucketArn", "KeyArn", "SubnetA", "SubnetB", "ApplicationGroup",
            "LogStreamArn",
        )
    },
}  # fmt: skip

SOURCES: Mapping[str, tuple[dict[str, Any], Any, str]] = {
    "msk": ({"kafka": {"topic": "t", "properties.bootstrap.servers": "here:9092"}}, "debezium", "public.articles"),
    "kinesis": ({"kinesis": {"stream": "here"}}, "dms", "public.articles"),
    "dynamodb": ({"dynamodb": {"table": "articles"}}, "dynamodb", "articles"),
    "sqs": ({"sqs": {"queue_url": "http://localhost:1/000000000000/q"}}, {"s3": {}}, "s3.files"),
}
"""By the names of the parameter `Source`: a file's source, its format, and a table's name."""
MODELS: Mapping[str, dict[str, Any]] = {
    "sagemaker": {"model": "m", "sagemaker": {"endpoint": "here"}},
    "bedrock": {"model": "amazon.titan-embed-text-v2:0", "bedrock": {}},
    "openai": {"model": "m", "openai": {"url": "https://api.openai.com/v1"}},
    "tei": {"model": "m", "tei": {"url": "http://tei.internal:8080"}},
    "hash": {"model": "hash"},
}
STORES: Mapping[str, dict[str, Any]] = {
    "aurora": {"pgvector": {"dsn": "postgresql://localhost/here", "table": "articles"}},
    "opensearch": {"opensearch": {"hosts": ["http://localhost:9200"], "index": "articles", "aws": {"region": "here"}}},
}
PROFILES = {
    "aurora": {"postgres": {"dsn": "postgresql://localhost/here"}},
    "dynamodb": {"dynamodb": {"table": "here"}},
}


def groups(**given: str) -> dict[str, dict[str, str]]:
    """The application's groups of properties, with these parameters."""
    stack = scope("freshet-application", TEMPLATES["application"], {"Bundle": "bundles/a.zip", **given}, EXPORTS)
    properties = made(stack)["Application"]["Properties"]["ApplicationConfiguration"]["EnvironmentProperties"]
    found = {each["PropertyGroupId"]: each["PropertyMap"] for each in properties["PropertyGroups"]}
    assert found.pop("kinesis.analytics.flink.run.options") == RUN_OPTIONS
    # CreateApplication takes no group without properties, none of more than 50, and no text longer than 2,048
    assert all(0 < len(group) <= 50 for group in found.values())
    assert all(len(text) <= 2_048 for group in found.values() for text in group.values())
    return found


def file(folder: Path, source: str, model: str, store: str) -> Path:
    settings, format_, table = SOURCES[source]
    whole = {
        "name": "articles",
        "source": settings,
        "format": format_,
        "documents": {table: {"text": "{title}", "key": ["id"]} if source != "sqs" else {"text": "{text}"}},
        "embedding": MODELS[model],
        "store": STORES[store],
        "dead_letters": {"kafka": {"topic": "letters", "properties.bootstrap.servers": "here:9092"}},
    }
    path = folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump(whole), encoding="utf-8")
    return path


LETTERS: Mapping[str, dict[str, Any]] = {
    "msk": {"kafka": {"topic": "letters", "properties.bootstrap.servers": "here:9092"}},
    "kinesis": {"kinesis": {"stream": "here"}},
    "s3": {"s3": {"bucket": "here"}},
}
"""By the values of the parameter `DeadLetters`: where a file has them go."""


def loaded(path: Path, found: Mapping[str, Mapping[str, str]]) -> Pipeline:
    return load(
        path, {}, found.get("freshet", {}), lambda name, key: "known" if (name, key) == (ARN, "password") else ""
    )


def changed(one: Any, other: Any, place: str = "") -> set[str]:
    """The places at which two dumps differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {
            each
            for key in {**one, **other}
            for each in changed(one.get(key), other.get(key), f"{place}.{key}".removeprefix("."))
        }
    return set() if one == other else {place}


@pytest.mark.parametrize(("source", "model", "store"), list(product(SOURCES, MODELS, STORES)))
def test_any_pipeline_runs_as_its_file_says(source: str, model: str, store: str, tmp_path: Path) -> None:
    assert groups() == {}
    assert loaded(file(tmp_path, source, model, store), groups()).source.name == next(iter(SOURCES[source][0]))


@pytest.mark.parametrize(("source", "model", "store"), list(product(SOURCES, ["sagemaker", "bedrock"], STORES)))
def test_what_parameters_name_is_in_its_place_and_nothing_else(
    source: str, model: str, store: str, tmp_path: Path
) -> None:
    path = file(tmp_path, source, model, store)
    found = groups(Source=source, Model=model, Store=store, DeadLetters="msk", BootstrapServers=BROKERS)
    before, after = loaded(path, {}), loaded(path, found)
    differing = changed(before.model_dump(by_alias=True), after.model_dump(by_alias=True))
    kind = next(iter(SOURCES[source][0]))
    kept = "pgvector" if store == "aurora" else "opensearch"
    sections = {".".join(each.split(".")[:2]) for each in differing}
    assert sections == {f"source.{kind}", "dead_letters.kafka", f"store.{kept}", f"embedding.{model}"}
    assert after.letters.options["properties.sasl.mechanism"] == "AWS_MSK_IAM"
    assert after.letters.bootstrap_servers == BROKERS
    if source == "msk":
        assert after.kafka.options["properties.security.protocol"] == "SASL_SSL"
        assert after.kafka.topic == "t"
    if store == "aurora" and after.store.pgvector is not None:
        assert f"known@{AURORA}" in after.store.pgvector.dsn
        assert after.store.pgvector.table == "articles"


@pytest.mark.parametrize("parameter", ["Source", "Store", "Model", "DeadLetters"])
def test_one_parameter_names_its_own_alone(parameter: str, tmp_path: Path) -> None:
    given = {"Source": "msk", "Store": "aurora", "Model": "bedrock", "DeadLetters": "msk"}[parameter]
    found = groups(**{parameter: given}, BootstrapServers=BROKERS)
    section = {"Source": "source.", "Store": "store.", "Model": "embedding.", "DeadLetters": "dead_letters."}[parameter]
    assert found["freshet"]
    assert all(name.startswith(section) for name in found["freshet"])
    loaded(file(tmp_path, "msk", "bedrock", "aurora"), found)


@pytest.mark.parametrize("place", LETTERS)
def test_dead_letters_go_to_what_a_stack_has_made(place: str, tmp_path: Path) -> None:
    path = file(tmp_path, "sqs", "hash", "aurora")
    whole = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**whole, "dead_letters": LETTERS[place]}), encoding="utf-8")
    after = loaded(path, groups(DeadLetters=place, BootstrapServers=BROKERS)).dead_letters.chosen.place
    assert (
        after
        == {
            "msk": "topic articles.dead-letters",
            "kinesis": "Kinesis stream freshet-letters-Stream",
            "s3": "s3://freshet-letters-bucket/letters/",
        }[place]
    )


@pytest.mark.parametrize("kept", PROFILES)
def test_names_of_profiles_tables_reach_the_pipeline(kept: str, tmp_path: Path) -> None:
    path = file(tmp_path, "msk", "hash", "aurora")
    whole = yaml.safe_load(path.read_text(encoding="utf-8"))
    del whole["documents"]
    record = {"identifiers": {"email": "email"}, "attributes": {"name": "name"}}
    whole |= {
        "profiles": {"identifiers": [{"type": "email", "limit": 5}], "records": {"public.people": record}},
        "store": {**PROFILES[kept], **whole["store"]},
        "embedding": {"model": "hash", "text": "{name}"},
    }
    path.write_text(yaml.safe_dump(whole), encoding="utf-8")
    after = loaded(path, groups(Profiles=kept))
    if kept == "dynamodb":
        assert after.store.dynamodb is not None
        assert after.store.dynamodb.table == EXPORTS["freshet-profiles-Table"]
    else:
        assert after.store.postgres is not None
        assert after.store.postgres.dsn == f"postgresql://freshet:known@{AURORA}:5432/freshet{VERIFIED}"


@pytest.mark.parametrize("login", ["password", "iam"])
def test_aurora_is_reached_as_its_stack_lets_in(login: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exports = {f"freshet-foundation-{name}": name for name in ("RoleName", "SubnetA", "SubnetB", "DataGroup", "KeyArn")}
    kinds = {key: each["Type"] for key, each in TEMPLATES["data"]["Resources"].items()}
    data = scope("freshet-data", TEMPLATES["data"], {"Source": "other", "AuroraLogin": login}, exports)
    cluster = made(data)["Aurora"]["Properties"]
    (statement,) = made(data)["AuroraPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    written = placed(outputs(data)["AuroraDsn"]["Value"], kinds)
    monkeypatch.setitem(EXPORTS, "freshet-data-AuroraDsn", data.resolved(written))
    path = file(tmp_path, "sqs", "hash", "aurora")
    arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:Password-AbCdEf"
    found = groups(Store="aurora", AuroraLogin=login)["freshet"]
    kept = load(path, {}, found, lambda name, key: "known" if (name, key) == (arn, "password") else "").store.pgvector
    assert kept is not None
    opened = PgvectorStore(kept.dsn, kept.table, 4, "m", login=login_of(kept))
    assert opened._session.server == "Aurora.Endpoint.Address:5432"
    if login == "iam":
        assert kept.aws is not None and kept.aws.region == REGION and "known" not in kept.dsn
        assert (cluster["MasterUserAuthenticationType"], cluster["EnableIAMDatabaseAuthentication"]) == (
            "iam-db-auth",
            True,
        )
        assert "MasterUserPassword" not in cluster and "Password" not in made(data)
        assert statement["Action"] == "rds-db:connect"
        assert statement["Resource"]["Fn::Sub"].endswith(f"/{cluster['MasterUsername']}")
    else:
        assert kept.aws is None and "freshet:known@" in kept.dsn
        assert cluster["MasterUserPassword"] and cluster["EnableIAMDatabaseAuthentication"] is False
        assert statement["Action"] == "secretsmanager:GetSecretValue"
