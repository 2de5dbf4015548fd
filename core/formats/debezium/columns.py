"""How to read a table's columns: from the schema that an event brings, or from SQL types.

Sources of the rules: Debezium's documentation, "Debezium connector for PostgreSQL: Data type mappings" and "Toasted
values", "Debezium connector for MySQL: Data type mappings"; Kafka Connect's JsonConverter for {schema, payload}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import msgspec

from core.formats.debezium import values
from core.formats.debezium.values import MICRO, MILLI, NANO, Reader

_json = msgspec.json.Decoder().decode
# The connector has placeholders for some types; an unchanged value of another that PostgreSQL left out becomes null.
_NULL_WHEN_LEFT_OUT = frozenset({"vector", "halfvec", "sparsevec", "geometry", "geography"})
_ARRAYS_WITH_PLACEHOLDER = frozenset(
    {"text", "character varying", "varchar", "character", "char", "bpchar", "json", "jsonb", "bytea", "uuid"}
    | {"integer", "int", "int4", "bigint", "int8", "date"}
)
_CONNECT = "org.apache.kafka.connect.data."
_DEBEZIUM_TIME = "io.debezium.time."
_LOGICAL: dict[str, Reader] = {
    f"{_CONNECT}Date": values.day,
    f"{_CONNECT}Time": partial(values.time, units=MILLI),
    f"{_CONNECT}Timestamp": partial(values.timestamp, units=MILLI),
    f"{_DEBEZIUM_TIME}Date": values.day,
    f"{_DEBEZIUM_TIME}Time": partial(values.time, units=MILLI),
    f"{_DEBEZIUM_TIME}MicroTime": partial(values.time, units=MICRO),
    f"{_DEBEZIUM_TIME}NanoTime": partial(values.time, units=NANO),
    f"{_DEBEZIUM_TIME}Timestamp": partial(values.timestamp, units=MILLI),
    f"{_DEBEZIUM_TIME}MicroTimestamp": partial(values.timestamp, units=MICRO),
    f"{_DEBEZIUM_TIME}NanoTimestamp": partial(values.timestamp, units=NANO),
    f"{_DEBEZIUM_TIME}ZonedTime": values.zoned,
    f"{_DEBEZIUM_TIME}ZonedTimestamp": values.zoned,
    f"{_DEBEZIUM_TIME}IsoDate": values.day,
    f"{_DEBEZIUM_TIME}IsoTime": values.local,
    f"{_DEBEZIUM_TIME}IsoTimestamp": values.local,
    f"{_DEBEZIUM_TIME}MicroDuration": partial(values.interval, units=MICRO),
    f"{_DEBEZIUM_TIME}NanoDuration": partial(values.interval, units=NANO),
    "io.debezium.data.VariableScaleDecimal": partial(values.decimal, scale=None),
    "io.debezium.data.Json": values.document,
}
_DECIMALS = (f"{_CONNECT}Decimal", "io.debezium.data.VariableScaleDecimal")
_NUMERIC = ("numeric", "decimal", "dec", "money")
_LOGICAL_NULL_WHEN_LEFT_OUT = frozenset(
    {"VariableScaleDecimal", "DoubleVector", "FloatVector", "SparseVector", "SparseDoubleVector"}
    | {"Geometry", "Geography"}
)
_ITEMS_WITH_PLACEHOLDER = frozenset({"string", "bytes", "int32", "int64"})
_NAMED_ITEMS_WITH_PLACEHOLDER = frozenset({"Json", "Uuid", "Date"})
# A numeric is moved out of its row only where it takes more room than the pointer to it: 4 digits are 2 bytes.
_DIGITS_NEVER_MOVED_OUT = 32
_UNBOUNDED = 2**31 - 1  # Debezium's length of a bit varying without one
_SQL_TYPE = re.compile(
    r"\s*+([a-z][a-z0-9_]*+(?: ++[a-z0-9_]++)*?)\s*+(?:\(\s*+(\d{1,9})\s*+(?:,\s*+(-?\d{1,9})\s*+)?\))?+\s*+"
    r"(with time zone|without time zone|unsigned|)\s*+((?:\[\d*\]\s*+)*+)",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Columns:
    """How to read the columns of one table; those of no mention stay as they come.

    readers   column to what makes its value what people write
    doubtful  columns whose type arrives as null where PostgreSQL didn't send the unchanged value
    numbers   columns whose values are decimals, which come as text
    named     every column whose type is known, those that need no reader too
    """

    readers: Mapping[str, Reader] = field(default_factory=dict)
    doubtful: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()
    named: frozenset[str] = frozenset()

    def or_else(self, types: Columns) -> Columns:
        """These, and of columns that have no type here what `types` says."""
        if types.named <= self.named:
            return self
        others = {name: read for name, read in types.readers.items() if name not in self.named}
        doubtful, numbers = types.doubtful - self.named, types.numbers - self.named
        return Columns(
            {**others, **self.readers}, self.doubtful | doubtful, self.numbers | numbers, self.named | types.named
        )


NOTHING_KNOWN = Columns()


def columns_of_types(types: Mapping[str, str], encoded_decimals: bool | None, times: str, binaries: str) -> Columns:
    """From SQL types, and the connector's modes for decimals (`precise` encodes them), times and binaries.

    `encoded_decimals` is None where nobody has said so.

    Types that Debezium writes as people do, and unknown ones, have no reader.
    """
    readers: dict[str, Reader] = {}
    doubtful = set()
    for name, sql_type in types.items():
        reader, null_when_unchanged = _of_type(sql_type, encoded_decimals, times, binaries)
        if reader is not None:
            readers[name] = reader
        if null_when_unchanged:
            doubtful.add(name)
    numbers = frozenset(name for name, sql_type in types.items() if _is_decimal(sql_type))
    return Columns(readers, frozenset(doubtful), numbers, frozenset(types))


def _is_decimal(sql_type: str) -> bool:
    return sql_type.strip().lower().startswith(_NUMERIC)


def _of_type(sql_type: str, encoded_decimals: bool | None, times: str, binaries: str) -> tuple[Reader | None, bool]:
    sql_type = sql_type.rpartition(".")[2].replace('"', "")  # an extension's type may come with its schema
    matched = _SQL_TYPE.fullmatch(sql_type)
    if matched is None:  # as in geometry(Point,4326)
        return None, sql_type.partition("(")[0].strip().lower() in _NULL_WHEN_LEFT_OUT
    name, first, second, zone, array = matched.groups()
    name = " ".join(name.lower().split())
    if name.endswith((" with time zone", " without time zone")):
        name, _, zone = name.partition(" ")
    if zone.lower().startswith("with "):
        name += "tz"
    if name.startswith("interval "):  # as in interval day to second
        name = "interval"
    digits = int(first) if first else None
    reader = _of_name(name, digits, int(second or 0), encoded_decimals, times, binaries)
    if array:
        doubtful = name not in _ARRAYS_WITH_PLACEHOLDER
        return None if reader is None else partial(values.each, read=reader), doubtful
    unbounded = name in ("numeric", "decimal") and (digits is None or digits > _DIGITS_NEVER_MOVED_OUT)
    return reader, unbounded or name in _NULL_WHEN_LEFT_OUT


def _of_name(
    name: str, precision: int | None, scale: int, encoded_decimals: bool | None, times: str, binaries: str
) -> Reader | None:
    match name:
        case "numeric" | "decimal" | "dec":
            return partial(values.decimal, scale=None if precision is None else scale, encoded=encoded_decimals)
        case "money":
            return partial(values.decimal, scale=2, encoded=encoded_decimals)
        case "date":
            return values.day
        case "time":
            return partial(values.time, units=_units(times, 6 if precision is None else precision, whole_times=True))
        case "timestamp":
            if times == "isostring":
                return values.local
            return partial(_timestamp_or_zoned, units=_units(times, 6 if precision is None else precision))
        case "datetime":
            return partial(values.timestamp, units=_units(times, precision or 0))
        case "timestamptz" | "timetz":
            return values.zoned
        case "interval":
            return partial(values.interval, units=MICRO)
        case "json" | "jsonb":
            return values.document
        case "bit" if precision is not None and precision > 1:
            return partial(values.bits, length=precision)
        case "bit varying" | "varbit":
            return partial(values.bits, length=precision or _UNBOUNDED)
        case "bytea" | "binary" | "varbinary" | "blob" | "tinyblob" | "mediumblob" | "longblob":
            return {"base64-url-safe": values.url_safe_base64, "hex": values.hexadecimal}.get(binaries)
    return None


def _timestamp_or_zoned(value: Any, units: int) -> Any:
    # MySQL's timestamp is an instant: the connector sends it as PostgreSQL's timestamptz, as text in UTC.
    return values.zoned(value) if isinstance(value, str) else values.timestamp(value, units)


def _units(times: str, precision: int, whole_times: bool = False) -> int:
    match times:
        case "connect":
            return MILLI
        case "microseconds":
            return MICRO
        case "nanoseconds":
            return NANO
        case "adaptive_time_microseconds" if whole_times:
            return MICRO
    return MILLI if precision <= 3 else MICRO if precision <= 6 else NANO


@lru_cache(maxsize=256)
def columns_of_schema(schema: bytes, image: str | None) -> Columns:
    """From a Connect schema in JSON: that of its field `image`, or its own where that is None. Cached by its bytes.

    What isn't a struct's schema tells nothing about columns. Raises msgspec.DecodeError, UnicodeDecodeError or
    RecursionError where it isn't JSON.
    """
    struct = _json(schema)
    if image is not None:
        struct = next((field for field in _fields(struct) if field.get("field") == image), None)
    readers: dict[str, Reader] = {}
    doubtful, numbers, named = set(), set(), set()
    for column in _fields(struct):
        name, reader = column.get("field"), _of_schema(column)
        if not isinstance(name, str):
            continue
        named.add(name)
        if reader is not None:
            readers[name] = reader
        if _null_when_left_out(column):
            doubtful.add(name)
        if _is_number(column):
            numbers.add(name)
    return Columns(readers, frozenset(doubtful), frozenset(numbers), frozenset(named))


def _is_number(schema: Mapping[str, Any]) -> bool:
    items = schema.get("items")
    return schema.get("name") in _DECIMALS or (isinstance(items, dict) and items.get("name") in _DECIMALS)


def _fields(struct: Any) -> list[dict[str, Any]]:
    fields = struct.get("fields") if isinstance(struct, dict) else None
    return [field for field in fields if isinstance(field, dict)] if isinstance(fields, list) else []


def _of_schema(schema: Mapping[str, Any]) -> Reader | None:
    name = schema.get("name")
    if name == f"{_CONNECT}Decimal":
        return partial(values.decimal, scale=_parameter(schema, "scale"))
    if name == "io.debezium.data.Bits":
        length = _parameter(schema, "length")
        return partial(values.bits, length=_UNBOUNDED if length is None or length < 1 else length)
    if isinstance(name, str) and name in _LOGICAL:
        return _LOGICAL[name]
    items = schema.get("items")
    if schema.get("type") == "array" and isinstance(items, dict):
        reader = _of_schema(items)
        return None if reader is None else partial(values.each, read=reader)
    return None


def _null_when_left_out(schema: Mapping[str, Any]) -> bool:
    name = schema.get("name")
    items = schema.get("items")
    if isinstance(name, str):
        return name.rpartition(".")[2] in _LOGICAL_NULL_WHEN_LEFT_OUT
    if schema.get("type") != "array" or not isinstance(items, dict):
        return False
    inner, kind = items.get("name"), items.get("type")
    if isinstance(inner, str):
        return inner.rpartition(".")[2] not in _NAMED_ITEMS_WITH_PLACEHOLDER
    return isinstance(kind, str) and kind not in _ITEMS_WITH_PLACEHOLDER


def _parameter(schema: Mapping[str, Any], name: str) -> int | None:
    parameters = schema.get("parameters")
    value = parameters.get(name) if isinstance(parameters, dict) else None
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?\d{1,10}", value, re.ASCII) else None
