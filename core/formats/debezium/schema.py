"""The schemas that Debezium's connector gives PostgreSQL's columns, as Kafka Connect's JSON converter writes them.

Sources of the rules: Debezium's documentation, "Debezium connector for PostgreSQL: Data type mappings" and "Data change
events"; Kafka Connect's JsonConverter (the order of a schema's fields). What a column's values are written like is
`debezium_raw`'s to say: both go by the same modes, so that what has one of these schemas is read as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from core.formats.debezium.columns import columns_of_schema
from core.formats.debezium.format import DebeziumFormat
from core.formats.debezium.raw import TYPE, units_of
from core.formats.debezium.values import MICRO, MILLI, Reader

Schema = dict[str, Any]

_CONNECT = "org.apache.kafka.connect.data."
_TIME = "io.debezium.time."
_DATA = "io.debezium.data."
_PLAIN = {
    "smallint": "int16",
    "integer": "int32",
    "bigint": "int64",
    "oid": "int64",
    "boolean": "boolean",
    "real": "float",
    "double precision": "double",
}
_NAMED = {"json": "Json", "jsonb": "Json", "uuid": "Uuid", "xml": "Xml", "ltree": "Ltree"}
_UNBOUNDED = 2**31 - 1
_SCALE: Schema = {"type": "int32", "optional": False, "field": "scale"}
_UNSCALED: Schema = {"type": "bytes", "optional": False, "field": "value"}
_json = msgspec.json.Encoder().encode


def column_schema(sql_type: str, settings: DebeziumFormat) -> Schema:
    """Of a column of a type, as PostgreSQL's `format_type` names it, without its name. Types of no mention are text."""
    matched = TYPE.fullmatch(sql_type)
    if matched is None:
        return {"type": "string"}
    name, first, second, zone, array = matched.groups()
    of = _of_name(name + (zone or ""), int(first) if first else None, int(second or 0), settings)
    return {"type": "array", "items": {**of, "optional": True}} if array else of


def _of_name(name: str, precision: int | None, scale: int, settings: DebeziumFormat) -> Schema:
    match name:
        case "numeric" | "money":
            return _decimal(2 if name == "money" else None if precision is None else scale, settings.decimals)
        case "date":
            return _date(settings.time_precision_mode)
        case "time without time zone":
            times = settings.time_precision_mode
            return _moment("Time", units_of(times, precision, whole_times=True), times)
        case "timestamp without time zone":
            times = settings.time_precision_mode
            return _moment("Timestamp", units_of(times, precision), times)
        case "timestamp with time zone":
            return {"type": "string", "name": f"{_TIME}ZonedTimestamp", "version": 1}
        case "time with time zone":
            return {"type": "string", "name": f"{_TIME}ZonedTime", "version": 1}
        case "bytea":
            return {"type": "bytes" if settings.binary_handling_mode == "bytes" else "string"}
        case "bit" if precision in (None, 1):
            return {"type": "boolean"}
        case "bit" | "bit varying":
            length = {"length": str(precision or _UNBOUNDED)}
            return {"type": "bytes", "name": f"{_DATA}Bits", "version": 1, "parameters": length}
        case "vector" | "halfvec":
            items, of = ("double", "Double") if name == "vector" else ("float", "Float")
            return {"type": "array", "items": {"type": items, "optional": False}, "name": f"{_DATA}{of}Vector"}
        case "sparsevec":
            return _sparse()
        case _ if name.startswith("interval"):
            if settings.interval_handling_mode == "string":
                return {"type": "string", "name": f"{_TIME}Interval", "version": 1}
            return {"type": "int64", "name": f"{_TIME}MicroDuration", "version": 1}
    if name in _NAMED:
        return {"type": "string", "name": f"{_DATA}{_NAMED[name]}", "version": 1}
    return {"type": _PLAIN.get(name, "string")}


def _decimal(scale: int | None, mode: str) -> Schema:
    if mode != "precise":
        return {"type": mode}
    if scale is None:
        fields = [_SCALE, _UNSCALED]
        return {"type": "struct", "fields": fields, "name": f"{_DATA}VariableScaleDecimal", "version": 1}
    return {"type": "bytes", "name": f"{_CONNECT}Decimal", "version": 1, "parameters": {"scale": str(scale)}}


def _date(times: str) -> Schema:
    if times == "isostring":
        return {"type": "string", "name": f"{_TIME}IsoDate", "version": 1}
    return {"type": "int32", "name": f"{_CONNECT}Date" if times == "connect" else f"{_TIME}Date", "version": 1}


def _moment(what: str, units: int | None, times: str) -> Schema:
    if units is None:
        return {"type": "string", "name": f"{_TIME}Iso{what}", "version": 1}
    if units == MILLI:
        name = f"{_CONNECT}{what}" if times == "connect" else f"{_TIME}{what}"
        return {"type": "int32" if what == "Time" else "int64", "name": name, "version": 1}
    return {"type": "int64", "name": f"{_TIME}{'Micro' if units == MICRO else 'Nano'}{what}", "version": 1}


def _sparse() -> Schema:
    pairs = {"type": "map", "keys": {"type": "int16", "optional": False}, "values": {"type": "double"}}
    fields = [{"type": "int16", "optional": False, "field": "dimensions"}, {**pairs, "field": "vector"}]
    return {"type": "struct", "fields": fields, "name": f"{_DATA}SparseDoubleVector"}


def key_schema(topic: str, types: Mapping[str, str], key: Sequence[str], settings: DebeziumFormat) -> bytes:
    """Of the events' keys in a topic."""
    return _json(_struct(f"{topic}.Key", _fields({name: types[name] for name in key}, False, settings)))


def value_schema(topic: str, types: Mapping[str, str], source: Mapping[str, Any], settings: DebeziumFormat) -> bytes:
    """Of the events' values in a topic, with rows of these columns and such a source block."""
    row = {**_struct(f"{topic}.Value", _fields(types, True, settings)), "optional": True}
    of_source = [{"type": _kind(value), "optional": True, "field": name} for name, value in source.items()]
    times = [{"type": "int64", "optional": True, "field": name} for name in ("ts_ms", "ts_us", "ts_ns")]
    fields = [
        {**row, "field": "before"},
        {**row, "field": "after"},
        {**_struct("io.debezium.connector.postgresql.Source", of_source), "field": "source"},
        {**_struct("event.block", _TRANSACTION), "optional": True, "field": "transaction"},
        {"type": "string", "optional": False, "field": "op"},
        *times,
    ]
    return _json({**_struct(f"{topic}.Envelope", fields), "version": 2})


_TRANSACTION: list[Schema] = [
    {"type": "string", "optional": False, "field": "id"},
    {"type": "int64", "optional": False, "field": "total_order"},
    {"type": "int64", "optional": False, "field": "data_collection_order"},
]


def _struct(name: str, fields: list[Schema]) -> Schema:
    return {"type": "struct", "fields": fields, "optional": False, "name": name}


def _fields(types: Mapping[str, str], optional: bool, settings: DebeziumFormat) -> list[Schema]:
    return [_field(column, column_schema(sql_type, settings), optional) for column, sql_type in types.items()]


def _field(column: str, of: Schema, optional: bool) -> Schema:
    first: Schema = {name: of[name] for name in ("type", "items", "fields") if name in of}
    return {**first, "optional": optional, **{name: of[name] for name in of if name not in first}, "field": column}


def _kind(value: Any) -> str:
    return "boolean" if isinstance(value, bool) else "int64" if isinstance(value, int) else "string"


def is_read_alike(schema: bytes, image: str | None, types: Mapping[str, str], settings: DebeziumFormat) -> bool:
    """Whether values that are written by these types and modes are what they are by a schema that an event had.

    They aren't where a column was added or its type changed since that event, or where the connector has other modes.
    `image` as in `columns_of_schema`, which says what is raised.
    """
    theirs = columns_of_schema(schema, image)
    ours = columns_of_schema(_json(_struct("row", _fields(types, True, settings))), None)
    return types.keys() <= theirs.named and all(
        _meaning(theirs.readers.get(name)) == _meaning(ours.readers.get(name)) for name in types
    )


def _meaning(reader: Reader | None) -> Any:
    """What a reader does, so that it compares."""
    if isinstance(reader, partial):
        return reader.func, {name: _meaning(value) for name, value in reader.keywords.items()}
    return reader
