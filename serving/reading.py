"""Requests, read: what they ask, or which of their fields is wrong and why."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.errors import FilterError, PositionError, quote
from core.stores.filters.language import EVERYTHING, Filter, parse_text
from operations.freshness import Wanted
from operations.index import Index
from serving.problems import Refused
from serving.shapes import Mode, Search, WaitFor

_AT = re.compile(r" - at `\$\.?([^`]*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`")
_MISSING = re.compile(r"Object missing required field `([^`]*)`")
_LEAST_LENGTH = 1e-6
_CHOICES = {"mode": f"; it is {', '.join(get_args(Mode))}"}

Struct = TypeVar("Struct", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Reader(Generic[Struct]):
    """Reads bodies of one kind.

    kind  as which they are read
    what  they are, as in `a search`
    """

    kind: type[Struct]
    what: str

    def read(self, body: bytes) -> Struct:
        """What a body asks for. Raises Refused."""
        try:
            return msgspec.json.decode(body, type=self.kind)
        except msgspec.ValidationError as error:
            raise _misfit(str(error), ", ".join(self.kind.__struct_fields__), self.what) from None
        except RecursionError:
            raise Refused(422, "filter is nested too deep: join conditions in one list", "filter") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _unread(body, error) from None


def anything(body: bytes) -> Any:
    """A body with all that it has, also what isn't read here. Raises Refused."""
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise Refused(422, "the request is nested too deep") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unread(body, error) from None


_searches = Reader(Search, "a search")


def search(body: bytes) -> Search:
    """The search that a body asks for. Raises Refused."""
    asked = _searches.read(body)
    if (asked.query is None) == (asked.vector is None):
        given = "both are" if asked.query is not None else "neither is"
        raise Refused(422, f"either query or vector must be given, and {given}", "query")
    if asked.query is None and asked.mode != "vector":
        raise Refused(422, f"mode is {asked.mode}, which looks for words: give a query, not a vector", "mode")
    if asked.query is not None:
        check_text(asked.query, "query")
    return asked


def check_encoding(headers: Mapping[str, str]) -> None:
    """Raises Refused where a body is compressed: unpacked, it may have more than a body may (RFC 9110, 15.5.16)."""
    encoding = headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() not in ("", "identity"):
        why = f"Content-Encoding is {quote(encoding)}, and no body is unpacked here: send it as it is"
        raise Refused(415, why, "Content-Encoding", {"Accept-Encoding": "identity"})


def vector(values: list[float], dimension: int) -> NDArray[np.float32]:
    """A request's vector, brought to unit length. Raises Refused."""
    if len(values) != dimension:
        raise Refused(422, f"vector has {len(values)} numbers; the index's model has {dimension}", "vector")
    found = np.array(values, np.float64)
    length = math.sqrt(found.dot(found))
    if not _LEAST_LENGTH < length < float("inf"):
        raise Refused(422, f"vector has the length {length:g}; a direction is needed", "vector")
    return (found / length).astype(np.float32)


def among(given: msgspec.Raw | msgspec.UnsetType, columns: Collection[str]) -> Filter:
    """The filter that a request gives, over an index' columns. Raises Refused."""
    if isinstance(given, msgspec.UnsetType):
        return EVERYTHING
    try:
        return filter_of(bytes(given).decode(), columns)
    except UnicodeDecodeError as error:
        raise Refused(422, f"filter is not written in UTF-8: {error}", "filter") from None


def filter_of(text: str, columns: Collection[str]) -> Filter:
    """The filter that JSON text is, over an index' columns. Raises Refused."""
    try:
        return parse_text(text, columns)
    except FilterError as error:
        raise Refused(422, error.problems[0], error.place) from None


def waited(change: WaitFor, index: Index) -> Wanted:
    """The change that a search waits for. Raises Refused."""
    document_id = change.document_id or ""
    check_text(document_id, "wait_for.document_id")
    try:
        return index.wanted(change.position, document_id)
    except PositionError as error:
        raise Refused(422, f"wait_for.{error}", "wait_for.position") from None


def check_text(text: str, field: str) -> None:
    """Raises Refused where a text has characters that no stored text can have."""
    if "\x00" in text:
        raise Refused(422, f"{field} has a NUL character at {text.index(chr(0)):,}: leave it out", field)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = f"U+{ord(text[error.start]):04X} at character {error.start:,}"
        raise Refused(422, f"{field} has half a surrogate pair, {found}, which is no character", field) from None


def number(given: Mapping[str, str], name: str, least: int, most: int) -> int | None:
    """A parameter of the query string that is a whole number; None where it isn't there. Raises Refused."""
    text = given.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
        raise Refused(422, f"{name} is {quote(text)}, must be a whole number from {least:,} to {most:,}", name)
    return int(text)


def time(given: Mapping[str, str], name: str) -> datetime | None:
    """A parameter of the query string that is a time, in UTC where it names no zone; None where it isn't there.

    Raises Refused.
    """
    text = given.get(name)
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    except ValueError:
        raise Refused(422, f"{name} is {quote(text)}, must be a time as 2026-01-31T12:00:00Z", name) from None


def truth(given: Mapping[str, str], name: str) -> bool:
    """A parameter of the query string that is true or false; false where it isn't there. Raises Refused."""
    text = given.get(name, "false")
    if text not in ("true", "false"):
        raise Refused(422, f"{name} is {quote(text)}, must be true or false", name)
    return text == "true"


def _misfit(message: str, fields: str, what: str) -> Refused:
    at = _AT.search(message)
    inner = "" if at is None or not at[1] else f"{at[1]}."
    if found := _MISSING.match(message):
        return Refused(422, f"{inner}{found[1]} is missing", f"{inner}{found[1]}")
    if found := _UNKNOWN.match(message):
        there = "" if inner else f"; there are {fields}"
        return Refused(422, f"{inner}{found[1]} is no field of {what}{there}", f"{inner}{found[1]}")
    if at is None or not at[1]:
        return Refused(422, f"{what} is an object with the fields {fields}: {message}")
    return Refused(422, f"{at[1]}: {_AT.sub('', message)}{_CHOICES.get(at[1], '')}", at[1])


def _unread(body: bytes, error: Exception) -> Refused:
    """Why a body isn't read; the standard library's reader takes more, and so finds the field that is wrong."""
    try:
        loose = json.loads(body)
    except (ValueError, RecursionError):
        return Refused(400, f"the request is no JSON: {error}")
    for name, value in loose.items() if isinstance(loose, dict) else ():
        try:
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except UnicodeEncodeError:
            return Refused(422, f"{name} has half a surrogate pair, which is no character", name)
        except ValueError:
            return Refused(422, f"{name} has NaN or infinity, which is no number of JSON", name)
    return Refused(400, f"the request is no JSON: {error}")
