"""How a Debezium connector is set to write values, and what a pipeline must know of it.

Source of the rules: Debezium's documentation, "Debezium connector for PostgreSQL: Connector properties" and "Data type
mappings", and the same of "Debezium connector for MySQL".
"""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import md5
from typing import Any, Literal, get_args
from uuid import UUID

from core.formats.debezium.columns import Columns, columns_of_types
from core.formats.tables import ITSELF, Tables

UNAVAILABLE = "__debezium_unavailable_value"
"""What stands for an unchanged TOAST column unless the connector's `unavailable.value.placeholder` says otherwise."""

_POINTS = (
    "0101000020E6100000000000FC83D797C1000000FC83D797C1",
    "0101000020E61000000C21E7FDFF7F66401842CEFBFF7F5640",
)

Decimals = Literal["precise", "string", "double"]
Times = Literal["adaptive", "adaptive_time_microseconds", "connect", "isostring", "microseconds", "nanoseconds"]
Binaries = Literal["bytes", "base64", "base64-url-safe", "hex"]
Intervals = Literal["numeric", "string"]
_ENCODED: Mapping[Decimals | None, bool | None] = {"precise": True, "string": False, "double": False, None: None}


@dataclass(frozen=True)
class DebeziumFormat:
    """The connector's own options, under their own names and with their own defaults.

    types  table (`schema.table`) to column to SQL type, as in `numeric(10,2)`, `date`, `timestamp(3)`, `timestamptz`,
           `bytea`, `vector`, `date[]`: for converters that publish no schema. Where an event has its schema, what the
           schema says of a column goes first. A column that is in neither keeps the value that Debezium gives.

    keys   table to columns that tell its rows apart, where the pipeline names them; messages' keys aren't needed then
    used   table to the columns that documents use: their values are refused where nothing tells what they mean
    tables which tables' rows are another's documents

    decimal_handling_mode  None: nobody said it, so it is Debezium's default, and what may be of another mode is refused

    Raises ValueError for an option's value that Debezium doesn't have.
    """

    unavailable_value_placeholder: str = UNAVAILABLE
    decimal_handling_mode: Decimals | None = None
    time_precision_mode: Times = "adaptive"
    binary_handling_mode: Binaries = "bytes"
    interval_handling_mode: Intervals = "numeric"
    types: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    used: Mapping[str, frozenset[str]] = field(default_factory=dict)
    tables: Tables = ITSELF

    def __post_init__(self) -> None:
        modes = {
            "decimal_handling_mode": Decimals,
            "time_precision_mode": Times,
            "binary_handling_mode": Binaries,
            "interval_handling_mode": Intervals,
        }
        for name, allowed in modes.items():
            value = getattr(self, name)
            if value not in get_args(allowed) and (value is not None or allowed is not Decimals):
                raise ValueError(f"{name} is {getattr(self, name)!r}, must be one of {', '.join(get_args(allowed))}")
        if not self.unavailable_value_placeholder:
            raise ValueError("unavailable_value_placeholder is empty, must be what the connector's option says")
        self._placeholder()

    def _placeholder(self) -> bytes:
        text = self.unavailable_value_placeholder
        if not text.startswith("hex:"):
            return text.encode()
        try:
            return bytes.fromhex(text[4:])
        except ValueError:
            raise ValueError(f"unavailable_value_placeholder is {text!r}: what follows hex: must be octets") from None

    @cached_property
    def markers(self) -> tuple[Any, ...]:
        """Each value that stands for one that didn't travel, whatever its column's type and the binary mode.

        As the connector's UnchangedToastedPlaceholder makes them: text; bytes; arrays of text, bytes, signed bytes (for
        integers and dates) and a UUID; hstore as a map or JSON; PostGIS's two fixed points.
        """
        raw = self._placeholder()
        text = raw.decode(errors="replace")
        encoded = dict.fromkeys((b64encode(raw).decode(), urlsafe_b64encode(raw).decode(), raw.hex()))
        hstore = json.dumps({text: text}, ensure_ascii=False, separators=(",", ":"))
        uuid = str(UUID(bytes=md5(raw, usedforsecurity=False).digest(), version=3))
        signed = [byte - 256 if byte > 127 else byte for byte in raw]
        arrays = [[item] for item in (text, *encoded, uuid)]
        points = [{"wkb": b64encode(bytes.fromhex(point)).decode(), "srid": 4326} for point in _POINTS]
        return (text, *encoded, hstore, *arrays, signed, {text: text}, *points)

    @cached_property
    def _marking_texts(self) -> frozenset[str]:
        return frozenset(each for each in self.markers if isinstance(each, str))

    def marked(self, row: Mapping[str, Any]) -> frozenset[str]:
        """The columns of a row whose values stand for ones that didn't travel."""
        texts, others = self._marking_texts, self.markers
        return frozenset(
            [
                name
                for name, value in row.items()
                if (value in texts if type(value) is str else type(value) in (list, dict) and value in others)
            ]
        )

    @property
    def decimals(self) -> Decimals:
        """How the connector writes decimals: as it was said, or by default."""
        return self.decimal_handling_mode or "precise"

    @cached_property
    def untyped(self) -> dict[str, tuple[str, ...]]:
        """By table, the columns that documents use and `types` says nothing of."""
        typed = {table: self.types.get(table, {}) for table in self.used}
        return {table: tuple(sorted(names - typed[table].keys())) for table, names in self.used.items()}

    @cached_property
    def columns(self) -> dict[str, Columns]:
        """What `types` says, by table."""
        return {
            table: columns_of_types(
                types,
                encoded_decimals=_ENCODED[self.decimal_handling_mode],
                times=self.time_precision_mode,
                binaries=self.binary_handling_mode,
            )
            for table, types in self.types.items()
        }
