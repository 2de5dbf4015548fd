"""What `freshet verify` asks of a source: the rows that are there now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from core.documents.step import DocumentSpec

Row = Mapping[str, Any]
"""A row in the source's own encoding."""


class State(Protocol):
    """One state of the source, as nearly as it can be had."""

    def count(self, table: str) -> int:
        """About how many rows the table has; 0 where nobody knows."""
        ...

    def rows(self, table: str, columns: Sequence[str], at_once: int) -> Iterator[list[dict[str, Any]]]:
        """The table's rows, at most `at_once` of them in memory. `columns` are all that are needed of them."""
        ...


class Source(Protocol):
    """Where changes come from. Methods raise ConfigError for a table that isn't there, Unavailable for a server."""

    def key(self, table: str) -> tuple[str, ...]:
        """The columns of the primary key, in its order; empty where there is none."""
        ...

    def columns(self, spec: DocumentSpec) -> tuple[str, ...]:
        """The columns to read for documents: those of the key, and those that are used and there."""
        ...

    def as_in_events(self, table: str, raw: Row) -> dict[str, Any]:
        """A row as the decoder gives it for its events."""
        ...

    def raw_row(self, table: str, key: Row) -> dict[str, Any] | None:
        """The row of this key now; None where there is none. `key` as a change has it, or as text."""
        ...

    def snapshot(self) -> AbstractContextManager[State]:
        """A state to read tables in."""
        ...
