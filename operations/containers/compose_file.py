"""What a Compose file says of its services ("Compose file reference"): as much of it as ours has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from core.errors import ConfigError

_HEALTH = (("start_period", "0s"), ("interval", "30s"), ("timeout", "30s"))
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VOLUME = re.compile(r"([^:]+):([^:]+)(?::(ro|rw))?")
_SPAN = re.compile(r"(\d+)(ms|s|m|h)")


@dataclass(frozen=True)
class Health:
    """How a service is asked whether it is well: `command` as words, seconds."""

    command: tuple[str, ...]
    timeout_s: float
    within_s: float
    """How long it may take until it is well for the first time."""


@dataclass(frozen=True)
class Volume:
    """What lasts longer than a container, and may be in several, by its name."""

    name: str


@dataclass(frozen=True)
class Mount:
    """What a container has at `target`: a text, a file or folder of this machine, or a volume."""

    target: str
    content: str | Path | Volume
    read_only: bool = False


@dataclass(frozen=True)
class Service:
    """One service. `image` is its name without the version; `stage` that of our Dockerfile which makes it, or ""."""

    name: str
    image: str
    stage: str
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...]
    secrets: tuple[str, ...]
    after: tuple[str, ...]
    health: Health
    grace_s: float
    profiles: tuple[str, ...]


def read(file: Path) -> list[Service]:
    """The services of a file, those first that others wait for.

    Raises ConfigError where one has no health check, or waits for what isn't there.
    """
    parsed = yaml.safe_load(file.read_text(encoding="utf-8"))
    found = {name: _service(file, parsed, name, each) for name, each in parsed["services"].items()}
    after = {name: each.after for name, each in found.items()}
    wrong = [(name, other) for name, others in after.items() for other in others if other not in found]
    try:
        # the sorter would take an absent one for a service that waits for nothing
        ordered = [found[name] for name in TopologicalSorter(after).static_order() if not wrong]
    except CycleError as error:
        wrong = [(error.args[1][1], error.args[1][0])]
    if wrong:
        name, other = wrong[0]
        raise ConfigError([f"{file}: services.{name}.depends_on: {other} is no service that can be first"])
    return ordered


def profiles(file: Path) -> list[str]:
    """The profiles that `.env` beside the file asks for."""
    beside = file.parent / ".env"
    lines = beside.read_text(encoding="utf-8").splitlines() if beside.exists() else []
    asked = [line.partition("=")[2] for line in lines if line.startswith("COMPOSE_PROFILES=")]
    return asked[-1].split(",") if asked else []


def _service(file: Path, parsed: Mapping[str, Any], name: str, service: Mapping[str, Any]) -> Service:
    if "healthcheck" not in service:
        raise ConfigError([f"{file}: services.{name} has no healthcheck, so nobody knows when it runs"])
    configs = [_config(file, parsed["configs"][each["source"]], each["target"]) for each in service.get("configs", ())]
    return Service(
        name=_name(name),
        image=str(service["image"]).partition(":")[0],
        stage=str(service.get("build", {}).get("target", "")),
        entrypoint=_words(service.get("entrypoint", ())),
        command=_words(service.get("command", ())),
        environment=_environment(service.get("environment", {})),
        mounts=(*configs, *(_volume(file, name, each) for each in service.get("volumes", ()))),
        secrets=tuple(map(_name, service.get("secrets", ()))),
        after=tuple(service.get("depends_on", ())),
        health=_health(service["healthcheck"]),
        grace_s=_seconds(service.get("stop_grace_period", "10s")),
        profiles=tuple(service.get("profiles", ())),
    )


def _config(file: Path, config: Mapping[str, str], target: str) -> Mount:
    return Mount(target, file.parent / config["file"] if "file" in config else _literal(config["content"]))


def _volume(file: Path, service: str, volume: object) -> Mount:
    found = _VOLUME.fullmatch(volume) if isinstance(volume, str) else None
    if found is None:
        place = f"{file}: services.{service}.volumes"
        raise ConfigError(
            [f"{place}: {volume} must be a name or a place, ':', a path, and ':ro' where it is only read"]
        )
    source, target, option = found.groups()
    content = (file.parent / source).resolve() if source[0] in "./" else Volume(_name(source))
    return Mount(target, content, option == "ro")


def _environment(variables: Mapping[str, object] | Sequence[str]) -> dict[str, str]:
    """Compose takes NAME=VALUE lines in place of a mapping ("environment" in its reference)."""
    pairs = variables.items() if isinstance(variables, Mapping) else (each.partition("=")[::2] for each in variables)
    return {key: _literal(str(value)) for key, value in pairs}


def _name(text: str) -> str:
    """A name of which a file's or a folder's is made ("Services top-level elements" in the Compose file reference).

    Raises ConfigError where it could lead elsewhere.
    """
    if _NAME.fullmatch(text) is None:
        raise ConfigError([f"{text!r} is no name in a Compose file: letters, digits, '.', '_' and '-' alone"])
    return text


def _health(check: Mapping[str, Any]) -> Health:
    test = check["test"]
    kind, *words = ("CMD-SHELL", _literal(test)) if isinstance(test, str) else _words(test)
    command = tuple(words) if kind == "CMD" else ("/bin/sh", "-c", *words)
    # what stands where the file says nothing: HEALTHCHECK in the Dockerfile reference
    start_period, interval, timeout = (check.get(key, unset) for key, unset in _HEALTH)
    within = _seconds(start_period) + check.get("retries", 3) * _seconds(interval)
    return Health(command, _seconds(timeout), within)


def _words(command: str | Sequence[str]) -> tuple[str, ...]:
    """A command as words: one that is a text is split as a shell splits it, as Compose does."""
    return tuple(_literal(each) for each in (shlex.split(command) if isinstance(command, str) else command))


def _literal(text: str) -> str:
    return str(text).replace("$$", "$")


def _seconds(span: str) -> float:
    return sum(int(number) * _SECONDS[unit] for number, unit in _SPAN.findall(span))
