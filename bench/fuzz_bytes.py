"""Mutations of an event's bytes: what no encoder writes, in place of a value or before it."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

from core.change import Event

RAW = (
    b"null", b"true", b"NaN", b"Infinity", b"-Infinity", b"1e999999", b"-0", b"9" * 400, b"-" + b"9" * 5000,
    b"0." + b"1" * 3000, b'"\\ud800"', b'"\\u0000"', b'"\xff\xfe"', b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 50_000 + b"1" + b"}" * 50_000, b"[" * 33 + b"]" * 33, b'{"a":1,"a":2}', b'"' + b"x" * 100_000 + b'"',
    b"01", b".5", b"1 2", b"9223372036854775808", b"18446744073709551616", b"5e-324", b'"9999-99-99T99:99:99Z"',
    b'{"scale":2147483647,"value":"AQ=="}', b'{"scale":0,"value":"' + b"QUFB" * 20_000 + b'"}',
    b'{"N":"' + b"9" * 5000 + b'"}', b'{"M":{"M":{"M":[]}}}', b'{"BS":["!"]}', b'{"SS":[1,null]}',
    b'"' + b"1" * 4301 + b'"',
)  # fmt: skip
_MARK = "@@MARK@@"
_PREFIXES = (b"\xef\xbb\xbf", b"\xff\xfe", b" \n\t", b"\x00", b"\x00\x00\x00\x00\x05", b"\x03\x00" + bytes(16))


def spliced(event: Event, chance: random.Random) -> Event:
    """The event with raw bytes that no encoder writes in place of one of its values, or before it."""
    return replace(event, key=_spliced(event.key, chance, 0.3), value=_spliced(event.value, chance, 1.0))


def _spliced(raw: bytes | None, chance: random.Random, share: float) -> bytes | None:
    if raw is None or chance.random() > share:
        return raw
    try:
        tree = json.loads(raw)
    except (ValueError, RecursionError):
        return raw
    if chance.random() < 0.6:
        marked = json.dumps(_put(tree, chance), separators=(",", ":")).encode()
        raw = marked.replace(b'"' + _MARK.encode() + b'"', chance.choice(RAW))
    if chance.random() < 0.05:
        raw = chance.choice(_PREFIXES) + raw
    if chance.random() < 0.03:
        raw = raw[: chance.randrange(len(raw) + 1)]
    return raw.decode("latin-1").encode("utf-16") if chance.random() < 0.02 else raw


def _put(value: Any, chance: random.Random) -> Any:
    """The tree with the mark in place of a branch on a random way down."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        name = chance.choice(list(value))
        return {**value, name: _put(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.6:
        at = chance.randrange(len(value))
        return [*value[:at], _put(value[at], chance), *value[at + 1 :]]
    return _MARK
