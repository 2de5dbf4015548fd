"""serve.yaml: its stack in moto after those of a walk, its container's start run by a shell, its calls as the API has
them."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.session import get_session
from botocore.validate import validate_parameters
from moto import mock_aws

from tests.deploy.cloudformation import ACCOUNT, REGION, TEMPLATES
from tests.deploy.test_walks import PAGE, WALKS, stack, walk

SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:freshet-serve"
GIVEN = {
    "DIGEST": f"sha256:{'a' * 64}",
    "SETTINGS_ARN": f"{SECRET}-settings",
    "PIPELINE_ARN": f"{SECRET}-pipeline",
    "KEYS_ARN": f"{SECRET}-keys",
}
CONTAINER = TEMPLATES["serve"]["Resources"]["Task"]["Properties"]["ContainerDefinitions"][0]


def command(*begins: str) -> list[str]:
    part = PAGE.read_text(encoding="utf-8").split("\n## Ask from outside\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for found in re.findall(r"```bash\n(.*?)```", part, re.DOTALL) for line in found.splitlines()]
    (words,) = (words for line in lines if (words := shlex.split(line))[: len(begins)] == list(begins))
    return words


@pytest.mark.parametrize("title", WALKS[1:])
@mock_aws
def test_the_stack_comes_after_those_of_a_walk(title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    exports: dict[str, str] = {}
    stacks = {
        template: (given, stack(f"freshet-{template}", template, given, exports))
        for template, given in walk(title).stacks()
    }
    words = command("aws", "cloudformation", "deploy")
    given = dict(word.split("=", 1) for word in words[words.index("--parameter-overrides") + 1 :])
    into = stacks["letters"][0]["Into"]
    certificate = boto3.client("acm", region_name=REGION).request_certificate(DomainName="freshet.example.org")
    filled = {name: GIVEN.get(value, value) for name, value in given.items()}
    filled |= {"Letters": into, "CertificateArn": certificate["CertificateArn"]}
    made = stack("freshet-serve", "serve", filled, exports)
    asks = json.dumps(made["TaskRole"])
    assert exports[f"freshet-letters-{'Stream' if into == 'kinesis' else 'Bucket'}"] in asks
    assert exports["freshet-model-Policy"] in asks
    blocks = {each["Properties"]["CidrBlock"] for name, each in made.items() if name.startswith("Subnet")}
    taken = {stacks["foundation"][1][name]["Properties"]["CidrBlock"] for name in ("SubnetA", "SubnetB")}
    assert len(blocks | taken) == 4


def test_the_containers_files_are_there_before_any_command_and_in_no_environment(tmp_path: Path) -> None:
    given = {"SETTINGS_YAML": "name: helpdesk\n", "PIPELINE_YAML": "a: '%s \\n $HOME'\n", "KEYS_YAML": 'reader: "x"\n'}
    entry = [each.replace("/var/lib/freshet", str(tmp_path)) for each in CONTAINER["EntryPoint"]]
    assert [each["Name"] for each in CONTAINER["Secrets"]] == list(given)
    ran = subprocess.run(
        [*entry, "sh", "-c", 'env; echo "$0 $1"', "two words", "*"],
        env={**os.environ, **given}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "two words *" in ran.stdout and "_YAML" not in ran.stdout
    files = {name: (tmp_path / f"{name}.yaml") for name in ("serve", "pipeline", "keys")}
    assert [each.read_text(encoding="utf-8") for each in files.values()] == list(given.values())
    assert {each.stat().st_mode & 0o777 for each in files.values()} == {0o600}
    lacking = subprocess.run([*entry, "true"], env={"PATH": os.environ["PATH"]}, capture_output=True, check=False)
    assert lacking.returncode != 0


def test_the_container_serves_what_the_balancer_asks_for() -> None:
    words, resources = CONTAINER["Command"], TEMPLATES["serve"]["Resources"]
    port = int(words[words.index("--port") + 1])
    assert words[:3] == ["freshet", "serve", "serve.yaml"]
    assert port == resources["Targets"]["Properties"]["Port"] == CONTAINER["PortMappings"][0]["ContainerPort"]
    assert resources["Targets"]["Properties"]["HealthCheckPath"] == "/health"


@pytest.mark.parametrize("option", ["network-configuration", "overrides"])
def test_the_task_that_lists_dead_letters_is_one_that_the_api_takes(option: str) -> None:
    words = command("aws", "ecs", "run-task")
    given: dict[str, Any] = json.loads(words[words.index(f"--{option}") + 1])
    members = get_session().get_service_model("ecs").operation_model("RunTask").input_shape.members
    name = {"network-configuration": "networkConfiguration", "overrides": "overrides"}[option]
    validate_parameters(given, members[name])
    if option == "overrides":
        (over,) = given["containerOverrides"]
        assert (over["name"], over["command"][:3]) == (CONTAINER["Name"], ["freshet", "dead-letters", "list"])
