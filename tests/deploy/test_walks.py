"""The page's walks, up to the calls that need an account: their stacks made in moto, their pipelines with what the
application sets, and their bundles.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.session import get_session
from botocore.validate import validate_parameters
from moto import mock_aws

from core.config.file import load
from deploy.msf.bundle import build, misfits
from tests.deploy.cloudformation import ACCOUNT, NAMES, REGION, TEMPLATES, made, outputs, placed, scope
from tests.pages import ROOT, blocks, commands

PAGE = ROOT / "docs/deploy-msf.md"
WALKS = (
    "PostgreSQL, by Debezium and MSK, into OpenSearch",
    "DynamoDB, by Kinesis, into Aurora",
    "S3, by a queue, into Aurora",
    "PostgreSQL, by DMS and Kinesis, into profiles",
)
UNKNOWN = {
    "AWS::ApplicationAutoScaling::ScalableTarget", "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::CloudWatch::Alarm", "AWS::DMS::Endpoint", "AWS::DMS::ReplicationConfig", "AWS::DMS::ReplicationSubnetGroup",
    "AWS::IAM::RolePolicy", "AWS::IAM::ServiceLinkedRole", "AWS::KafkaConnect::Connector",
    "AWS::KafkaConnect::CustomPlugin", "AWS::KafkaConnect::WorkerConfiguration",
    "AWS::KinesisAnalyticsV2::Application", "AWS::KinesisAnalyticsV2::ApplicationCloudWatchLoggingOption",
    "AWS::Logs::LogStream", "AWS::MSK::Cluster", "AWS::MSK::Configuration", "AWS::MSK::Topic",
    "AWS::OpenSearchService::Domain", "AWS::RDS::DBCluster", "AWS::RDS::DBClusterParameterGroup",
    "AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy", "AWS::SQS::QueuePolicy", "AWS::SecretsManager::Secret",
    "AWS::SecretsManager::SecretTargetAttachment",
}  # fmt: skip
"""Types that moto's CloudFormation doesn't make: of them cfn-lint's schema is all that was asked."""
LEFT_OUT = {
    "AuroraInstance": "moto makes it within a cluster of its own alone",
    "Service": "moto subtracts from a count that is a parameter's text",
    "Database": "moto takes a reference to a parameter group for the group's name",
}
"""Resources of a known type that moto doesn't make as they are."""
FILLED = {
    "BROKERS": "b-1.shop.c1.kafka.eu-central-1.amazonaws.com:9098",
    "HOST": "shop.eu-central-1.rds.amazonaws.com",
    "CERTIFICATE_ARN": f"arn:aws:dms:{REGION}:{ACCOUNT}:cert:rds",
}
"""What a reader fills in for the page's words in capitals."""
OUTPUTS = {
    "BUCKET": "foundation.CodeBucket", "CLUSTER": "serve.Cluster", "DOCUMENTS": "s3.Bucket",
    "GROUP": "foundation.ApplicationGroup", "HOST": "database.Host", "KAFKA_ARN": "data.KafkaArn",
    "KEY_ARN": "foundation.KeyArn", "REPLICATION": "dms.Replication", "ROLE": "foundation.RoleName",
    "SERVICE": "serve.Service", "SUBNET": "foundation.SubnetA", "TASK": "serve.Task",
}  # fmt: skip
"""Those that stacks tell, by their templates and outputs."""
ELSEWHERE = {
    "ACCOUNT", "BROKERS", "CERTIFICATE_ARN", "DIGEST", "HASH", "KEYS_ARN", "NAME", "PIPELINE_ARN", "REGION",
    "SETTINGS_ARN",
}  # fmt: skip
"""Those that commands before tell, or the reader knows."""
MEANT = {"AWS", "EXTRAS", "FARGATE", "IMMUTABLE", "README"}
"""Words in capitals that are typed as they are."""


@dataclass(frozen=True)
class Walk:
    """What a walk's part of the page has: the words of each command, and its pipeline file."""

    commands: list[list[str]]
    pipeline: str

    def stacks(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Templates and their parameters, in the order in which they are deployed."""
        for words in self.commands:
            if words[1:3] == ["cloudformation", "deploy"]:
                at = words.index("--parameter-overrides") if "--parameter-overrides" in words else len(words)
                given = dict(word.split("=", 1) for word in words[at + 1 :])
                template = Path(words[words.index("--template-file") + 1]).stem
                yield template, {name: FILLED.get(value, value) for name, value in given.items()}


def walk(title: str) -> Walk:
    part = PAGE.read_text(encoding="utf-8").split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    typed = [line for found in re.findall(r"```bash\n(.*?)```", part, re.DOTALL) for line in found.splitlines()]
    (pipeline,) = re.findall(r'```yaml title="[^"]+"\n(.*?)```', part, re.DOTALL)
    return Walk([shlex.split(line) for line in typed], pipeline)


def test_what_moto_does_not_make_is_listed() -> None:
    # here, as it imports all of moto, and every process of a run collects this file
    from moto.cloudformation.parsing import get_model_map

    used = {each["Type"] for name in NAMES for each in TEMPLATES[name]["Resources"].values()}
    assert {kind for kind in used if kind not in get_model_map()} == UNKNOWN


def stack(name: str, template: str, given: dict[str, str], exports: dict[str, str]) -> dict[str, Any]:
    """Make a stack of what moto knows; what the others would export stands in the exports as a text that names it."""
    of = scope(name, TEMPLATES[template], given, exports)
    wanted = made(of)
    unknown = {key: each["Type"] for key, each in wanted.items() if each["Type"] in UNKNOWN or key in LEFT_OUT}
    told = {key: placed(each, unknown) for key, each in outputs(of).items()}
    known = {key: placed(each, unknown) for key, each in wanted.items() if key not in unknown}
    if known:
        body = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": known, "Outputs": told}
        client = boto3.client("cloudformation", region_name=REGION)
        client.create_stack(StackName=name, TemplateBody=json.dumps(body), Capabilities=["CAPABILITY_NAMED_IAM"])
        (described,) = client.describe_stacks(StackName=name)["Stacks"]
        assert described["StackStatus"] == "CREATE_COMPLETE"
        there = client.list_stack_resources(StackName=name)["StackResourceSummaries"]
        assert {each["LogicalResourceId"] for each in there} == set(known)
        exports |= {each["ExportName"]: each["OutputValue"] for each in described["Outputs"] if "ExportName" in each}
    else:
        exports |= {each["Export"]["Name"]: str(each["Value"]) for each in told.values() if "Export" in each}
    return wanted


@pytest.mark.parametrize("title", WALKS)
@mock_aws
def test_a_walk_up_to_the_calls_that_need_an_account(
    title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    of, exports, stacks = walk(title), {}, {}
    for template, given in of.stacks():
        stacks[template] = stack(f"freshet-{template}", template, given, exports)
    assert {"foundation", "data", "model", "application"} <= set(stacks)
    file = tmp_path / "pipeline.yaml"
    file.write_text(of.pipeline, encoding="utf-8")
    configuration = stacks["application"]["Application"]["Properties"]["ApplicationConfiguration"]
    groups = {
        each["PropertyGroupId"]: each["PropertyMap"]
        for each in configuration["EnvironmentProperties"]["PropertyGroups"]
    }
    pipeline = load(file, {}, groups["freshet"], lambda name, key: "known")
    assert pipeline.source.chosen != load(file, {}).source.chosen
    assert pipeline.dead_letters.chosen != load(file, {}).dead_letters.chosen
    # what the policies name is what the pipeline file has
    data = next(given for template, given in of.stacks() if template == "data")
    kafka = {name for name, each in stacks["data"].items() if each["Type"].startswith("AWS::MSK::")}
    if pipeline.dead_letters.kafka is None:
        assert not kafka, "a cluster that nothing reads or writes"
    else:
        assert pipeline.letters.bootstrap_servers == FILLED["BROKERS"]
        assert data["ConsumerGroup"] == f"freshet-{pipeline.name}"
        assert data["DeadLetters"] == pipeline.dead_letters.kafka.topic
    if pipeline.profiles is not None:
        assert pipeline.store.dynamodb is not None
        assert pipeline.store.dynamodb.table == exports["freshet-profiles-Table"]
    by_iam = data.get("AuroraLogin") == "iam"
    if pipeline.store.pgvector is not None:
        assert pipeline.store.pgvector.dsn.startswith(f"postgresql://freshet{'' if by_iam else ':known'}@Aurora.")
        assert (pipeline.store.pgvector.aws is not None) == by_iam
    assert build(pipeline, file, [], {}).parts
    endpoints = {
        each["Properties"]["ServiceName"].rpartition(f"{REGION}.")[2]
        for each in stacks["foundation"].values()
        if each["Type"] == "AWS::EC2::VPCEndpoint"
    }
    needed = {"kafka": set(), "kinesis": {"kinesis-streams"}, "sqs": {"sqs"}}[pipeline.source.name]
    assert {"s3", "dynamodb", "secretsmanager", "sts", "bedrock-runtime"} | needed == endpoints


def test_a_pipeline_into_pinecone_bundles_and_the_pages_policy_is_for_its_secret_alone(tmp_path: Path) -> None:
    stores = {
        "pinecone": {"index": "articles", "namespace": "chunks", "api_key": "${secretsmanager:freshet-pinecone}"},
        "milvus": {"uri": "https://milvus.example:19530", "collection": "chunks"},
        "kafka": {"topic": "staged", "properties.bootstrap.servers": "127.0.0.1:9092"},
    }
    asked: list[tuple[str, str | None]] = []
    refused = {}
    for name, store in stores.items():
        file = tmp_path / f"{name}.yaml"
        written = yaml.safe_load(walk(WALKS[0]).pipeline) | {"store": {name: store}}
        file.write_text(yaml.safe_dump(written), encoding="utf-8")
        pipeline = load(file, {}, {}, lambda secret, key: asked.append((secret, key)) or "known")
        refused[name] = [each.partition(" ")[0] for each in misfits(pipeline)]
    assert refused == {"pinecone": [], "milvus": ["store.milvus"], "kafka": ["store.kafka"]}
    (secret, key), part = asked[0], PAGE.read_text(encoding="utf-8").split("\n## Into Pinecone\n", 1)[1]
    assert f"--name {secret} " in part and key is None
    (statement,) = json.loads(part.split("```json\n", 1)[1].split("```", 1)[0])["Statement"]
    assert statement == {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "SECRET_ARN"}
    templates = TEMPLATES["foundation"]["Resources"]
    out = templates["ApplicationGroup"]["Properties"]["SecurityGroupEgress"]
    assert [each["FromPort"] for each in out if each["CidrIp"] == "0.0.0.0/0"] == [443]
    assert not [each for each in templates.values() if each["Type"] in ("AWS::EC2::Route", "AWS::EC2::NatGateway")]


def test_the_items_of_the_page_are_what_the_api_takes() -> None:
    (words,) = (words for title in WALKS for words in walk(title).commands if words[1:3] == ["dynamodb", "put-item"])
    given = {"TableName": words[words.index("--table-name") + 1], "Item": json.loads(words[words.index("--item") + 1])}
    validate_parameters(given, get_session().get_service_model("dynamodb").operation_model("PutItem").input_shape)


def test_outputs_that_the_page_names_are_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name, template in re.findall(r"`(\w+)` among the outputs of `freshet-(\w+)`", text):
        assert name in TEMPLATES[template]["Outputs"]
    known = {key for template in TEMPLATES.values() for key in template.get("Parameters", {})}
    for name in re.findall(r"`([A-Z][A-Za-z]+)=", text):
        assert name in known, name
    shown = [each.text for each in blocks(PAGE) if each.language == "yaml"]
    assert len(shown) == len(WALKS)


def test_words_in_capitals_are_outputs_or_known() -> None:
    parts = {part for line in commands(PAGE) for part in re.split(r"[^A-Za-z0-9_]+", line)}
    found = {part for part in parts if re.fullmatch(r"[A-Z]{2,}(_ARN)?", part)}
    assert found - MEANT == OUTPUTS.keys() | ELSEWHERE
    for place in OUTPUTS.values():
        template, _, output = place.partition(".")
        assert output in TEMPLATES[template]["Outputs"], place
