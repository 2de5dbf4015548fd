"""Documents as records of a topic, with their vectors: for other systems, and for stores that are filled from there.

A document is one record, or several where it is too large for one: parts, the first of which is sent last, so that
whoever has it has all. `docs/staged-record.schema.json` is what a record's value is, in JSON Schema.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import msgspec
import numpy as np

from core.change import Position
from core.config.staging import Precision
from core.errors import DecodeError, StoreRejected
from core.plans import Chunk
from core.stores.contract import Stood, Vectors
from core.stores.fingerprint import Owner, owner_to_text

VERSION = 1

_PART = "\x00"  # no id has it
_BESIDE = 300  # bytes of a record beside id, metadata and chunks


class _Fingerprint(msgspec.Struct, frozen=True):
    pipeline: str
    model: str
    dimension: int
    encoding: Precision
    made: str = ""


class _Part(msgspec.Struct, frozen=True):
    number: int
    of: int


class _Chunk(msgspec.Struct, frozen=True):
    id: str
    ordinal: int
    text: str
    vector: str


class _Record(msgspec.Struct, frozen=True):
    version: int
    id: str
    position: str
    committed_ms: int | None
    fingerprint: _Fingerprint
    part: _Part
    chunks: tuple[_Chunk, ...]
    metadata: msgspec.Raw
    numbers: tuple[str, ...] = ()


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Record).decode


@dataclass(frozen=True, slots=True)
class Maker:
    """What a pipeline's records say of how they were made.

    made  a hash of what the store's owner says that it writes; "" where nobody owns it
    """

    pipeline: str
    model: str
    dimension: int
    precision: Precision = "float32"
    made: str = ""


def maker(pipeline: str, model: str, dimension: int, precision: Precision, owner: Owner | None) -> Maker:
    """For the run that owns the topic."""
    made = "" if owner is None else blake2b(owner_to_text(owner).encode(), digest_size=8).hexdigest()
    return Maker(pipeline, model, dimension, precision, made)


@dataclass(frozen=True, slots=True)
class Staged:
    """A document as a topic has it.

    vectors   (n, dimension), a row a chunk
    metadata  as JSON, with the digits that its numbers had
    numbers   names of metadata that are numbers, as a plan has them
    """

    document_id: str
    position: Position
    committed_ms: int | None
    model: str
    chunks: tuple[Chunk, ...]
    vectors: Vectors
    metadata: str
    numbers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """A record, as it was read; `number` of so many."""

    staged: Staged
    number: int
    of: int


Key = bytes


def key_of(document_id: str, number: int = 0) -> Key:
    """A part's key: the document's id, behind which further parts have NUL and their number."""
    return (document_id if number == 0 else f"{document_id}{_PART}{number}").encode()


def document_of(key: Key) -> tuple[str, int]:
    """The id and the part's number that a key is. Raises DecodeError of one that is none."""
    try:
        document_id, _, number = key.decode().partition(_PART)
        return document_id, int(number or 0)
    except ValueError as error:
        raise DecodeError(f"a key of {len(key)} bytes is no document's id: {error}") from error


@dataclass(slots=True)
class _Growing:
    """A part that takes chunks as long as there is room."""

    chunks: list[_Chunk] = field(default_factory=list)
    size: int = 0


def records(staged: Staged, by: Maker, largest: int) -> list[tuple[Key, bytes]]:
    """The records of a document, in the order in which they are sent: the first part comes last.

    largest  bytes of a key and its value

    Raises StoreRejected where a chunk, or what stands beside the chunks, is larger than that.
    """
    beside = _BESIDE + 2 * len(staged.document_id.encode()) + len(by.model.encode()) + len(by.pipeline.encode())
    beside += len(staged.metadata.encode()) + len(_encode(staged.numbers))
    parts = [_Growing()]
    for chunk, vector in zip(staged.chunks, staged.vectors, strict=True):
        each = _Chunk(chunk.chunk_id, chunk.ordinal, chunk.text, written(vector, by.precision))
        size = len(_encode(each)) + 1
        if beside + size > largest:
            raise StoreRejected(
                f"chunk {chunk.ordinal} is a record of {beside + size:,} bytes with its metadata, the topic takes "
                f"{largest:,}: make chunks or metadata smaller, or raise the topic's max.message.bytes and "
                "largest_record"
            )
        if parts[-1].chunks and beside + parts[-1].size + size > largest:
            parts.append(_Growing())
        parts[-1].chunks.append(each)
        parts[-1].size += size
    fingerprint = _Fingerprint(by.pipeline, by.model, by.dimension, by.precision, by.made)
    made = [
        (
            key_of(staged.document_id, number),
            _encode(
                _Record(
                    VERSION,
                    staged.document_id,
                    staged.position,
                    staged.committed_ms,
                    fingerprint,
                    _Part(number, len(parts)),
                    tuple(part.chunks),
                    msgspec.Raw(staged.metadata.encode()),
                    staged.numbers,
                )
            ),
        )
        for number, part in enumerate(parts)
    ]
    return made[::-1]


def written(vector: Vectors, precision: Precision) -> str:
    """A vector as base64 of its numbers, little-endian."""
    kind = "<f4" if precision == "float32" else "<f2"
    return base64.b64encode(np.asarray(vector).astype(kind).tobytes()).decode()


def read(value: bytes) -> Part:
    """A record's value. Raises DecodeError where it isn't one of ours."""
    try:
        found = _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DecodeError(f"a value of {len(value):,} bytes is no staged document: {error}") from error
    if found.version != VERSION:
        raise DecodeError(f"a staged document of version {found.version}, this release reads {VERSION}: upgrade")
    of = found.fingerprint
    kind = "<f4" if of.encoding == "float32" else "<f2"
    try:
        rows = [np.frombuffer(base64.b64decode(each.vector), kind) for each in found.chunks]
        vectors = np.array(rows, np.float32).reshape(-1, of.dimension)
    except ValueError as error:
        raise DecodeError(f"{found.id}: a vector isn't {of.dimension} numbers of {of.encoding}: {error}") from error
    staged = Staged(
        found.id,
        Position(found.position),
        found.committed_ms,
        of.model,
        tuple(Chunk(each.id, each.ordinal, each.text) for each in found.chunks),
        vectors,
        bytes(found.metadata).decode(),
        found.numbers,
    )
    return Part(staged, found.part.number, found.part.of)


def joined(parts: Sequence[Staged]) -> Staged:
    """A document of its parts, in their order."""
    first = parts[0]
    return Staged(
        first.document_id,
        first.position,
        first.committed_ms,
        first.model,
        tuple(chunk for each in parts for chunk in each.chunks),
        np.concatenate([each.vectors for each in parts]),
        first.metadata,
        first.numbers,
    )


Place = tuple[int, int]
"""Partition and offset."""


@dataclass(frozen=True, slots=True)
class Known:
    """What an index knows of a document. Without places it was deleted at its position."""

    position: Position
    committed_ms: int | None = None
    model: str = ""
    chunk_ids: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()


class Index:
    """Which document stands where in a topic, as its records say in their order: the latest position counts."""

    def __init__(self) -> None:
        self.known: dict[str, Known] = {}
        self._parts: dict[str, dict[int, tuple[Part, Place]]] = {}

    def take(self, key: Key, value: bytes | None, deleted: Stood | None, place: Place) -> Known | None:
        """One record; `deleted` is by which change, None where it doesn't say. What was overtaken by it, if so: a
        document that a record with an earlier position came behind.

        Raises DecodeError of what is no record of ours.
        """
        document_id, number = document_of(key)
        if value is None:
            return self._gone(document_id, deleted) if number == 0 else None
        part = read(value)
        kept = self._parts.setdefault(document_id, {})
        kept[number] = (part, place)
        if number:
            return None
        del self._parts[document_id]
        there = [kept.get(at) for at in range(part.of)]
        parts = [each for each in there if each is not None and each[0].staged.position == part.staged.position]
        known = self.known.get(document_id)
        if known is not None and known.position > part.staged.position:
            return known
        if len(parts) < part.of:
            return None
        staged = part.staged
        ids = tuple(chunk.chunk_id for each, _ in parts for chunk in each.staged.chunks)
        places = tuple(at for _, at in parts)
        self.known[document_id] = Known(staged.position, staged.committed_ms, staged.model, ids, places)
        return None

    def _gone(self, document_id: str, deleted: Stood | None) -> Known | None:
        known = self.known.get(document_id)
        if deleted is None:
            self.known.pop(document_id, None)
        elif known is not None and known.position > deleted.position:
            return known
        else:
            self.known[document_id] = Known(deleted.position, deleted.committed_ms)
        return None

    def of_table(self, table: str) -> Iterator[tuple[str, Known]]:
        """The documents of a table: whose id begins with it and a slash."""
        return ((each, known) for each, known in self.known.items() if each.startswith(f"{table}/"))

    def living(self) -> Mapping[str, Known]:
        """The documents that are there."""
        return {each: known for each, known in self.known.items() if known.places}
