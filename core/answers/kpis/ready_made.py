"""The KPIs of this folder, by their files' names. A KPI that is added is a file here, with what it is keyed by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

_KEY = "-- key: "


@dataclass(frozen=True, slots=True)
class ReadyMade:
    """A query over the views `turns` and `ratings`, and the columns that tell its rows apart."""

    sql: str
    key: tuple[str, ...]


def _read(file: Path) -> ReadyMade:
    sql = file.read_text(encoding="utf-8")
    key = next(line.removeprefix(_KEY) for line in sql.splitlines() if line.startswith(_KEY))
    return ReadyMade(sql, tuple(each.strip() for each in key.split(",")))


READY_MADE: Mapping[str, ReadyMade] = MappingProxyType(
    {file.stem: _read(file) for file in sorted(Path(__file__).parent.glob("*.sql"))}
)
"""By the name that a pipeline file has for it."""
