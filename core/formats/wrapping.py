"""What Kafka Connect's JSON converter puts around keys and values: {schema, payload}, where `schemas.enable` is on.

Source of the rules: Kafka Connect's JsonConverter and JsonSchema.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec


class _Wrapped(msgspec.Struct, forbid_unknown_fields=True):
    schema: msgspec.Raw
    payload: Any


_wrapped = msgspec.json.Decoder(_Wrapped).decode
Wrapped = tuple[Any, bytes]
"""The payload, and its schema as JSON: an object, or null."""


def unwrapper(float_hook: Callable[[str], Any] | None = None) -> Callable[[bytes], Wrapped]:
    """What takes a wrapped value apart.

    It raises msgspec.ValidationError where the bytes are JSON and no wrapped value, else what msgspec's decoder raises.
    """
    decode = _wrapped if float_hook is None else msgspec.json.Decoder(_Wrapped, float_hook=float_hook).decode

    def unwrapped(raw: bytes) -> Wrapped:
        found = decode(raw)
        schema = bytes(found.schema)
        if schema[:1] not in (b"{", b"n"):
            raise msgspec.ValidationError("schema is no object")
        return found.payload, schema

    return unwrapped


def is_wrapped(value: Any) -> bool:
    """Whether decoded JSON is a wrapped value: it has these two names alone, and its schema is an object or null."""
    if type(value) is not dict or len(value) != 2 or "payload" not in value:
        return False
    schema = value.get("schema", "")
    return schema is None or isinstance(schema, dict)


def bare(raw: bytes | None) -> Any:
    """What a key or a value says, wrapped or not; None for none. Raises msgspec.DecodeError where it isn't JSON."""
    value: Any = msgspec.json.decode(raw) if raw else None
    return value["payload"] if is_wrapped(value) else value
