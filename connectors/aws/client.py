"""A client of an AWS service, or of what speaks like one: region, endpoint, and boto3's usual chain of credentials."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.utils import parse_timestamp

from core.errors import ConfigError

_CONNECT_SECONDS = 5
_READ_SECONDS = 20
_CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class Aws:
    """Where a service is. None leaves it to boto3's own settings (AWS_REGION, AWS_ENDPOINT_URL, the profile's)."""

    region: str | None = None
    endpoint: str | None = None


def client(service: str, aws: Aws, where: str, read_s: float = _READ_SECONDS) -> Any:
    """A client for several threads. It repeats no call itself: its callers decide when to ask again.

    where   names the setting in an error
    read_s  an answer, or a part of one that is streamed, may take

    Raises ConfigError where no region is known.
    """
    settings = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=read_s,
        max_pool_connections=_CONNECTIONS,
        retries={"total_max_attempts": 1},
    )
    # a session of its own: boto3's shared one is not for several threads
    session = botocore.session.get_session()
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_time)
    try:
        return boto3.session.Session(botocore_session=session).client(
            service,
            region_name=aws.region or os.environ.get("AWS_REGION"),  # which boto3, alone of AWS's SDKs, leaves out
            endpoint_url=aws.endpoint,
            config=settings,
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigError([f"{where}: {error}; set region, or AWS_REGION"]) from None


def _time(given: Any) -> datetime:
    # botocore's own takes half of the time that a batch of records takes
    return datetime.fromtimestamp(given, UTC) if isinstance(given, int | float) else parse_timestamp(given)
