"""A service of a compose file, with the rules that all of ours keep: loopback ports, secrets by file, health checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_HEALTH = {"interval": "10s", "timeout": "10s", "retries": 12, "start_period": "30s"}
# there are no wheels of apache-flink for other machines
_PLATFORM = "linux/amd64"


@dataclass(frozen=True)
class Config:
    """A file in a container: its `text`, or a file of the repository, `source`."""

    name: str
    target: str
    text: str | None
    source: str | None


@dataclass(frozen=True)
class Service:
    """One container. It is of a pulled `image`, or of a `target` of our Dockerfile.

    Texts are what the container sees: Compose's own `${…}` isn't to be used in them.
    """

    image: str | None = None
    target: str | None = None
    build_arguments: Mapping[str, str] = field(default_factory=dict)
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Sequence[str] = ()
    configs: Sequence[Config] = ()
    volumes: Sequence[str] = ()
    ports: Sequence[str] = ()
    depends_on: Sequence[str] = ()
    healthcheck: Sequence[str] = ()
    healthcheck_every: str = "10s"
    profiles: Sequence[str] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def rendered(self) -> dict[str, Any]:
        """The service as the compose file has it."""
        parts: dict[str, Any] = {
            "image": self.image or f"freshet-{self.target}:0.1.0",
            "platform": _PLATFORM if self.target else "",
            "build": self._build(),
            "profiles": list(self.profiles),
            "entrypoint": [_literal(part) for part in self.entrypoint],
            "command": [_literal(part) for part in self.command],
            "environment": {name: _literal(value) for name, value in self.environment.items()},
            "secrets": list(self.secrets),
            "configs": [{"source": each.name, "target": each.target} for each in self.configs],
            "volumes": list(self.volumes),
            "ports": list(self.ports),
            "depends_on": {name: {"condition": "service_healthy"} for name in self.depends_on},
            "healthcheck": self._healthcheck(),
            "restart": "unless-stopped",
            "security_opt": ["no-new-privileges:true"],
            **self.extra,
        }
        return {name: part for name, part in parts.items() if part}

    def described_configs(self) -> Iterator[tuple[str, dict[str, str]]]:
        """The service's configs as the file's own section has them."""
        for each in self.configs:
            yield each.name, {"file": each.source} if each.source else {"content": _literal(each.text or "")}

    def named_volumes(self) -> list[str]:
        """The volumes that aren't folders of the machine."""
        return [volume.partition(":")[0] for volume in self.volumes if not volume.startswith(".")]

    def _healthcheck(self) -> dict[str, Any]:
        if not self.healthcheck:
            return {}
        return {"test": [_literal(part) for part in self.healthcheck], **_HEALTH, "interval": self.healthcheck_every}

    def _build(self) -> dict[str, Any]:
        if self.target is None:
            return {}
        arguments = {"args": dict(self.build_arguments)} if self.build_arguments else {}
        return {"context": ".", "dockerfile": "deploy/docker/Dockerfile", "target": self.target, **arguments}


def config(name: str, target: str, text: str) -> Config:
    """A file of which the compose file has the text."""
    return Config(name, target, text, None)


def config_file(name: str, target: str, source: str) -> Config:
    """A file of the repository."""
    return Config(name, target, None, source)


def local(port: int, inside: int | None = None) -> str:
    """A port of the machine itself, which nobody else reaches."""
    return f"127.0.0.1:{port}:{inside or port}"


def shell(line: str) -> list[str]:
    """A line for the container's shell."""
    return ["/bin/sh", "-c", line]


def asked(url: str) -> str:
    """A health check in Python: fails where the address doesn't answer within 5 s, or answers with an error."""
    return f"import urllib.request as r; r.urlopen('{url}', timeout=5)"


def _literal(text: str) -> str:
    # Compose takes $ for a variable of its own
    return text.replace("$", "$$")
