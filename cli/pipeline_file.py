"""A pipeline file, read for a command: as `core.config_file` does, and the secrets that it refers to are asked for."""

from __future__ import annotations

from pathlib import Path

from core import config_file
from core.config import Pipeline
from core.errors import ConfigError


def load(path: Path) -> Pipeline:
    """Read a pipeline file.

    Raises ConfigError where it is wrong, or a secret isn't there; Unavailable where nobody tells.
    """
    return config_file.load(path, secret=_secret)


def _secret(name: str, key: str | None) -> str:
    # imported late: few files refer to secrets, and boto3 takes half a second
    try:
        from connectors.aws import Aws
        from connectors.aws_secrets import SecretsManager
    except ModuleNotFoundError:
        raise ConfigError([f"secret {name}: needs boto3, which isn't installed: install freshet[aws]"]) from None
    return SecretsManager(Aws()).value(name, key)
