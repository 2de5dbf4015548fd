"""Which tables' events are one document table's: those of a PostgreSQL table's partitions, or of shards of one shape.

Source of the rules: PostgreSQL's documentation, "CREATE PUBLICATION" (`publish_via_partition_root` is off by default:
changes name the partition, a snapshot the table that was asked for); Debezium's, `table.include.list` (regular
expressions that match a table's whole name).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from core.errors import DecodeError

_MOST_REMEMBERED = 10_000
_LONGEST_NAME = 200
_OF_PARTITION = re.compile(r"[_\-.$]?[pP]?\d[\w\-]*|[_\-$](?:default|p|part|partition)[\w\-]*", re.ASCII)


@dataclass(frozen=True)
class Tables:
    """The tables that a pipeline names, each with patterns of others whose rows are its documents too.

    patterns  table to regular expressions of whole names
    """

    patterns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def _compiled(self) -> dict[str, re.Pattern[str]]:
        return {table: re.compile("|".join(f"(?:{each})" for each in many)) for table, many in self.patterns.items()}

    @cached_property
    def _known(self) -> dict[str, str]:
        return {}

    def of(self, table: str) -> str:
        """The table whose documents the rows of `table` are; itself where no pattern matches it."""
        if not self.patterns or table in self.patterns or len(table) > _LONGEST_NAME:
            return table
        found = self._known.get(table)
        if found is None:
            found = next((named for named, pattern in self._compiled.items() if pattern.fullmatch(table)), table)
            if len(self._known) < _MOST_REMEMBERED:
                self._known[table] = found
        return found

    def refuse_truncation(self, table: str) -> None:
        """Raises DecodeError where the table's rows are some of another one's documents: nothing tells which."""
        named = self.of(table)
        if named != table:
            raise DecodeError(
                f"{table[:_LONGEST_NAME]} was truncated, whose rows are documents of {named}: nobody tells which "
                "of them these were; freshet verify --repair removes them"
            )


ITSELF = Tables()
"""Each table's rows are its own documents."""


def kin_of(table: str, named: frozenset[str]) -> str:
    """The named table that another one looks like a partition of, as `ev_2025` of `ev`; "" where there is none."""
    return next((each for each in named if table.startswith(each) and _OF_PARTITION.fullmatch(table[len(each) :])), "")


def skipped_kin(table: str, named: str) -> str:
    """What to say where a table's events are skipped that looks like a partition of a named one."""
    return (
        f"events of {table[:_LONGEST_NAME]} are skipped: the pipeline doesn't name it, it looks like a partition of "
        f"{named}. Set publish_via_partition_root on the publication, or documents.{named}.tables"
    )
