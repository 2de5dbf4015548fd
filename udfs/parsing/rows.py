"""Files of rows: CSV, JSON, Parquet and Avro, read a piece at a time."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from hashlib import blake2b
from itertools import chain, islice
from typing import Any

import msgspec

from core.documents.objects import Row, row_id
from core.errors import ObjectError, brief, not_installed, quote
from core.formats.json_values import exact_float, numbers_of
from udfs.parsing.text import LOOKED_AT, document, storable, text_of, wide

_LONGEST_HEADER = 2**20
_LONGEST_FIELD = 16 * 2**20
_ROWS_A_BATCH = 1_000
_LARGEST_INTEGER = 2**63 - 1
_VALUE = re.compile(r"[^\s\x1e]")

OBJECTS_OWN = ("bucket", "key", "version", "etag", "content_type", "last_modified")
"""Columns that each row has of its object."""

_TAKEN = (*OBJECTS_OWN, "row")

Columns = Sequence[str]
Record = Mapping[str, Any]

_in_order = msgspec.msgpack.Encoder(order="sorted").encode
_json = msgspec.json.Decoder(float_hook=exact_float).decode


def rows_of(records: Iterable[Record], key: str, key_columns: Columns, columns: Columns | None) -> Iterator[Row]:
    """A row each, with its number in the column `row`; `columns` as they are called then, with underscores.

    Row ids are the key columns' values; without key columns, a hash of the record, and a count from its second time on.
    Raises ObjectError where a key column is missing, null or empty, or two rows have the same key.
    """
    seen: Counter[str] = Counter()
    for number, record in enumerate(records, start=1):
        values = {storable(name): json_value(value) for name, value in record.items()}
        identity = _key(values, key, key_columns, number) if key_columns else _hash(values)
        seen[identity] += 1
        if seen[identity] > 1:
            if key_columns:
                raise ObjectError(
                    f"{key} has two rows, the second in row {number}, with the same {', '.join(key_columns)}: "
                    "name columns as key that tell its rows apart"
                )
            identity = f"{identity}-{seen[identity]}"
        values = {_apart(name): value for name, value in values.items()}
        if columns is not None:
            values = {name: value for name, value in values.items() if name in columns}
        numbers = {_apart(storable(name)) for name in numbers_of(record)}
        yield Row(identity, {**values, "row": number}, tuple(sorted(numbers & values.keys())))


def _apart(name: str) -> str:
    """A column's name beside those of the object's own."""
    return f"_{name}" if name in _TAKEN else name


def _key(values: Record, key: str, key_columns: Columns, number: int) -> str:
    missing = [name for name in key_columns if values.get(name) in (None, "")]
    if missing:
        raise ObjectError(f"{key} has no {', '.join(missing)} in row {number}, which is to tell its rows apart")
    if len(key_columns) == 1 and not isinstance(values[key_columns[0]], (dict, list)):
        return row_id(str(values[key_columns[0]]))
    return row_id(json.dumps([values[name] for name in key_columns], ensure_ascii=False, separators=(",", ":")))


def _hash(values: Record) -> str:
    return blake2b(_in_order(values), digest_size=12).hexdigest()


def json_value(value: Any) -> Any:
    """A value as JSON has it. See `udfs.parsing.files.parse`."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return storable(str(value))
    if isinstance(value, int):
        return value if -_LARGEST_INTEGER <= value <= _LARGEST_INTEGER else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return _text_or_base64(value)
    if isinstance(value, Mapping):
        return {storable(str(name)): json_value(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(inner) for inner in value]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return storable(str(value))


def _text_or_base64(value: bytes) -> str:
    try:
        return storable(value.decode("utf-8"))
    except UnicodeDecodeError:
        return b64encode(value).decode("ascii")


def csv_rows(
    content: bytes, key: str, charset: str | None, key_columns: Columns, columns: Columns | None
) -> Iterator[Row]:
    """The rows of a CSV file with a header; its beginning shows its separator (comma, semicolon, tab or bar)."""
    text = text_of(content, charset)
    csv.field_size_limit(_LONGEST_FIELD)
    return rows_of(_csv(text, key), key, key_columns, columns)


def _csv(text: str, key: str) -> Iterator[Record]:
    """As spreadsheets write it: blank rows are none, and columns without a name are none while nothing stands there."""
    separator, named = _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    header: list[str] = []
    try:
        if named:
            next(reader)
        for line in reader:
            if not any(map(str.strip, line)):
                continue
            if not header:
                header = _header(line, key)
                continue
            yield _named(header, line, key, reader.line_num)
    except csv.Error as error:
        raise ObjectError(f"{key} is no CSV in line {reader.line_num}: {error}") from error


def _header(line: list[str], key: str) -> list[str]:
    names = [name.strip() for name in line]
    while not names[-1]:
        names.pop()
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise ObjectError(f"{key} has {quote(twice[0])} twice in its header: give each column a name of its own")
    return names


def _named(header: list[str], line: list[str], key: str, number: int) -> Record:
    there, beyond = line[: len(header)], line[len(header) :]
    if len(there) < len(header):
        raise ObjectError(f"{key} has {len(line)} fields in line {number}, and {len(header)} in its header")
    unnamed = [value for name, value in zip(header, there, strict=True) if not name]
    if any(map(str.strip, beyond)) or any(map(str.strip, unnamed)):
        raise ObjectError(
            f"{key} has {len(line)} fields in line {number}, and {sum(map(bool, header))} in its header: one is in "
            "a column without a name; give each a name of its own, or quote what holds the separator"
        )
    return {name: value for name, value in zip(header, there, strict=True) if name}


def _separator(text: str) -> tuple[str, bool]:
    """The separator, and whether the first line is there to name it (`sep=;`, as Excel reads and writes it)."""
    header = text[:_LONGEST_HEADER].partition("\n")[0]
    if header[:4].lower() == "sep=" and len(header) == 5:
        return header[4], True
    return max(",;\t|", key=header.count), False


def jsonl(
    content: bytes, key: str, charset: str | None, key_columns: Columns, columns: Columns | None
) -> Iterator[Row]:
    """The rows of a file of JSON objects: one a line, one behind the other (as Firehose writes them), or in arrays."""
    return rows_of(_records(_values(content, key, charset), key), key, key_columns, columns)


def json_file(
    content: bytes, key: str, charset: str | None, key_columns: Columns, columns: Columns | None
) -> Iterator[Row]:
    """A file called `.json`: as `jsonl` where it holds objects, or an array of them.

    One object is one document: it has its own columns, and `title` and `text` of the file where it has none. Neither
    object nor array of objects is one text.
    """
    values = _values(content, key, charset)
    first = list(islice(values, 2))
    if len(first) == 1:
        ((_, only),) = first
        if isinstance(only, dict) and not key_columns:
            (row,) = rows_of([only], key, (), columns)
            of_file = document(key, None, text_of(content, charset))
            return iter([Row("", {**of_file.columns, **row.columns, "row": None}, row.numbers)])
        if _objects(only) is None:
            return iter([document(key, None, text_of(content, charset))])
    return rows_of(_records(chain(first, values), key), key, key_columns, columns)


def _records(values: Iterable[tuple[int, Any]], key: str) -> Iterator[Record]:
    for number, value in values:
        found = _objects(value)
        if found is None:
            raise ObjectError(f"{key} has no object in line {number}: it must have one a line, or an array of them")
        yield from found


def _objects(value: Any) -> list[Record] | None:
    if isinstance(value, dict):
        return [value]
    return value if isinstance(value, list) and all(isinstance(item, dict) for item in value) else None


def _values(content: bytes, key: str, charset: str | None) -> Iterator[tuple[int, Any]]:
    """Each value with the line that it begins in: line by line, and from the first line on that is no value, all as
    one sequence of values.
    """
    if wide(content[:LOOKED_AT]):
        content = text_of(content).encode()
    content = content.removeprefix(b"\xef\xbb\xbf")
    at = 0
    for number, line in enumerate(io.BytesIO(content), start=1):
        if line.strip():
            try:
                value = _line(line, charset)
            except (ValueError, RecursionError):
                yield from _sequence(text_of(content[at:], charset), key, number)
                return
            yield number, value
        at += len(line)


def _line(line: bytes, charset: str | None) -> Any:
    try:
        return _json(line)
    except (msgspec.DecodeError, UnicodeError):
        # which takes what the first refuses: halves of surrogate pairs, NaN, bytes of other charsets
        return json.loads(text_of(line, charset), parse_float=exact_float)


def _sequence(text: str, key: str, number: int) -> Iterator[tuple[int, Any]]:
    """The values that a text is made of, with nothing between them, or blanks, or RFC 7464's record separators."""
    decode = json.JSONDecoder(parse_float=exact_float).raw_decode
    begin, counted = _between(text, 0), 0
    while begin < len(text):
        number += text.count("\n", counted, begin)
        counted = begin
        try:
            value, end = decode(text, begin)
        except (ValueError, RecursionError) as error:
            why = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise ObjectError(f"{key} is no JSON in line {number}: {brief(why, 200)}") from error
        yield number, value
        begin = _between(text, end)


def _between(text: str, at: int) -> int:
    found = _VALUE.search(text, at)
    return len(text) if found is None else found.start()


def parquet(content: bytes, key: str, key_columns: Columns, columns: Columns | None) -> Iterator[Row]:
    """The rows of a Parquet file, a row group at a time."""
    return rows_of(_parquet(content, key, _wanted(key_columns, columns)), key, key_columns, columns)


def _wanted(key_columns: Columns, columns: Columns | None) -> Columns | None:
    """Rows without key columns are known by all of their content."""
    if columns is None or not key_columns:
        return None
    return list(dict.fromkeys([*key_columns, *columns, *(name for name in _TAKEN if f"_{name}" in columns)]))


def _parquet(content: bytes, key: str, columns: Columns | None) -> Iterator[Record]:
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise not_installed("Parquet", "pyarrow", "objects") from None
    try:
        file = ParquetFile(pyarrow.BufferReader(content), pre_buffer=False)
        there = None if columns is None else [name for name in columns if name in file.schema_arrow.names]
        for batch in file.iter_batches(_ROWS_A_BATCH, columns=there, use_threads=False):
            yield from batch.to_pylist()
    except MemoryError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise _broken("Parquet", key, error) from error


def avro(content: bytes, key: str, key_columns: Columns, columns: Columns | None) -> Iterator[Row]:
    """The rows of an Avro container file, a block at a time."""
    return rows_of(_avro(content, key), key, key_columns, columns)


def _avro(content: bytes, key: str) -> Iterator[Record]:
    try:
        import fastavro
    except ImportError:
        raise not_installed("Avro", "fastavro", "objects") from None
    reader = _guarded("Avro", key, lambda: iter(fastavro.reader(io.BytesIO(content))))
    end = object()
    while (record := _guarded("Avro", key, lambda: next(reader, end))) is not end:
        if not isinstance(record, dict):
            raise ObjectError(f"{key} holds values that are not records: only records have columns")
        yield record


def _guarded(what: str, key: str, step: Callable[[], Any]) -> Any:
    """What a parser returns that may raise anything at all on bytes that are not its own."""
    try:
        return step()
    except MemoryError:
        raise
    except Exception as error:
        raise _broken(what, key, error) from error


def _broken(what: str, key: str, error: Exception) -> ObjectError:
    return ObjectError(f"{key} is no {what} that can be read: {type(error).__name__}: {brief(error, 200)}")
