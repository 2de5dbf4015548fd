"""What stores applied, as messages of a topic: how each document stands by now, and what metadata it had before.

A message is a JSON object. Those of a document are in the order in which they were applied, and the last of them has
its metadata as the stores have it. One may come again, after a job went back to its checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import msgspec
from msgspec import Raw

from core.change import Position
from core.plans import Plan
from core.stores.exact_numbers import with_numbers
from core.stores.filters.evaluation import passes
from core.stores.filters.language import EVERYTHING, Filter


class Applied(msgspec.Struct, frozen=True, tag="applied", tag_field="kind"):
    """A plan that stores applied.

    pipeline      whose stores they are, by its name: pipelines may share a topic
    position      as a store's ledger has it; later ones are greater texts
    stores        those that applied it, by their names in the pipeline file
    metadata      as stores keep it, in JSON; null: the document is deleted, or has no text
    earlier       what it may have been before, each once
    committed_ms  when the source committed the change, since 1970; None where nobody knows
    cut           metadata and what it was before didn't fit the topic: in their place stand {}, or null, and nothing
    """

    pipeline: str
    document_id: str
    position: Position
    stores: tuple[str, ...]
    metadata: Raw
    earlier: tuple[Raw, ...] = ()
    committed_ms: int | None = None
    cut: bool = False


class Cleared(msgspec.Struct, frozen=True, tag="cleared", tag_field="kind"):
    """A table that stores cleared, of all its documents that stood at a position below `before`.

    pipeline  whose stores they are
    table     what the documents' ids begin with, before a slash
    """

    pipeline: str
    table: str
    before: Position
    stores: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class There:
    """A document that passes a filter. `metadata` is JSON."""

    document_id: str
    position: Position
    committed_ms: int | None
    metadata: bytes


@dataclass(frozen=True, slots=True)
class Gone:
    """A document that passed a filter and does no more. It may be there still, as something that doesn't pass."""

    document_id: str
    position: Position
    committed_ms: int | None


Heard = There | Gone | Cleared

_NULL = Raw(b"null")
_NONE = Raw(b"{}")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Applied | Cleared).decode


def applied(pipeline: str, plan: Plan, stores: Iterable[str], earlier: Sequence[str]) -> bytes:
    """The message of a plan that stores applied. `earlier`: JSON of metadata that it may have had before."""
    metadata = Raw(metadata_of(plan).encode()) if plan.chunk_ids else _NULL
    before = _distinct(earlier)
    said = Applied(pipeline, plan.document_id, plan.position, tuple(stores), metadata, before, plan.committed_ms)
    return _encode(said)


def of_stored(
    pipeline: str, document_id: str, position: Position, store: str, metadata: str | None, earlier: Sequence[str]
) -> bytes:
    """The message of a document as a store has it, whoever brought it there; None: it has no chunks."""
    now = _NULL if metadata is None else Raw(metadata.encode())
    return _encode(Applied(pipeline, document_id, position, (store,), now, _distinct(earlier)))


def cleared(pipeline: str, table: str, before: Position, stores: Iterable[str]) -> bytes:
    """The message of a table that stores cleared."""
    return _encode(Cleared(pipeline, table, before, tuple(stores)))


def metadata_of(plan: Plan) -> str:
    """A plan's metadata as JSON, with its exact numbers, in ASCII."""
    return with_numbers(plan.metadata, plan.numbers)


def fitted(message: bytes, room: int) -> bytes:
    """The message, without metadata where it has more than `room` bytes."""
    if len(message) <= room:
        return message
    whole = _decode(message)
    if isinstance(whole, Cleared):
        return message
    left = whole.metadata if bytes(whole.metadata) == bytes(_NULL) else _NONE
    return _encode(msgspec.structs.replace(whole, metadata=left, earlier=(), cut=True))


def heard(message: bytes, pipeline: str, store: str, among: Filter) -> Heard | None:
    """What a message says of a pipeline's store to whoever may see what passes a filter; None: nothing.

    Of a document that didn't pass before and doesn't now nothing is said, not even its id; of one that passes no more
    not what it is now. Raises msgspec.MsgspecError where the message is none of ours.
    """
    found = _decode(message)
    if found.pipeline != pipeline or store not in found.stores:
        return None
    if isinstance(found, Cleared):
        return found
    if found.cut and among != EVERYTHING:
        return None
    if bytes(found.metadata) != bytes(_NULL) and _passes(among, found.metadata):
        return There(found.document_id, found.position, found.committed_ms, bytes(found.metadata))
    if found.cut or any(_passes(among, each) for each in found.earlier):
        return Gone(found.document_id, found.position, found.committed_ms)
    return None


def _distinct(earlier: Sequence[str]) -> tuple[Raw, ...]:
    return tuple(Raw(each.encode()) for each in dict.fromkeys(earlier))


def _passes(among: Filter, metadata: Raw) -> bool:
    return among == EVERYTHING or passes(among, json.loads(bytes(metadata), parse_float=Decimal))
