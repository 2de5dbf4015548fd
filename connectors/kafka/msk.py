"""Login to Amazon MSK by IAM, for librdkafka: a signed URL as the token of SASL OAUTHBEARER.

Source: MSK Developer Guide, "Configure clients to use IAM access control". A broker knows both this and AWS_MSK_IAM,
which is the Java client's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from core.errors import ConfigError

MECHANISM = "AWS_MSK_IAM"

_HOST = re.compile(r"\.kafka(?:-serverless)?\.([a-z0-9-]{1,30})\.amazonaws\.com")
_OPTION = re.compile(r"""\b(awsProfileName|awsRoleArn)=["']([^"']*)["']""")
_SIGNER = "aws_msk_iam_sasl_signer"


def is_here() -> bool:
    """Whether what signs tokens is installed: it isn't where a job runs on a service, and comes with freshet[aws]."""
    return find_spec(_SIGNER) is not None


def options(servers: str, jaas: str) -> Mapping[str, Any]:
    """librdkafka's options for a cluster at `servers`; `jaas` names a profile or a role, as the Java client's has it.

    Raises ConfigError where no region is known.
    """
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "OAUTHBEARER",
        "oauth_cb": _tokens(region(servers), dict(_OPTION.findall(jaas))),
    }


def region(servers: str) -> str:
    """The cluster's region: its brokers' names have it, else AWS's usual variables. Raises ConfigError."""
    found = _HOST.search(servers)
    given = found[1] if found else os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not given:
        raise ConfigError(
            [f"source.kafka: {servers} names no region, and a login to MSK is signed for one: set AWS_REGION"]
        )
    return given


def _tokens(of_region: str, of: Mapping[str, str]) -> Callable[[str], tuple[str, float]]:
    """What librdkafka calls for a token: it and when it ends, in seconds since 1970. Credentials are asked anew."""

    def token(_: str) -> tuple[str, float]:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # an extra's, and boto3 takes its time

        if "awsRoleArn" in of:
            text, ends_ms = MSKAuthTokenProvider.generate_auth_token_from_role_arn(of_region, of["awsRoleArn"])
        elif "awsProfileName" in of:
            text, ends_ms = MSKAuthTokenProvider.generate_auth_token_from_profile(of_region, of["awsProfileName"])
        else:
            text, ends_ms = MSKAuthTokenProvider.generate_auth_token(of_region)
        return text, ends_ms / 1000

    return token
