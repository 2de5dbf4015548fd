"""Recordings of topics: one JSON object a line, with topic, partition, offset, key, value and headers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from core.errors import DecodeError

Headers = tuple[tuple[str, bytes | None], ...]
"""In order; a name may come twice."""


@dataclass(frozen=True, slots=True)
class Record:
    """One message to write to a topic.

    key, value  None is a null: a value of None is a tombstone
    partition   None leaves it to the key, as Kafka's own clients partition
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


class _Line(msgspec.Struct):
    topic: Annotated[str, msgspec.Meta(min_length=1)]
    partition: Annotated[int, msgspec.Meta(ge=0)]
    key: msgspec.Raw
    value: msgspec.Raw
    headers: list[tuple[str, str | None]]


_decode = msgspec.json.Decoder(_Line).decode


def record_of(line: bytes) -> Record:
    """The message that a line of a recording holds, in the partition where it was.

    Key and value become compact UTF-8 JSON, as Debezium's JSON converter writes them; null becomes no bytes at all.
    The offset is not kept: a topic gives its own.
    Raises DecodeError where the line is not of the format.
    """
    try:
        line.decode()  # msgspec doesn't look into the strings that it skips
        parsed = _decode(line)
    except UnicodeDecodeError as error:
        raise DecodeError(f"not UTF-8: {error.reason} at byte {error.start}") from error
    except msgspec.ValidationError as error:
        raise DecodeError(f"not a line of a recording: {error}") from error
    except msgspec.DecodeError as error:
        parsed = _with_lone_surrogates(line, error)
    return Record(
        parsed.topic,
        _compact(parsed.key),
        _compact(parsed.value),
        tuple((name, None if text is None else text.encode(errors="replace")) for name, text in parsed.headers),
        parsed.partition,
    )


def _with_lone_surrogates(line: bytes, error: msgspec.DecodeError) -> _Line:
    # JSON allows an escaped lone surrogate, msgspec doesn't; a recording of bad input may well hold one.
    try:
        fields = json.loads(line, parse_constant=_refuse)
        texts = {name: msgspec.Raw(json.dumps(fields[name]).encode()) for name in ("key", "value")}
        return msgspec.convert(fields | texts, _Line)
    except (ValueError, TypeError, KeyError):
        raise DecodeError(f"not a line of a recording: {error}") from error


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _compact(raw: msgspec.Raw) -> bytes | None:
    text = bytes(raw)
    if text == b"null":
        return None
    return _unescaped(text) if b"\\u" in text else msgspec.json.format(text, indent=-1)


def _unescaped(text: bytes) -> bytes:
    value = json.loads(text)
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8
        return json.dumps(value, separators=(",", ":")).encode()


def read_recording(lines: Iterable[bytes], name: str) -> Iterator[Record]:
    """The messages of a recording, in order.

    Raises DecodeError with `name` and the number of the line that is not of the format.
    """
    for number, line in enumerate(lines, start=1):
        try:
            yield record_of(line)
        except DecodeError as error:
            raise DecodeError(f"{name}, line {number}: {error}") from error
