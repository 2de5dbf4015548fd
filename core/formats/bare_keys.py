"""Keys of messages that are no JSON object: the bare value of a key of one column.

Sources of the rules: Kafka's serializers (IntegerSerializer and LongSerializer write big-endian bytes); Kafka Connect's
StringConverter, which writes a struct as `Struct{id=1}`; its JsonConverter.
"""

from __future__ import annotations

import json
import re
from typing import Any

from core.documents.keys import id_of
from core.documents.templates import as_text
from core.errors import DecodeError, quote
from core.formats.debezium.columns import NOTHING_KNOWN
from core.formats.debezium.envelope import columns_of, read
from core.formats.json_values import JSON_CONVERTER, storable, unwrapped

_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_REMEDY = "have the producer send keys as JSON objects, or rows that have the key's column"


def bare_key(raw: bytes, column: str) -> Any:
    """The value of a key's one column: JSON's strings without their quotes, other text as it is.

    Raises DecodeError for what isn't one text to everybody: bytes of another serializer, a struct or a list, null, and
    JSON's numbers and booleans whose text is another one (`1e2` is 100.0 in a row, and `true` is no text there).
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = "\x00"
    if _NO_TEXT.search(text):
        raise DecodeError(f"the event's key is {quote(raw.hex())} in hexadecimal digits, which is no text: {_REMEDY}")
    if text.startswith("Struct{") and text.endswith("}"):
        raise DecodeError(
            f"the event's key is {quote(text)}, a struct as text: give the connector {JSON_CONVERTER} as its "
            "key.converter, or have it take the column out (ExtractField)"
        )
    try:
        value, schema = unwrapped(raw, "key")
    except DecodeError:
        return text
    if schema is not None:
        return _typed(value, schema, column)
    if type(value) is str:
        return value
    return _alike(value, text)


def _alike(value: Any, text: str) -> str:
    if value is None or isinstance(value, list | dict):
        raise DecodeError(f"the event's key is {quote(text)}, which names no row: {_REMEDY}")
    if id_of("", {"": storable(value)}) != id_of("", {"": text}):
        raise DecodeError(
            f"the event's key is {quote(text)}: as text it is itself, and as JSON {as_text(storable(value))}, and "
            f"nothing says which: {_REMEDY}"
        )
    return text


def _typed(value: Any, schema: bytes, column: str) -> Any:
    """By the schema that the JSON converter gave the bare value."""
    if value is None or isinstance(value, list | dict):
        raise DecodeError(f"the event's key is {quote(value)}, which names no row: {_REMEDY}")
    struct = json.dumps({"type": "struct", "fields": [{**json.loads(schema), "field": column}]}).encode()
    found = {column: storable(value)}
    read(found, {column: value}, columns_of(struct, None, NOTHING_KNOWN).readers, "key")
    return storable(found[column])
