"""Recordings of a real Debezium as events, bare and with schemas, and the tables that they must end in."""

from __future__ import annotations

import csv
import gzip
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from core.change import Event
from core.formats.debezium.decoding import DebeziumFormat

FIXTURES = Path(__file__).parents[2] / "fixtures" / "debezium"
RECORDINGS = ("events", "incremental_snapshot", "snapshot", "workload")

TYPES = {
    "public.items": {
        "id": "integer", "name": "text", "price": "numeric(10,2)", "big": "numeric", "created": "timestamptz",
        "ts": "timestamp", "ts3": "timestamp(3)", "d": "date", "tm": "time", "tmz": "timetz", "j": "jsonb",
        "arr": "text[]", "b": "bytea", "dbl": "double precision", "iv": "interval", "emb": "vector(3)",
    },
    "public.items_full": {"price": "numeric(10,2)"},
    "public.svs": {
        "price": "numeric(10,2)", "big": "numeric", "created": "timestamp with time zone", "d": "date", "h": "numeric",
        "ts": "timestamp without time zone", "iv": "interval", "v": "vector", "hv": "halfvec", "sv": "sparsevec",
        "dbl": "double precision", "rl": "real",
    },
    "public.toast": {"v": "vector", "h": "numeric", "b": "bytea", "ta": "text[]", "ia": "int[]", "j": "json"},
    "public.vfull": {"v": "vector"},
    "public.numpk": {"id": "numeric(20,0)"},
    "public.documents": {"updated_at": "timestamptz"},
    "public.customers": {"updated_at": "timestamptz"},
}  # fmt: skip
FORMAT = DebeziumFormat(types=TYPES)


@cache
def lines(recording: str) -> list[dict[str, Any]]:
    with gzip.open(FIXTURES / f"{recording}.jsonl.gz", "rt", encoding="utf-8") as source:
        return [json.loads(line) for line in source]


def event(line: dict[str, Any]) -> Event:
    return Event(
        line["topic"],
        line["partition"],
        line["offset"],
        _encoded(line["key"]),
        _encoded(line["value"]),
        {name: text.encode() for name, text in line["headers"]},
    )


def _encoded(value: Any) -> bytes | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def with_schema(line: dict[str, Any]) -> dict[str, Any]:
    """The line as the JSON converter writes it where `schemas.enable` is on."""
    value = line["value"]
    if value is None:
        return line
    source = value.get("source") or {}
    types = TYPES.get(f"{source.get('schema')}.{source.get('table')}", {})
    images = [struct(types, value[image], image) for image in ("before", "after") if isinstance(value.get(image), dict)]
    key = line["key"]
    return {
        **line,
        "key": None if key is None else {"schema": struct(types, key, None), "payload": key},
        "value": {"schema": {"type": "struct", "fields": images, "name": "envelope"}, "payload": value},
    }


def struct(types: dict[str, str], row: dict[str, Any], field: str | None) -> dict[str, Any]:
    fields = [{**_logical(types.get(name, "text")), "optional": True, "field": name} for name in row]
    return {"type": "struct", "fields": fields, "optional": False} | ({} if field is None else {"field": field})


def _logical(sql_type: str) -> dict[str, Any]:
    scaled = re.fullmatch(r"numeric\((\d+),(\d+)\)", sql_type)
    if scaled:
        parameters = {"scale": scaled[2], "connect.decimal.precision": scaled[1]}
        return {"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": parameters}
    logical = {
        "numeric": ("struct", "io.debezium.data.VariableScaleDecimal"),
        "timestamptz": ("string", "io.debezium.time.ZonedTimestamp"),
        "timestamp with time zone": ("string", "io.debezium.time.ZonedTimestamp"),
        "timestamp": ("int64", "io.debezium.time.MicroTimestamp"),
        "timestamp without time zone": ("int64", "io.debezium.time.MicroTimestamp"),
        "timestamp(3)": ("int64", "io.debezium.time.Timestamp"),
        "date": ("int32", "io.debezium.time.Date"),
        "time": ("int64", "io.debezium.time.MicroTime"),
        "timetz": ("string", "io.debezium.time.ZonedTime"),
        "interval": ("int64", "io.debezium.time.MicroDuration"),
        "vector": ("array", "io.debezium.data.vector.DoubleVector"),
        "vector(3)": ("array", "io.debezium.data.vector.DoubleVector"),
        "halfvec": ("array", "io.debezium.data.vector.FloatVector"),
        "sparsevec": ("struct", "io.debezium.data.vector.SparseDoubleVector"),
        "json": ("string", "io.debezium.data.Json"),
        "jsonb": ("string", "io.debezium.data.Json"),
    }
    kind, name = logical.get(sql_type, ("string", None))
    return {"type": kind, "name": name, "version": 1} if name else {"type": kind}


def true_rows(recording: str, table: str) -> list[dict[str, str]]:
    """The table's last rows as PostgreSQL writes them; "" is also a null."""
    path = FIXTURES / f"{recording}_final_{table}.csv.gz"
    with gzip.open(path, "rt", newline="", encoding="utf-8") as source:
        return list(csv.DictReader(source))


def true_tables(recording: str) -> list[str]:
    start = f"{recording}_final_"
    return sorted(path.name.removeprefix(start).removesuffix(".csv.gz") for path in FIXTURES.glob(f"{start}*.csv.gz"))
