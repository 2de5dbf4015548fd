"""Rows that Debezium's transformation "New Record State Extraction" (`ExtractNewRecordState`) took out of envelopes.

Source of the rules: Debezium's documentation of it: it keeps a record's headers, among them the connector's own
(`__debezium.context.…`, and those of a changed key), and adds `__deleted` (`delete.tombstone.handling.mode: rewrite`)
and what `add.fields` and `add.headers` name, behind `__`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.change import Event
from core.formats.debezium.columns import Columns
from core.formats.debezium.envelope import storable

_ADDED = ("__deleted", "__op")
_HEADER = "__debezium."
_OF_SOURCE = "__source_"


def is_unwrapped(event: Event, row: Mapping[str, Any]) -> bool:
    """Whether a row shows that Debezium wrote it. One that shows nothing may be Debezium's all the same."""
    if any(name.startswith(_HEADER) or name in _ADDED for name in event.headers):
        return True
    return any(name in row for name in _ADDED) or any(name.startswith(_OF_SOURCE) for name in row)


def decimals(row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """The columns that hold decimals which are known by their shape, {scale, value}, as people write them."""
    nested = (name for name, value in row.items() if type(value) in (dict, list) and name not in columns.readers)
    return {name: storable(row[name]) for name in nested}
