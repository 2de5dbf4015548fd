"""No template has what AWS refuses, and each check sees what it is for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.deploy import refusals
from tests.deploy.cloudformation import NAMES, TEMPLATES


def bites(check: refusals.Check, *wrong: dict[str, Any], **rest: Any) -> list[str]:
    return list(check({"Resources": {f"Thing{at}": each for at, each in enumerate(wrong)}, **rest}))


@pytest.mark.parametrize("check", refusals.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_no_template_has_what_is_refused(name: str, check: refusals.Check) -> None:
    assert list(check(TEMPLATES[name])) == []


def of(kind: str, **properties: Any) -> dict[str, Any]:
    return {"Type": f"AWS::{kind}", "Properties": properties}


def test_a_topic_of_a_serverless_cluster() -> None:
    topic = of("MSK::Topic", ClusterArn={"Fn::GetAtt": ["Thing0", "Arn"]})
    assert bites(refusals.topics_of_serverless_clusters, of("MSK::ServerlessCluster"), topic)
    assert not bites(refusals.topics_of_serverless_clusters, of("MSK::Cluster"), topic)


def test_a_variant_that_sagemaker_is_to_scale() -> None:
    variant = {"ModelName": "m", "ManagedInstanceScaling": {"Status": "ENABLED"}}
    config = of("SageMaker::EndpointConfig", ProductionVariants=[variant])
    assert bites(refusals.scaled_by_sagemaker_without_components, config)
    del variant["ModelName"]
    assert not bites(refusals.scaled_by_sagemaker_without_components, config)


@pytest.mark.parametrize(
    ("service", "kind", "dns", "right"),
    [
        ("dynamodb-streams", "Interface", False, True),
        ("dynamodb-streams", "Interface", True, False),
        ("dynamodb-streams", "Gateway", False, False),
        ("kinesis-streams", "Interface", True, True),
        ("kinesis-streams", "Interface", False, False),
        ("s3", "Gateway", None, True),
    ],
)
def test_an_endpoint_that_no_client_finds(service: str, kind: str, dns: bool | None, right: bool) -> None:
    named = {"Fn::Sub": f"com.amazonaws.${{AWS::Region}}.{service}"}
    endpoint = of("EC2::VPCEndpoint", ServiceName=named, VpcEndpointType=kind)
    if dns is not None:
        endpoint["Properties"]["PrivateDnsEnabled"] = dns
    assert (bites(refusals.endpoints_of_dynamodb_streams, endpoint) == []) == right


@pytest.mark.parametrize("tail", ["sslmode=require", "sslmode=verify-full", "sslmode=verify-ca&sslrootcert=rds.pem"])
def test_a_server_that_may_be_anyone(tail: str) -> None:
    assert bites(refusals.unverified_servers, of("X::Y", Dsn=f"postgresql://host/db?{tail}"))
    whole = "sslmode=verify-full&sslrootcert=rds.pem"
    assert not bites(refusals.unverified_servers, of("X::Y", Dsn=f"postgresql://host/db?{whole}"))


def query(function: str, metric: str) -> str:
    return " ".join(("SELECT", f"{function}({metric})", 'FROM "AWS/KinesisAnalytics"'))


def test_an_alarm_on_a_counter_that_is_summed() -> None:
    def asked(function: str) -> list[str]:
        metric = {"Expression": query(function, "dead_letters")}
        return bites(refusals.sums_of_what_only_rises, of("CloudWatch::Alarm", Metrics=[metric]))

    assert asked("SUM")
    assert not asked("MAX")


@pytest.mark.parametrize(
    ("metric", "shown", "period", "override", "right"),
    [
        ("changes", "RATE(x) * 60 / 20", 300, "inherit", True),
        ("changes", "RATE(x) * 60 / 4", 60, "inherit", True),
        ("changes", "RATE(x) * 60 / 20", 60, "inherit", False),
        ("changes", "RATE(x) * 60", 300, "inherit", False),
        ("changes", "RATE(x) * 60 / 20", 300, "auto", False),
        ("source_lag_ms", "x / 20", 300, "inherit", False),
    ],
)
def test_a_counter_that_a_dashboard_sums(metric: str, shown: str, period: int, override: str, right: bool) -> None:
    metrics = [[{"id": "x", "visible": False, "expression": query("SUM", metric)}], [{"id": "y", "expression": shown}]]
    board = {"periodOverride": override, "widgets": [{"properties": {"period": period, "metrics": metrics}}]}
    found = bites(refusals.sums_of_what_only_rises, of("CloudWatch::Dashboard", DashboardBody=json.dumps(board)))
    assert (found == []) == right
    del metrics[0][0]["visible"]
    assert bites(refusals.sums_of_what_only_rises, of("CloudWatch::Dashboard", DashboardBody=json.dumps(board)))


@pytest.mark.parametrize("part", ["Environment", "UserData", "Command", "PropertyMap", "ConnectorConfiguration"])
def test_a_secret_that_is_shown(part: str) -> None:
    secret = {"Fn::Sub": "{{resolve:secretsmanager:${Password}:SecretString:password}}"}
    assert bites(refusals.shown_secrets, of("X::Y", Things=[{part: {"PASSWORD": secret}}]))
    assert not bites(refusals.shown_secrets, of("X::Y", MasterUserPassword=secret))
    assert bites(refusals.shown_secrets, Outputs={"Url": {"Value": secret}})
    assert bites(refusals.shown_secrets, Outputs={"Password": {"Value": "it"}})
    assert not bites(refusals.shown_secrets, Outputs={"PasswordArn": {"Value": "arn"}})
    assert bites(refusals.shown_secrets, Parameters={"DatabasePassword": {"Type": "String"}})


def test_a_model_that_nobody_may_subscribe_to() -> None:
    def policy(*actions: str) -> dict[str, Any]:
        return of("IAM::RolePolicy", PolicyDocument={"Statement": [{"Effect": "Allow", "Action": list(actions)}]})

    assert len(bites(refusals.models_without_a_subscription, policy("bedrock:InvokeModel"))) == 3
    there = [f"aws-marketplace:{each}" for each in ("Subscribe", "Unsubscribe", "ViewSubscriptions")]
    assert not bites(refusals.models_without_a_subscription, policy("bedrock:InvokeModel", *there))


def test_a_domain_in_a_network_without_its_role() -> None:
    role = of("IAM::ServiceLinkedRole", AWSServiceName="opensearchservice.amazonaws.com")
    domain = of("OpenSearchService::Domain", VPCOptions={})
    assert bites(refusals.domains_without_their_role, role, domain)
    assert not bites(refusals.domains_without_their_role, role, {**domain, "DependsOn": "Thing0"})


def test_what_is_open_to_everybody() -> None:
    assert bites(refusals.public_things, of("RDS::DBInstance"))
    assert bites(refusals.public_things, of("S3::Bucket", PublicAccessBlockConfiguration={"BlockPublicAcls": True}))
    everybody = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "CidrIp": "0.0.0.0/0"}
    assert bites(refusals.public_things, of("EC2::SecurityGroup", SecurityGroupIngress=[everybody]))


def test_a_balancer_that_takes_keys_in_the_clear() -> None:
    kind = "ElasticLoadBalancingV2::Listener"
    assert bites(refusals.listeners_in_the_clear, of(kind, Protocol="HTTP"))
    assert bites(refusals.listeners_in_the_clear, of(kind, Protocol="HTTPS"))
    right = of(kind, Protocol="HTTPS", SslPolicy="ELBSecurityPolicy-TLS13-1-2-2021-06")
    assert not bites(refusals.listeners_in_the_clear, right)


def test_a_task_that_reaches_no_registry() -> None:
    network = {"AwsvpcConfiguration": {"AssignPublicIp": "DISABLED"}}
    service = of("ECS::Service", NetworkConfiguration=network)
    names = ("ecr.api", "ecr.dkr", "logs")
    endpoints = [of("EC2::VPCEndpoint", ServiceName={"Fn::Sub": f"com.amazonaws.${{AWS::Region}}.{n}"}) for n in names]
    assert bites(refusals.tasks_that_reach_no_registry, service, *endpoints[:2])
    assert not bites(refusals.tasks_that_reach_no_registry, service, *endpoints)


def test_a_secret_that_the_first_process_keeps() -> None:
    def task(entry: str, **more: Any) -> list[str]:
        container = {"Secrets": [{"Name": "KEYS_YAML", "ValueFrom": "arn"}], "EntryPoint": ["sh", "-c", entry], **more}
        return bites(refusals.secrets_of_the_first_process, of("ECS::TaskDefinition", ContainerDefinitions=[container]))

    right = 'printf %s "$KEYS_YAML" > keys.yaml; unset KEYS_YAML; exec "$@"'
    assert not task(right)
    assert task(right, LinuxParameters={"InitProcessEnabled": True})
    assert task(right, Environment=[{"Name": "KEYS_YAML", "Value": "it"}])
    assert task('printf %s "$KEYS_YAML" > keys.yaml; exec "$@"')


def test_insights_that_awss_key_encrypts() -> None:
    check = refusals.insights_without_a_key
    assert bites(check, of("RDS::DBCluster", PerformanceInsightsEnabled=True))
    assert not bites(check, of("RDS::DBCluster", PerformanceInsightsEnabled=True, PerformanceInsightsKmsKeyId="arn"))
    assert bites(check, of("RDS::DBInstance", EnablePerformanceInsights={"Fn::If": ["Yes", True, False]}))


def test_a_login_by_iam_that_nobody_may() -> None:
    check = refusals.logins_by_iam_that_nobody_may
    cluster = {"MasterUserAuthenticationType": "iam-db-auth", "EnableIAMDatabaseAuthentication": True}
    statement = {"Effect": "Allow", "Action": "rds-db:connect"}
    policy = of("IAM::ManagedPolicy", PolicyDocument={"Statement": [statement]})
    assert not bites(check, of("RDS::DBCluster", **cluster), policy)
    assert bites(check, of("RDS::DBCluster", **cluster))
    assert bites(check, of("RDS::DBCluster", **{**cluster, "EnableIAMDatabaseAuthentication": False}), policy)
    assert not bites(check, of("RDS::DBCluster", MasterUserAuthenticationType="password"))
