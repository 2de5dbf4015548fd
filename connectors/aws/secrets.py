"""AWS Secrets Manager: the values that a pipeline file refers to instead of having them.

Source of the rules: AWS Secrets Manager API reference (GetSecretValue).
"""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from connectors.aws.client import Aws, client
from core.errors import ConfigError, Unavailable

_FOR_GOOD = (
    "ResourceNotFoundException",
    "AccessDeniedException",
    "DecryptionFailure",
    "InvalidParameterException",
    "InvalidRequestException",
    "UnrecognizedClientException",
)


class SecretsManager:
    """Asks each time for what a secret is now. Values are in no message and no log."""

    def __init__(self, aws: Aws) -> None:
        """Connects when asked."""
        self._aws = aws

    def value(self, name: str, key: str | None) -> str:
        """The secret's text; with `key`, that member of the JSON object which it is.

        name  a secret's name or ARN; an ARN says the region too

        Raises ConfigError where there is no such secret or key, or it may not be read; Unavailable where nobody
        answers.
        """
        text = self._ask(name)
        return text if key is None else _member(text, name, key)

    def _ask(self, name: str) -> str:
        region = name.split(":")[3] if name.startswith("arn:") else self._aws.region
        what = f"secret {name}"
        try:
            answer = client("secretsmanager", Aws(region, self._aws.endpoint), what).get_secret_value(SecretId=name)
        except ClientError as error:
            code, message = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
            if code in _FOR_GOOD:
                raise ConfigError([f"{what}: {code}: {message}"]) from None
            raise Unavailable(f"{what}: Secrets Manager says {code}") from None
        except BotoCoreError as error:
            raise Unavailable(f"{what}: Secrets Manager doesn't answer: {error}") from None
        if "SecretString" not in answer:
            raise ConfigError([f"{what} is binary; only text can be a setting"])
        return str(answer["SecretString"])


def _member(text: str, name: str, key: str) -> str:
    try:
        members: Any = json.loads(text)
    except ValueError:
        members = None
    # what is there isn't quoted, nor why it is no JSON: both may show the secret
    if not isinstance(members, dict):
        raise ConfigError([f"secret {name} is no JSON object, so it has no key {key}: leave the key out"])
    if key not in members:
        raise ConfigError([f"secret {name} has no key {key}; it has {', '.join(sorted(map(str, members))) or 'none'}"])
    return str(members[key])
