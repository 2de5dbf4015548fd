"""The templates: cfn-lint passes them, policies give no more than they say why, and the application fits the bundle."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import xform_name
from botocore.session import get_session
from botocore.validate import ParamValidator
from moto import mock_aws

from connectors.aws.client import Aws
from connectors.dynamodb.profiles.table import ProfilesTable
from core.metrics.figures import METRICS
from flink_jobs.engine.environment import MAX_PARALLELISM
from tests.deploy.cloudformation import FILES, NAMES, TEMPLATES, statements, texts
from tests.pages import ROOT, commands
from tests.test_house import LONGEST_FILE

RESOURCES = [(name, key, each) for name in NAMES for key, each in TEMPLATES[name]["Resources"].items()]

AWS = {
    "numRestarts", "numberOfFailedCheckpoints", "lastCheckpointDuration", "containerCPUUtilization",
    "heapMemoryUtilization", "KPUs",
}  # fmt: skip
"""Metrics of the service itself that alarms and dashboard ask for (its developer guide, "Metrics and dimensions")."""

ENCRYPTED = {
    "AWS::S3::Bucket": "BucketEncryption.ServerSideEncryptionConfiguration.0"
    ".ServerSideEncryptionByDefault.KMSMasterKeyID",
    "AWS::Logs::LogGroup": "KmsKeyId",
    "AWS::Kinesis::Stream": "StreamEncryption.KeyId",
    "AWS::SecretsManager::Secret": "KmsKeyId",
    "AWS::RDS::DBCluster": "KmsKeyId",
    "AWS::OpenSearchService::Domain": "EncryptionAtRestOptions.KmsKeyId",
    "AWS::DynamoDB::Table": "SSESpecification.KMSMasterKeyId",
    "AWS::KinesisAnalyticsV2::Application": "ApplicationConfiguration.ApplicationEncryptionConfiguration.KeyId",
    "AWS::SNS::Topic": "KmsMasterKeyId",
    "AWS::SQS::Queue": "KmsMasterKeyId",
    "AWS::MSK::Cluster": "EncryptionInfo.EncryptionAtRest.DataVolumeKMSKeyId",
    "AWS::DMS::ReplicationConfig": "ComputeConfig.KmsKeyId",
    "AWS::DMS::Endpoint": "KmsKeyId",
}
"""Where each type that keeps something says its key."""
KEEPS_NOTHING = re.compile(
    r"AWS::(EC2|IAM)::|AWS::KMS::|Policy$|SubnetGroup$|ParameterGroup$|DBInstance$|LogStream$|LoggingOption$"
    r"|CloudWatch::|MSK::(Topic|Configuration)|SageMaker::|ServiceLinkedRole|KafkaConnect::|ApplicationAutoScaling::"
    r"|Events::Rule$|DMS::ReplicationSubnetGroup$|SecretTargetAttachment$|ECS::|ElasticLoadBalancingV2::"
)


def linted(*files: Path) -> subprocess.CompletedProcess[str]:
    cfn_lint = str(Path(sys.executable).with_name("cfn-lint"))
    command = [cfn_lint, "--non-zero-exit-code", "informational", "--include-checks", "I"]
    command += ["--regions", "us-east-1", "eu-central-1", "--", *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_cfn_lint_passes_them() -> None:
    checked = linted(*FILES)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_cfn_lint_bites(tmp_path: Path) -> None:
    text = (ROOT / "deploy/cloudformation/application.yaml").read_text(encoding="utf-8")
    broken = tmp_path / "application.yaml"
    broken.write_text(text.replace("FLINK-2_2", "FLINK-2_9"), encoding="utf-8")
    assert "FLINK-2_9" in linted(broken).stdout


def unexplained(resource: dict[str, Any]) -> list[str]:
    """The statements that have a wildcard, and no reason for it in the resource's metadata."""
    reasons = resource.get("Metadata", {}).get("Reasons", {})
    wild = [
        each.get("Sid", "(without Sid)")
        for each in statements(resource["Properties"])
        if any("*" in text for part in ("Action", "Resource", "Principal") for text in texts(each.get(part)))
        or "NotAction" in each
        or "NotResource" in each
    ]
    return [sid for sid in wild if len(reasons.get(sid, "")) < 40]


@pytest.mark.parametrize(("name", "key", "resource"), RESOURCES, ids=[f"{n}-{k}" for n, k, _ in RESOURCES])
def test_a_resource_is_encrypted_and_its_wildcards_have_reasons(name: str, key: str, resource: dict[str, Any]) -> None:
    assert unexplained(resource) == []
    reasons = resource.get("Metadata", {}).get("Reasons", {})
    assert set(reasons) <= {each.get("Sid") for each in statements(resource["Properties"])}, "a reason for nothing"
    place = ENCRYPTED.get(resource["Type"])
    if place is None:
        assert KEEPS_NOTHING.search(resource["Type"]), f"{resource['Type']}: does it keep anything? Where is its key?"
        return
    node: Any = resource["Properties"]
    for part in place.split("."):
        node = node[int(part)] if part.isdecimal() else node[part]
    assert node


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_no_template_is_long(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


def shown_to_ps(line: str) -> bool:
    """Whether a command has a secret among its arguments, which everybody on the machine sees."""
    return bool(re.search(r"\$\(|`|--secret-string (?!file://)|--password(?!-stdin)|Bearer [^/]", line))


@pytest.mark.parametrize("line", commands(ROOT / "docs/deploy-msf.md"))
def test_no_command_of_the_page_has_a_secret_among_its_arguments(line: str) -> None:
    assert not shown_to_ps(line)


@pytest.mark.parametrize(
    "line",
    [
        'curl https://n -H "Authorization: Bearer $(cat reader.key)"',
        "curl https://n -H 'Authorization: Bearer abc'",
        "aws secretsmanager create-secret --name a --secret-string hunter2",
        "docker login --password hunter2",
    ],
)
def test_a_secret_among_arguments_is_noticed(line: str) -> None:
    assert shown_to_ps(line)


def test_a_wildcard_without_a_reason_is_noticed() -> None:
    statement = {"Sid": "All", "Effect": "Allow", "Action": "s3:Get*", "Resource": {"Fn::Sub": "${Code.Arn}"}}
    resource = {"Properties": {"PolicyDocument": {"Statement": [{"Fn::If": ["Yes", statement, "no"]}]}}}
    assert unexplained(resource) == ["All"]
    assert unexplained({**resource, "Metadata": {"Reasons": {"All": "because"}}}) == ["All"]
    assert unexplained({**resource, "Metadata": {"Reasons": {"All": "because " * 8}}}) == []


def test_what_a_stack_imports_another_exports() -> None:
    stacks = {"Foundation": "foundation", "Data": "data", "ModelStack": "model", "Changes": "s3", "Letters": "letters"}
    stacks |= {"LettersStack": "letters", "ProfilesStack": "profiles"}
    exported = {
        (name, output["Export"]["Name"]["Fn::Sub"].removeprefix("${AWS::StackName}-"))
        for name in NAMES
        for output in TEMPLATES[name].get("Outputs", {}).values()
        if "Export" in output
    }
    imported = {
        (stacks[stack], export)
        for name in NAMES
        for stack, export in re.findall(
            r'"\$\{(\w+)\}-(\w+)"', (ROOT / f"deploy/cloudformation/{name}.yaml").read_text()
        )
        if stack in stacks
    }
    assert imported - exported == set()
    assert {name for name, _ in imported} == {"foundation", "data", "model", "s3", "letters", "profiles"}


def test_the_application_keeps_its_state_and_scales_within_it() -> None:
    properties = TEMPLATES["application"]["Resources"]["Application"]["Properties"]
    assert properties["RuntimeEnvironment"] == "FLINK-2_2"
    assert properties["ApplicationConfiguration"]["ApplicationSnapshotConfiguration"] == {"SnapshotsEnabled": True}
    assert TEMPLATES["application"]["Parameters"]["Autoscaling"]["Default"] == "true"
    assert TEMPLATES["application"]["Parameters"]["Parallelism"]["MaxValue"] == MAX_PARALLELISM


def test_the_roles_policies_are_those_of_the_pages() -> None:
    def actions(resource: str, template: str = "data") -> set[str]:
        return set(texts([each["Action"] for each in statements(TEMPLATES[template]["Resources"][resource])]))

    profiles = set(re.findall(r'"(dynamodb:\w+)"', (ROOT / "docs/profiles.md").read_text(encoding="utf-8")))
    # the table is the template's
    assert actions("Policy", "profiles") == profiles - {"dynamodb:CreateTable", "dynamodb:UpdateTimeToLive"}
    feeds = (ROOT / "docs/feeds.md").read_text(encoding="utf-8")
    assert actions("StreamPolicy") == set(re.findall(r"kinesis:[A-Z]\w+", feeds))
    letters = (ROOT / "docs/dead-letters.md").read_text(encoding="utf-8")
    writes, reads = (set(re.findall(r"(?:kinesis|s3|kms):[A-Z]\w+", each)) for each in letters.split("who lists them"))
    assert actions("StreamPolicy", "letters") | actions("ObjectsPolicy", "letters") == writes
    assert not writes & reads - {"kinesis:DescribeStreamSummary"}


@mock_aws
def test_the_table_is_one_that_the_store_of_profiles_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    declared = TEMPLATES["profiles"]["Resources"]["Table"]["Properties"]
    kept = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
    dynamodb = boto3.client("dynamodb", region_name="eu-central-1")
    dynamodb.create_table(TableName="people", **json.loads(json.dumps({name: declared[name] for name in kept})))
    lives = json.loads(json.dumps(declared["TimeToLiveSpecification"]))
    dynamodb.update_time_to_live(TableName="people", TimeToLiveSpecification=lives)
    table = ProfilesTable("people", Aws("eu-central-1"), patience_s=5)
    table.prepare()
    table.close()
    assert dynamodb.describe_time_to_live(TableName="people")["TimeToLiveDescription"]["AttributeName"] == "expires"


def aws_commands() -> list[list[str]]:
    """The page's commands of the AWS CLI, by words."""
    return [words for line in commands(ROOT / "docs/deploy-msf.md") if (words := shlex.split(line))[0] == "aws"]


@pytest.mark.parametrize("words", aws_commands(), ids=lambda words: " ".join(words[1:3]))
def test_a_command_of_the_page_is_one_of_the_cli(words: list[str]) -> None:
    _, service, operation, *rest = words
    options = {word for word in rest if word.startswith("--")} - {"--query"}
    if (service, operation) == ("cloudformation", "deploy"):
        assert options <= {"--stack-name", "--template-file", "--capabilities", "--parameter-overrides"}
        name = Path(rest[rest.index("--template-file") + 1]).stem
        assert rest[rest.index("--stack-name") + 1] == f"freshet-{name}"
        at = rest.index("--parameter-overrides") if "--parameter-overrides" in rest else len(rest)
        given = dict(word.split("=", 1) for word in rest[at + 1 :])
        parameters = TEMPLATES[name]["Parameters"]
        assert set(given) <= set(parameters)
        assert {key for key, each in parameters.items() if "Default" not in each} <= set(given)
        makes_roles = any(each["Type"].startswith("AWS::IAM::") for each in TEMPLATES[name]["Resources"].values())
        assert ("--capabilities" in options) == makes_roles
        for key, value in given.items():
            assert value in parameters[key].get("AllowedValues", [value])
            # BROKERS and the like are for the reader to fill in
            pattern = parameters[key].get("AllowedPattern", ".*")
            assert value.isupper() or re.fullmatch(pattern, value), f"{key}={value}"
    elif (service, operation) not in {("s3", "cp"), ("logs", "tail"), ("ecr", "get-login-password")}:
        # those are the CLI's own
        assert misfit(service, operation, rest) == ""


def misfit(service: str, operation: str, rest: Sequence[str]) -> str:
    """What the API's model doesn't take of a command's options: names, types, values; "" where it takes all."""
    model = get_session().get_service_model(service)
    names = {xform_name(name, "-"): name for name in model.operation_names}
    shape = model.operation_model(names[operation]).input_shape
    members = {f"--{xform_name(name, '-')}": name for name in shape.members}
    options = {
        word: following if (following := "".join(rest[at + 1 : at + 2])).strip("-") == following else ""
        for at, word in enumerate(rest)
        if word.startswith("--")
    }
    of_the_cli = ("--query", "--output")
    if unknown := options.keys() - members.keys() - set(of_the_cli):
        return f"{', '.join(unknown)} is no option of {operation}"
    given = {
        members[option]: read(value, shape.members[members[option]].type_name)
        for option, value in options.items()
        if option not in of_the_cli
    }
    report: str = ParamValidator().validate(given, shape).generate_report()
    return report or "; ".join(unknown_values(given, shape))


def read(value: str, kind: str) -> Any:
    """An option's value as the CLI reads it: JSON, or key=value,… for short; texts as they are, and none for yes."""
    if kind == "boolean":
        return value == ""
    if kind not in ("structure", "list", "map"):
        return value
    if value[0] in "{[":
        return json.loads(value)
    pairs = dict(part.split("=", 1) for part in value.split(","))
    return {key: {"true": True, "false": False}.get(each, each) for key, each in pairs.items()}


def unknown_values(given: Any, shape: Any) -> Iterator[str]:
    """Values that an enumeration of the model hasn't."""
    if shape.type_name == "structure":
        for name, each in given.items():
            yield from unknown_values(each, shape.members[name])
    elif shape.type_name == "list":
        for each in given:
            yield from unknown_values(each, shape.member)
    elif getattr(shape, "enum", []) and given not in shape.enum:
        yield f"{given} is none of {', '.join(shape.enum)}"


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("kinesisanalyticsv2 stop-application --name a", "--name is no option"),
        ("ecr create-repository --repository-name freshet --image-tag-mutability MAYBE", "MAYBE is none of"),
        ("dms start-replication --replication-config-arn A", "Missing required parameter"),
        (
            "kinesisanalyticsv2 start-application --application-name a --run-configuration "
            """'{"ApplicationRestoreConfiguration": {"ApplicationRestoreType": "LATEST"}}'""",
            "LATEST is none of",
        ),
    ],
)
def test_a_command_that_the_api_does_not_take_is_noticed(command: str, problem: str) -> None:
    service, operation, *rest = shlex.split(command)
    assert problem in misfit(service, operation, rest)


def test_the_pages_bundle_goes_where_the_application_may_read_it() -> None:
    bundles = [words[-1] for words in aws_commands() if words[1:4] == ["s3", "cp", "app.zip"]]
    assert len(bundles) == 4
    for each in bundles:
        assert each.startswith("s3://BUCKET/bundles/")
        assert re.fullmatch(TEMPLATES["application"]["Parameters"]["Bundle"]["AllowedPattern"], each[12:])
    code = [each for each in statements(TEMPLATES["foundation"]["Resources"]["Role"]) if each.get("Sid") == "Code"]
    assert code[0]["Resource"] == {"Fn::Sub": "${Code.Arn}/bundles/*"}


def test_alarms_and_dashboard_ask_for_metrics_that_there_are() -> None:
    resources = TEMPLATES["operations"]["Resources"]
    text, _ = resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    widgets = json.loads(re.sub(r"\$\{(\w+)[^}]*\}", r"\1", text))["widgets"]
    alarms = {name: each["Properties"] for name, each in resources.items() if each["Type"] == "AWS::CloudWatch::Alarm"}
    (shown,) = (widget["properties"]["alarms"] for widget in widgets if widget["type"] == "alarm")
    assert shown == list(alarms)
    asked = "\n".join(texts([alarms, [widget["properties"].get("metrics", []) for widget in widgets]]))
    ours = set(re.findall(r"SELECT \w+\((\w+)\)", asked))
    for metric, labels in re.findall(r"SELECT MAX\((\w+)\)[^\n]*?(?:GROUP BY ([\w, ]+))?$", asked, re.MULTILINE):
        # without one of its labels the largest of several counters would stand for all
        assert METRICS[metric].labels == tuple(filter(None, labels.split(", "))), metric
    assert ours <= set(METRICS)
    assert {"commit_to_searchable_p99_ms", "letters", "dead_letters", "changes", "chunks_embedded"} <= ours
    lines = asked.splitlines()
    assert {line for line in lines if line in AWS} == AWS
    assert all(len(alarm["AlarmDescription"]) > 40 for alarm in alarms.values())
