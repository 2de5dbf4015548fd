"""Templates of CloudFormation, parsed: what they say of policies, and what is left of one that has its parameters."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.pages import ROOT

FOLDER = ROOT / "deploy/cloudformation"
FILES = sorted(FOLDER.glob("*.yaml"))
NAMES = [file.stem for file in FILES]

ACCOUNT = "123456789012"
REGION = "eu-central-1"
_PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::URLSuffix": "amazonaws.com",
}
_PLACE = re.compile(r"\$\{([^!}]+)\}")
NOTHING = object()
"""What `AWS::NoValue` comes to."""

Template = Mapping[str, Any]


def parsed(file: Path) -> dict[str, Any]:
    """A template as JSON has it, short forms of functions written out."""
    from cfnlint.decode import decode

    template: dict[str, Any] = decode(str(file))[0]
    return template


TEMPLATES: dict[str, dict[str, Any]] = {file.stem: parsed(file) for file in FILES}


def resources(template: Template, *types: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The resources of these types, by their logical names."""
    for name, each in template["Resources"].items():
        if each["Type"] in types:
            yield name, each


def statements(node: Any) -> Iterator[dict[str, Any]]:
    """Every statement of every policy below a node, those of either branch of a condition too."""
    if isinstance(node, dict):
        if "Effect" in node and ("Action" in node or "NotAction" in node):
            yield node
        for each in node.values():
            yield from statements(each)
    elif isinstance(node, list):
        for each in node:
            yield from statements(each)


def texts(node: Any) -> Iterator[str]:
    """Every text below a node, keys left out."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for each in node.values():
            yield from texts(each)
    elif isinstance(node, list):
        for each in node:
            yield from texts(each)


@dataclass(frozen=True)
class Scope:
    """What a template's references mean: parameters and the stack's name by theirs, exports of other stacks."""

    template: Template
    values: Mapping[str, Any]
    exports: Mapping[str, str]

    def holds(self, condition: Any) -> bool:
        """Whether a condition, or the one of a name, holds."""
        if isinstance(condition, str):
            return self.holds(self.template["Conditions"][condition])
        ((function, of),) = condition.items()
        if function == "Condition":
            return self.holds(of)
        if function == "Fn::Not":
            return not self.holds(of[0])
        if function in ("Fn::And", "Fn::Or"):
            return (all if function == "Fn::And" else any)(self.holds(each) for each in of)
        assert function == "Fn::Equals", function
        one, other = (str(self.resolved(each)) for each in of)
        return one == other

    def resolved(self, node: Any) -> Any:
        """A part of the template without parameters, conditions and imports; references to resources stay."""
        if isinstance(node, list):
            return [found for each in node if (found := self.resolved(each)) is not NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((function, of),) = node.items()
            if function == "Ref" or function.startswith("Fn::"):
                return self._function(function, of)
        found = {key: self.resolved(each) for key, each in node.items()}
        return {key: each for key, each in found.items() if each is not NOTHING}

    def _function(self, function: str, of: Any) -> Any:
        if function == "Ref":
            return NOTHING if of == "AWS::NoValue" else self.values.get(of, {"Ref": of})
        if function == "Fn::If":
            condition, yes, no = of
            return self.resolved(yes if self.holds(condition) else no)
        if function == "Fn::Sub":
            return self._substituted(of)
        given = self.resolved(of)
        if function == "Fn::ImportValue":
            return self.exports[given]
        if function == "Fn::GetAZs":
            return [f"{REGION}a", f"{REGION}b", f"{REGION}c"]
        if function == "Fn::Cidr":
            block, count, bits = given
            nets = ipaddress.ip_network(block).subnets(new_prefix=32 - int(bits))
            return [str(next(nets)) for _ in range(int(count))]
        if function == "Fn::Split" and isinstance(given[1], str):
            return given[1].split(given[0])
        if function == "Fn::Select" and isinstance(given[1], list):
            return given[1][int(given[0])]
        if function == "Fn::Join" and isinstance(given[1], list) and all(isinstance(e, str) for e in given[1]):
            return given[0].join(given[1])
        return {function: given}

    def _substituted(self, of: Any) -> Any:
        text, given = of if isinstance(of, list) else (of, {})
        known = {**self.values, **{name: self.resolved(each) for name, each in given.items()}}
        filled = _PLACE.sub(
            lambda place: str(known[place[1]]) if isinstance(known.get(place[1]), str) else place[0], text
        )
        left = {name: each for name, each in known.items() if not isinstance(each, str) and f"${{{name}}}" in filled}
        if not _PLACE.search(filled):
            return filled.replace("${!", "${")
        return {"Fn::Sub": [filled, left] if left else filled}


def scope(name: str, template: Template, given: Mapping[str, str], exports: Mapping[str, str]) -> Scope:
    """Of a stack of that name, with the parameters that are given, and the defaults of the others."""
    defaults = {key: str(each["Default"]) for key, each in template.get("Parameters", {}).items() if "Default" in each}
    own = {"AWS::StackName": name, "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{name}/1"}
    return Scope(template, {**_PSEUDO, **own, **defaults, **given}, exports)


def made(of: Scope) -> dict[str, dict[str, Any]]:
    """The resources that the stack has, resolved."""
    return {
        key: {part: of.resolved(each) for part, each in resource.items() if part not in ("Condition", "Metadata")}
        for key, resource in of.template["Resources"].items()
        if "Condition" not in resource or of.holds(resource["Condition"])
    }


def outputs(of: Scope) -> dict[str, dict[str, Any]]:
    """The outputs that the stack has, resolved."""
    return {
        key: of.resolved({part: value for part, value in each.items() if part != "Condition"})
        for key, each in of.template.get("Outputs", {}).items()
        if "Condition" not in each or of.holds(each["Condition"])
    }


REFERRED_BY_ARN = {"AWS::SecretsManager::Secret": "secretsmanager:{region}:{account}:secret:{name}-AbCdEf"}
"""Types whose reference is an ARN, as far as policies name it."""


def placed(node: Any, unknown: Mapping[str, str]) -> Any:
    """A part of a template in which what comes of resources that aren't made is a text; `unknown` has their types."""
    if isinstance(node, list):
        return [placed(each, unknown) for each in node]
    if not isinstance(node, dict):
        return node
    if set(node) == {"Ref"} and node["Ref"] in unknown:
        name = node["Ref"]
        arn = REFERRED_BY_ARN.get(unknown[name])
        return f"arn:aws:{arn.format(region=REGION, account=ACCOUNT, name=name)}" if arn else f"{name}-of-{ACCOUNT}"
    if set(node) == {"Fn::GetAtt"} and node["Fn::GetAtt"][0] in unknown:
        name, attribute = node["Fn::GetAtt"][0], ".".join(node["Fn::GetAtt"][1:])
        return (
            f"arn:aws:some:{REGION}:{ACCOUNT}:{name}/{name}/{name}"
            if attribute.endswith("Arn")
            else f"{name}.{attribute}"
        )
    if set(node) == {"Fn::Sub"}:
        text = node["Fn::Sub"] if isinstance(node["Fn::Sub"], str) else node["Fn::Sub"][0]
        filled = re.sub(r"\$\{(\w+)(\.\w+)?\}", lambda found: found[1] if found[1] in unknown else found[0], text)
        return {"Fn::Sub": filled if isinstance(node["Fn::Sub"], str) else [filled, node["Fn::Sub"][1]]}
    return {key: placed(each, unknown) for key, each in node.items()}
