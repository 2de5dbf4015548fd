"""Files to rows: what kind a file is, by what it begins with and by its name, and what it says.

A file's first bytes go before its name, and its name before its content type: a PDF called `.txt` is a PDF, and a text
called `.pdf` is refused. Where neither says anything, what reads as text is text.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from core.documents.objects import Piece, Row, pieces
from core.errors import FreshetError, ObjectError, brief
from udfs.parsing.html import html
from udfs.parsing.rows import avro, csv_rows, json_file, jsonl, parquet
from udfs.parsing.text import is_binary, markdown, plain

_MAGIC = {b"%PDF-": "pdf", b"PAR1": "parquet", b"Obj\x01": "avro"}
_REFUSED = {
    b"PK\x03\x04": "a ZIP archive (or an Office document)",
    b"\x1f\x8b": "compressed with gzip more than once",
    b"BZh": "compressed with bzip2",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"\xd0\xcf\x11\xe0": "an old Office document",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"\x7fELF": "a program",
    b"ORC": "an ORC file",
}
_HTML = re.compile(rb"\s*(<!doctype html|<html|<head|<body)", re.IGNORECASE)
_BY_NAME = {
    ".md": "markdown", ".markdown": "markdown", ".html": "html", ".htm": "html", ".xhtml": "html", ".pdf": "pdf",
    ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet",
    ".avro": "avro", ".txt": "text", ".text": "text", ".rst": "text", ".log": "text",
}  # fmt: skip
_BY_TYPE = {
    "text/markdown": "markdown", "text/html": "html", "application/xhtml+xml": "html", "text/csv": "csv",
    "text/tab-separated-values": "csv", "application/jsonl": "jsonl", "application/x-ndjson": "jsonl",
    "application/json": "json", "text/plain": "text",
}  # fmt: skip
_WHOLE_HEADER = 1024  # PDF's specification lets the header come anywhere in the first 1024 bytes
_GZIP = b"\x1f\x8b"
_TAR = slice(257, 262), b"ustar"  # POSIX, "pax Interchange Format": a header block's field magic


@dataclass(frozen=True, slots=True)
class Options:
    """How files of rows are read.

    key      columns that tell a file's rows apart; empty: a row is known by its content, so that rows before it may
             come and go, and an edited row is another row
    columns  those to read; None: all
    """

    key: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one object may need; more is an ObjectError.

    size     bytes of the object, and of what it holds where it is compressed
    text     characters of all its rows
    rows     rows in it
    encoded  bytes of all its rows as `core.documents.objects.Loaded` has them, their columns' names included
    pages    pages of a PDF
    memory   bytes that its parser takes
    seconds  until its parser is stopped
    """

    size: int = 64 * 2**20
    text: int = 32 * 2**20
    rows: int = 1_000_000
    encoded: int = 128 * 2**20
    pages: int = 5_000
    memory: int = 2**30
    seconds: float = 60.0


def kind_of(content: bytes, key: str, content_type: str | None = None) -> str:
    """What a file is read as: text, markdown, html, csv, json, jsonl, pdf, parquet or avro.

    Raises ObjectError for what isn't read, with what it seems to be.
    """
    suffix = PurePosixPath(key).suffix.lower()
    named = _BY_NAME.get(suffix)
    for magic, kind in _MAGIC.items():
        if content.startswith(magic) or (magic == b"%PDF-" and named == "pdf" and magic in content[:_WHOLE_HEADER]):
            return kind
    if not content:
        return "text"
    for magic, what in _REFUSED.items():
        if content.startswith(magic):
            raise ObjectError(f"{key} is {what}, which Freshet doesn't read: give it as text, HTML, PDF or rows")
    if named in _MAGIC.values():
        raise ObjectError(f"{key} is named {suffix} but begins with {content[:8]!r}: it is broken, or something else")
    if content[_TAR[0]] == _TAR[1]:
        raise ObjectError(f"{key} is a tar archive, which Freshet doesn't read: give its files")
    if is_binary(content):
        raise ObjectError(f"{key} is not text, and of no kind that Freshet reads: it begins with {content[:8]!r}")
    declared = (content_type or "").partition(";")[0].strip().lower()
    if named or declared in _BY_TYPE:
        return named or _BY_TYPE[declared]
    return "html" if _HTML.match(content) else "text"


_OPTIONS, _LIMITS = Options(), Limits()


def parse(
    content: bytes, key: str, content_type: str | None = None, options: Options = _OPTIONS, limits: Limits = _LIMITS
) -> Iterator[Row]:
    """The rows of a file, each within what is left of the limits.

    What a file compressed with gzip holds is parsed. A text, Markdown or HTML file is one row with the columns `title`,
    `text`, and `page` and `row`, which are None; so is a file of one JSON object, with its own columns before those. A
    PDF has such a row a page (from 1). Files of rows have their own columns and `row`, the number of the row (from 1);
    those that are called like a column of the object (`parsing_rows.OBJECTS_OWN`) have an underscore before their name.
    Values are JSON's: times as in ISO 8601, decimals as text, bytes as the text that they are, else in base64, NaN as
    null. NULs and halves of surrogate pairs become U+FFFD.
    Raises ObjectError where the file is broken, encrypted, over the limits, or of a kind that isn't read.
    """
    content, name = _unpacked(content, key, limits)
    kind = kind_of(content, name, content_type)
    charset = _charset(content_type)
    made = _PARSERS[kind](content, key, charset, options, limits)
    return _within(made, key, limits)


def _unpacked(content: bytes, key: str, limits: Limits) -> tuple[bytes, str]:
    """What a file compressed with gzip holds, and its name without `.gz`; any other as it is."""
    if not content.startswith(_GZIP):
        return content, key
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = file.read(limits.size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ObjectError(f"{key} is compressed with gzip and broken: {brief(error, 200)}") from error
    if len(unpacked) > limits.size:
        raise ObjectError(f"{key} holds more than {limits.size:,} bytes, compressed: split it, or raise the limit")
    return unpacked, key[:-3] if key.lower().endswith(".gz") else key


def encoded(content: bytes, key: str, content_type: str | None, options: Options, limits: Limits) -> list[Piece]:
    """As `parse`, in pieces as `Loaded` has them; whatever else a parser raises is an ObjectError too."""
    try:
        return list(_within_bytes(pieces(parse(content, key, content_type, options, limits)), key, limits))
    except (FreshetError, MemoryError):
        raise
    except Exception as error:
        why = brief(error, 200)
        raise ObjectError(f"{key} can't be parsed: {type(error).__name__}: {why}") from error


def _within_bytes(made: Iterator[bytes], key: str, limits: Limits) -> Iterator[Piece]:
    size = 0
    for piece in made:
        size += len(piece)
        if size > limits.encoded:
            most = f"{limits.encoded:,} bytes"
            raise ObjectError(f"{key} has rows of more than {most}, names of columns included: split it")
        yield piece


def _charset(content_type: str | None) -> str | None:
    found = re.search(r"charset=[\"']?([\w.:-]+)", content_type or "", re.IGNORECASE)
    return found[1] if found else None


def _within(rows: Iterator[Row], key: str, limits: Limits) -> Iterator[Row]:
    characters = 0
    for number, row in enumerate(rows, start=1):
        if number > limits.rows:
            raise ObjectError(f"{key} has more than {limits.rows:,} rows: split it, or raise the limit")
        characters += _characters(row.columns)
        if characters > limits.text:
            raise ObjectError(f"{key} has more than {limits.text:,} characters of text: split it, or raise the limit")
        yield row


def _characters(columns: Mapping[str, object]) -> int:
    return sum(
        len(value) if isinstance(value, str) else len(str(value))
        for value in columns.values()
        if isinstance(value, (str, list, dict))
    )


def _pdf(content: bytes, key: str, charset: str | None, options: Options, limits: Limits) -> Iterator[Row]:
    from udfs.parsing.pdf import pages

    return pages(content, key, limits.pages)


_Parser = Callable[[bytes, str, str | None, Options, Limits], Iterator[Row]]
_PARSERS: Mapping[str, _Parser] = {
    "text": lambda content, key, charset, options, limits: iter([plain(content, key, charset)]),
    "markdown": lambda content, key, charset, options, limits: iter([markdown(content, key, charset)]),
    "html": lambda content, key, charset, options, limits: iter([html(content, key, charset)]),
    "pdf": _pdf,
    "csv": lambda content, key, charset, options, limits: csv_rows(content, key, charset, options.key, options.columns),
    "json": lambda content, key, charset, options, limits: json_file(
        content, key, charset, options.key, options.columns
    ),
    "jsonl": lambda content, key, charset, options, limits: jsonl(content, key, charset, options.key, options.columns),
    "parquet": lambda content, key, charset, options, limits: parquet(content, key, options.key, options.columns),
    "avro": lambda content, key, charset, options, limits: avro(content, key, options.key, options.columns),
}
