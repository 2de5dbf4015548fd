"""A first pipeline file for a table: which of its columns are text, which are metadata, and the file itself."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from core.formats.debezium.columns import columns_of_types

_SHORT = 64
_TEXT = re.compile(r"(?:text|citext|(?:character varying|character|varchar|char|bpchar)(?:\((?P<length>\d+)\))?)")
_SHORT_TYPES = re.compile(
    r"(?:smallint|integer|bigint|real|double precision|numeric|boolean|uuid|date|timestamp|time|interval|money)\b.*",
)
_JSON = ("json", "jsonb")
_UNNAMEABLE = re.compile(r"[\[\]{}|!:]|^\s|\s$|^$")
_PLAIN = re.compile(r"\w[\w.-]*(?::\d+)?")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the source: its SQL type as PostgreSQL's format_type has it, and whether that is an enumeration.

    lost  why no change carries its values, as the rest of a sentence about it; "" where changes do
    """

    name: str
    type: str
    enumerated: bool = False
    lost: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a pipeline makes of a table's columns.

    types  of the columns that it uses, whose values events without schemas don't tell from others
    left   the other columns, each with its reason
    """

    text: tuple[str, ...]
    metadata: tuple[str, ...]
    key: tuple[str, ...]
    types: Mapping[str, str]
    left: Mapping[str, str]


def choice(columns: Sequence[Column], key: Sequence[str]) -> Choice:
    """Text that may be long is the documents' text; what is short is metadata, and so are a key's columns, whatever
    their types. A key of one column is the id, and neither.

    Where no other column is long, short text is the text, and where there is none a key's. `text` is empty where the
    table has none at all.
    """
    nameable = {each.name: _UNNAMEABLE.search(each.name) is None for each in columns}
    fit = [each for each in columns if nameable[each.name] and not each.lost]
    long, brief = [each.name for each in fit if _is_long(each)], [each.name for each in fit if _is_brief_text(each)]
    of_rows = [[name for name in names if name not in key] for names in (long, brief)]
    text = next(filter(None, (*of_rows, long, brief)), [])
    alone = tuple(key) if len(key) == 1 else ()
    metadata = [
        each.name
        for each in fit
        if each.name not in (*text, *alone) and (each.name in key or _is_brief_text(each) or _is_short(each))
    ]
    types = {each.name: each.type for each in fit if each.name in (*text, *metadata)}
    read = columns_of_types(types, None, "adaptive", "bytes")
    needed = {name: kind for name, kind in types.items() if name in read.readers or name in read.doubtful}
    left = {
        each.name: _why_left(each, nameable[each.name])
        for each in columns
        if each.name not in (*text, *metadata, *alone)
    }
    return Choice(tuple(text), tuple(metadata), tuple(key), needed, left)


def _is_long(column: Column) -> bool:
    found = _TEXT.fullmatch(column.type)
    return found is not None and (found["length"] is None or int(found["length"]) > _SHORT)


def _is_brief_text(column: Column) -> bool:
    return column.enumerated or (_TEXT.fullmatch(column.type) is not None and not _is_long(column))


def _is_short(column: Column) -> bool:
    return _SHORT_TYPES.fullmatch(column.type) is not None and not column.type.endswith("[]")


def _why_left(column: Column, nameable: bool) -> str:
    if not nameable:
        return "its name has one of []{}|!: or begins or ends with a space, so nothing can name it here"
    if column.lost:
        return column.lost.removeprefix("which is ")
    if column.type in _JSON:
        return f"{column.type}: {{{column.name}.PART}} in text, or {column.name}.PART in metadata, takes a part of it"
    return column.type


@dataclass(frozen=True, slots=True)
class Places:
    """Where a first pipeline reads and writes.

    source_dsn  a connection string as it may stand in a file: without its password
    store       what stands below `store:`
    """

    name: str
    table: str
    topic: str
    bootstrap_servers: str
    source_dsn: str
    store: str


def name_of(table: str) -> str:
    """What a pipeline of a table is called: as the table, with its schema where that isn't `public`."""
    schema, _, relation = table.partition(".")
    said = relation if schema == "public" else f"{schema}-{relation}"
    return re.sub(r"[^A-Za-z0-9_.-]", "_", _latin(said)).strip("_.-")[:60] or "documents"


_SPELT = str.maketrans({"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "œ": "oe", "ł": "l", "Ł": "L"})


def _latin(text: str) -> str:
    """Letters without their marks, as in Bucher of Bücher."""
    apart = unicodedata.normalize("NFKD", text.translate(_SPELT))
    return "".join(each for each in apart if not unicodedata.combining(each))


STORES = ("milvus", "pinecone", "opensearch", "kafka")
"""The stores that `freshet init --store` takes by name, with where they are: `NAME=WHERE`."""

PINECONE_KEY = "PINECONE_API_KEY"
"""The variable that a first pipeline has in place of a key of Pinecone's."""


def is_named(where: str) -> bool:
    """Whether it is NAME=WHERE, of one of STORES; else it is a connection string."""
    kind, sign, _ = where.partition("=")
    return bool(sign) and kind in STORES


def store_of(name: str, where: str) -> str:
    """What names one of STORES, as a pipeline of this name has it.

    where  NAME=WHERE, or a connection string without its password, of a database for the vectors
    """
    chunks = f"{re.sub(r'[^a-z0-9_]', '_', name.lower())[:40]}_chunks"
    if not is_named(where):
        return f"pgvector: {{dsn: {_quoted(where)}, table: {scalar(chunks)}}}"
    kind, _, at = where.partition("=")
    if kind == "milvus":
        return f"milvus: {{uri: {_quoted(at)}, collection: {scalar(_named(chunks))}}}"
    if kind == "pinecone":
        key = _quoted(f"${{{PINECONE_KEY}}}")
        return f"pinecone: {{index: {scalar(at)}, namespace: {scalar(chunks)}, api_key: {key}}}"
    if kind == "opensearch":
        index = re.sub(r"^[^a-z0-9]+", "", chunks).replace("_", "-")
        return f"opensearch: {{hosts: [{_quoted(at)}], index: {scalar(index)}}}"
    return f"kafka: {{topic: {scalar(f'{name}.staged')}, properties.bootstrap.servers: {_quoted(at)}}}"


def _named(chunks: str) -> str:
    """The name of a collection, whose first character is no digit."""
    return f"_{chunks}" if chunks[0].isdigit() else chunks


def slot_of(name: str) -> str:
    """What the slot and the publication of a connector that `freshet stack connect` makes are called."""
    # a slot's name has lower-case letters, digits and _ only, 63 at most
    return re.sub(r"[^a-z0-9_]", "_", f"freshet_{name}".lower())[:63]


def topic_of(prefix: str, table: str) -> str:
    """The topic to which Debezium sends a table's changes.

    Source: Debezium's documentation, "Topic names": what no topic's name may have becomes an underscore.
    """
    return re.sub(r"[^A-Za-z0-9._-]", "_", f"{prefix}.{table}")


def prefix_of(database: str) -> str:
    """The topic.prefix for a database's tables."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", database)


def written(places: Places, chosen: Choice) -> str:
    """The pipeline file, with what was left out as comments."""
    text = "\n\n".join(f"{{{name}}}" for name in chosen.text)
    lines = [
        f"name: {scalar(places.name)}",
        "source:",
        "  kafka:",
        f"    topic: {scalar(places.topic)}",
        f"    properties.bootstrap.servers: {scalar(places.bootstrap_servers)}",
        "    scan.startup.mode: earliest-offset",
        "format: debezium",
        "documents:",
        f"  {scalar(places.table)}:",
        f"    text: {_quoted(text)}",
        *([f"    metadata: {_listed(chosen.metadata)}"] if chosen.metadata else []),
        f"    key: {_listed(chosen.key)}",
        *_types(chosen.types),
        *(f"    # not used: {_shown(f'{name} ({why})')}" for name, why in chosen.left.items()),
        "embedding: {model: all-MiniLM-L6-v2}",
        "store:",
        f"  {places.store}",
        "reselect:",
        f"  postgres: {{dsn: {_quoted(places.source_dsn)}}}",
        "dead_letters:",
        f"  kafka: {{topic: {scalar(f'{places.name}.dead-letters')}}}",
    ]
    return "\n".join(lines) + "\n"


def _types(types: Mapping[str, str]) -> list[str]:
    if not types:
        return []
    listed = ", ".join(f"{scalar(name)}: {scalar(kind)}" for name, kind in types.items())
    return [f"    types: {{{listed}}}  # for events without schemas"]


def _shown(text: str) -> str:
    """Text of a comment: YAML ends a line by more than a line feed, and what follows would be a setting."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _listed(names: Sequence[str]) -> str:
    return f"[{', '.join(map(scalar, names))}]"


def scalar(text: str) -> str:
    """Text as YAML has it: plain where it means the same, else in double quotes."""
    return text if _PLAIN.fullmatch(text) and yaml.safe_load(text) == text else _quoted(text)


def _quoted(text: str) -> str:
    # JSON's strings are YAML's too, but for what YAML takes for unprintable
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in quoted)
