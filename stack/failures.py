"""Connectors of Kafka Connect that have failed, or whose task has: the worker runs on, and no job misses them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from core.errors import brief
from flink_jobs.running.failures import root_cause

_PATIENCE_S = 5.0
_LONGEST = 500
_CLASSES = re.compile(r"^(?:(?:\w+\.)+[A-Z][\w$]*: )+")
# what Connect says of a NaN or an infinity in a numeric column that must not be null: Debezium made it null
_SPECIAL = re.compile(r"null used for required field: \"[^\"]{1,200}\", schema type: BYTES")


@dataclass(frozen=True, slots=True)
class Failed:
    """A connector that tells of no more changes: why, one line without passwords, and what to do."""

    connector: str
    cause: str
    remedy: str

    def __str__(self) -> str:
        """All of it as people read it."""
        return f"Connector {self.connector} has failed, and tells of no more changes: {self.cause}. {self.remedy}"


def failed(url: str) -> tuple[Failed, ...]:
    """Those of the worker whose REST interface is at `url`; none where it doesn't answer."""
    try:
        answer = httpx.get(
            f"{url}/connectors", params=[("expand", "status"), ("expand", "info")], timeout=_PATIENCE_S
        ).raise_for_status()
    except httpx.HTTPError:
        return ()
    return tuple(
        found for name, connector in sorted(answer.json().items()) if (found := _of(name, connector)) is not None
    )


def _of(name: str, connector: Mapping[str, Any]) -> Failed | None:
    status = connector["status"]
    traces = [part.get("trace", "") for part in (status["connector"], *status["tasks"]) if part["state"] == "FAILED"]
    if not traces:
        return None
    cause = redacted(_CLASSES.sub("", root_cause("\n".join(traces))), connector.get("info", {}).get("config", {}))
    return Failed(name, brief(cause, _LONGEST).rstrip(". "), _remedy(cause))


def _remedy(cause: str) -> str:
    if _SPECIAL.search(cause):
        return (
            "If the column is a numeric with a NaN or an infinity, set decimal.handling.mode to string at the "
            "connector, and below format.debezium in the pipeline file: docs/local-stack.md, Debezium, has the commands"
        )
    return "Once the cause is gone `freshet stack up` starts it again, where it stopped"


def redacted(text: str, config: Mapping[str, str]) -> str:
    """The text without the password of a connector's configuration."""
    password = config.get("database.password")
    return text.replace(password, "***") if password else text
