"""What AWS refuses of a template, or takes and then does otherwise, that cfn-lint doesn't see: a check for each.

A check takes a parsed template and gives a line for each thing that is wrong: none, where all is well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from core.metrics.figures import METRICS, Kind
from tests.deploy.cloudformation import Template, resources, statements, texts

_SELECTED = re.compile(r"SELECT (\w+)\((\w+)\)")
_PLACE = re.compile(r"\$\{[^}]+\}")
SNAPSHOTS = 4  # a minute
_SECRET = "{{resolve:"
_SHOWN = (
    "Environment", "Command", "EntryPoint", "UserData", "PropertyMap", "DashboardBody", "Description",
    "ConnectorConfiguration", "PropertiesFileContent",
)  # fmt: skip
_PASSWORD = re.compile(r"(password|secret|token|apikey)s?$", re.IGNORECASE)


def topics_of_serverless_clusters(template: Template) -> Iterator[str]:
    """MSK Developer Guide, "Topic operations": topics are made by its API on provisioned clusters alone."""
    serverless = {name for name, _ in resources(template, "AWS::MSK::ServerlessCluster")}
    for name, topic in resources(template, "AWS::MSK::Topic"):
        for cluster in serverless & set(texts(topic["Properties"]["ClusterArn"])):
            yield f"{name} is a topic of {cluster}, a serverless cluster, whose topics its clients make"


def scaled_by_sagemaker_without_components(template: Template) -> Iterator[str]:
    """SageMaker's CreateEndpointConfig: ManagedInstanceScaling is for inference components, so not with ModelName."""
    for name, config in resources(template, "AWS::SageMaker::EndpointConfig"):
        for variant in config["Properties"]["ProductionVariants"]:
            if "ModelName" in variant and "ManagedInstanceScaling" in variant:
                yield f"{name}: a variant with ModelName is scaled by Application Auto Scaling, not by SageMaker itself"


def endpoints_of_dynamodb_streams(template: Template) -> Iterator[str]:
    """DynamoDB Developer Guide, "AWS PrivateLink for DynamoDB Streams": interfaces alone, and no private DNS."""
    for name, endpoint in resources(template, "AWS::EC2::VPCEndpoint"):
        properties = endpoint["Properties"]
        service = next(texts(properties["ServiceName"]))
        if service.endswith(".dynamodb-streams"):
            if (properties.get("VpcEndpointType"), properties.get("PrivateDnsEnabled")) != ("Interface", False):
                yield f"{name}: an endpoint of DynamoDB Streams must be an interface without private DNS"
        elif properties.get("VpcEndpointType") == "Interface" and properties.get("PrivateDnsEnabled") is not True:
            yield f"{name}: without private DNS no client finds {service}"


def unverified_servers(template: Template) -> Iterator[str]:
    """libpq, "SSL Support": anything but verify-full encrypts for whoever answers."""
    for text in texts(template["Resources"]):
        if "sslmode=" in text and ("sslmode=verify-full" not in text or "sslrootcert=" not in text):
            yield f"{text}: sslmode must be verify-full, with sslrootcert"
        if re.search(r"database\.sslmode=(?!verify-full)|^(prefer|require|verify-ca)$", text):
            yield f"{text}: the server's certificate isn't verified"


def sums_of_what_only_rises(template: Template) -> Iterator[str]:
    """CloudWatch User Guide, "Metrics Insights": SUM adds a period's samples, so a counter counts several times.

    How many times is known where the period is (Managed Service for Apache Flink Developer Guide, "Metrics and
    dimensions": four snapshots a minute); a lost one would ring an alarm.
    """
    for name, alarm in resources(template, "AWS::CloudWatch::Alarm"):
        for function, metric in _SELECTED.findall("\n".join(texts(alarm["Properties"]))):
            if function == "SUM":
                yield f"{name}: a sum of {metric} falls and rises with a lost snapshot; take the maximum of one counter"
    for name, board in resources(template, "AWS::CloudWatch::Dashboard"):
        whole = json.loads(_PLACE.sub("it", next(texts(board["Properties"]["DashboardBody"]))))
        for widget in whole["widgets"]:
            asked = [part for metric in widget["properties"].get("metrics", []) for part in metric if "id" in part]
            for summed in (each for each in asked if "SELECT SUM(" in each["expression"]):
                (metric,) = (each for function, each in _SELECTED.findall(summed["expression"]) if function == "SUM")
                period = widget["properties"].get("period") if whole.get("periodOverride") == "inherit" else None
                others = [each["expression"] for each in asked if each is not summed]
                shown = [each for each in others if re.search(rf"\b{summed['id']}\b", each)]
                snapshots = SNAPSHOTS * (period or 0) // 60
                if METRICS[metric].kind is not Kind.COUNTER:
                    yield f"{name}: {metric} is no count; take its maximum"
                elif period is None or summed.get("visible", True):
                    yield f"{name}: a sum of {metric} counts as often as its period has snapshots, which isn't fixed"
                elif not shown or not all(re.search(rf"/ {snapshots}\b", each) for each in shown):
                    yield f"{name}: a sum of {metric} is to be divided by the {snapshots} snapshots in it"


def shown_secrets(template: Template) -> Iterator[str]:
    """No secret in what anyone with a console reads: outputs, environments, commands, user data, properties."""
    for name, output in template.get("Outputs", {}).items():
        if _SECRET in json.dumps(output) or _PASSWORD.search(name):
            yield f"output {name} shows a secret; its ARN is enough"
    for place, text in _within(template["Resources"], ()):
        if _SECRET in text and any(part in _SHOWN for part in place):
            yield f"{'.'.join(place)} shows a secret; name its ARN where a service reads it itself"
    for name, parameter in template.get("Parameters", {}).items():
        if _PASSWORD.search(name) and not parameter.get("NoEcho"):
            yield f"parameter {name} is shown; set NoEcho, or better take the ARN of a secret"


def _within(node: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(node, str):
        yield place, node
    elif isinstance(node, dict):
        for key, each in node.items():
            yield from _within(each, (*place, str(key)))
    elif isinstance(node, list):
        for at, each in enumerate(node):
            yield from _within(each, (*place, str(at)))


def models_without_a_subscription(template: Template) -> Iterator[str]:
    """Bedrock User Guide, "Request access to models": who first calls a third party's model subscribes to it."""
    allowed = {action for each in statements(template["Resources"]) for action in texts(each.get("Action"))}
    if "bedrock:InvokeModel" in allowed:
        for action in ("Subscribe", "Unsubscribe", "ViewSubscriptions"):
            if f"aws-marketplace:{action}" not in allowed:
                yield f"bedrock:InvokeModel is allowed and {action} isn't, so the first call of Cohere's is refused"


def domains_without_their_role(template: Template) -> Iterator[str]:
    """OpenSearch Developer Guide, "Launching in a VPC": by CloudFormation the service-linked role isn't made."""
    roles = {
        name
        for name, role in resources(template, "AWS::IAM::ServiceLinkedRole")
        if role["Properties"]["AWSServiceName"].startswith("opensearchservice.")
    }
    for name, domain in resources(template, "AWS::OpenSearchService::Domain"):
        if "VPCOptions" in domain["Properties"] and not roles & set(texts(domain)):
            yield f"{name} is in a network and waits for no service-linked role of OpenSearch's"


def public_things(template: Template) -> Iterator[str]:
    """What is reached from outside of the network, or may be made so."""
    for name, each in resources(template, "AWS::RDS::DBInstance", "AWS::DMS::ReplicationInstance"):
        if each["Properties"].get("PubliclyAccessible") is not False:
            yield f"{name} must say PubliclyAccessible: false; its default is another one in some networks"
    for name, bucket in resources(template, "AWS::S3::Bucket"):
        block = bucket["Properties"].get("PublicAccessBlockConfiguration", {})
        if len(block) != 4 or set(block.values()) != {True}:
            yield f"{name} must block public access in all four ways"
    for name, group in resources(template, "AWS::EC2::SecurityGroup"):
        for rule in group["Properties"].get("SecurityGroupIngress", []):
            if "0.0.0.0/0" in texts(rule) or "::/0" in texts(rule):
                yield f"{name} lets in everybody"


def listeners_in_the_clear(template: Template) -> Iterator[str]:
    """Keys are sent with each request: a balancer takes them by TLS alone, of 1.2 or later."""
    for name, listener in resources(template, "AWS::ElasticLoadBalancingV2::Listener"):
        properties = listener["Properties"]
        if properties.get("Protocol") != "HTTPS" or "TLS13-1-2" not in properties.get("SslPolicy", ""):
            yield f"{name} must be HTTPS with a policy of TLS 1.2 and 1.3; the default's takes less"


def tasks_that_reach_no_registry(template: Template) -> Iterator[str]:
    """ECS Developer Guide, "Migrating to Linux platform version 1.4.0": without a way out a task needs endpoints."""
    there = {
        next(texts(each["Properties"]["ServiceName"])).rpartition("${AWS::Region}.")[2]
        for _, each in resources(template, "AWS::EC2::VPCEndpoint")
    }
    for name, service in resources(template, "AWS::ECS::Service"):
        network = service["Properties"]["NetworkConfiguration"]["AwsvpcConfiguration"]
        lacking = {"ecr.api", "ecr.dkr", "logs"} - there
        if network.get("AssignPublicIp") != "ENABLED" and lacking:
            yield f"{name} has no way to its image or log: endpoints are missing of {', '.join(sorted(lacking))}"


def secrets_of_the_first_process(template: Template) -> Iterator[str]:
    """proc(5), "/proc/pid/environ": what a process began with is shown as long as it lives, and init lives longest."""
    for name, task in resources(template, "AWS::ECS::TaskDefinition"):
        for container in task["Properties"]["ContainerDefinitions"]:
            if container.get("Secrets") and container.get("LinuxParameters", {}).get("InitProcessEnabled"):
                yield f"{name}: init keeps the environment with the secrets; let the command take its place"
            if any(each["Name"] in _named(container.get("Secrets")) for each in container.get("Environment", [])):
                yield f"{name}: a secret's name is in Environment too"
            if unset := _named(container.get("Secrets")) - set(_unset(container.get("EntryPoint", []))):
                yield f"{name}: {', '.join(sorted(unset))} stays in the environment of the command"


def _named(secrets: Any) -> set[str]:
    return {each["Name"] for each in secrets or []}


def _unset(words: list[str]) -> Iterator[str]:
    for found in re.findall(r"unset ([A-Z_ ]+);", " ".join(words)):
        yield from found.split()


def insights_without_a_key(template: Template) -> Iterator[str]:
    """Aurora User Guide, "Turning Performance Insights on and off": AWS's key encrypts what is kept, else yours."""
    enabled = ("PerformanceInsightsEnabled", "EnablePerformanceInsights")
    key = ("PerformanceInsightsKmsKeyId", "PerformanceInsightsKMSKeyId")
    for name, database in resources(template, "AWS::RDS::DBCluster", "AWS::RDS::DBInstance"):
        properties = database["Properties"]
        if any(properties.get(each) for each in enabled) and not any(each in properties for each in key):
            yield f"{name} has Performance Insights by AWS's key: name this account's"


def logins_by_iam_that_nobody_may(template: Template) -> Iterator[str]:
    """IAM User Guide, RDS's "Creating and using an IAM policy for IAM database access": rds-db:connect, for a user."""
    allowed = {action for each in statements(template["Resources"]) for action in texts(each.get("Action"))}
    for name, cluster in resources(template, "AWS::RDS::DBCluster", "AWS::RDS::DBInstance"):
        by_iam = "iam-db-auth" in texts(cluster["Properties"].get("MasterUserAuthenticationType"))
        if by_iam and True not in _values(cluster["Properties"].get("EnableIAMDatabaseAuthentication")):
            yield f"{name}: its master user logs in by IAM, and EnableIAMDatabaseAuthentication doesn't let it"
        if by_iam and "rds-db:connect" not in allowed:
            yield f"{name} is logged in to by IAM, and no policy here allows rds-db:connect"


def _values(node: Any) -> list[Any]:
    return [each for part in node["Fn::If"][1:] for each in _values(part)] if isinstance(node, dict) else [node]


Check = Callable[[Template], Iterator[str]]

CHECKS: tuple[Check, ...] = (
    topics_of_serverless_clusters,
    scaled_by_sagemaker_without_components,
    endpoints_of_dynamodb_streams,
    unverified_servers,
    sums_of_what_only_rises,
    shown_secrets,
    models_without_a_subscription,
    domains_without_their_role,
    public_things,
    listeners_in_the_clear,
    tasks_that_reach_no_registry,
    secrets_of_the_first_process,
    insights_without_a_key,
    logins_by_iam_that_nobody_may,
)
