"""What a store is asked to do for one document, and what it answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Any

from core.change import Position
from core.errors import bounded


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document's text: an exact substring of it, and the `ordinal`-th from its start (0-based)."""

    chunk_id: str
    ordinal: int
    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    """One document, as it should stand in a store at `position`.

    chunk_ids     every chunk of the document, in order; whatever else the store holds of it goes. Empty: it is deleted
    write         those of them that the store may not have, with their text, to embed and upsert
    metadata      JSON values, the same for each chunk
    moved_from    the document's id before its key changed: its chunks of the same text have the vectors already
    committed_ms  when the source committed the change, for measuring only; of a row that a snapshot read nobody knows
    numbers       names of metadata whose text is a number's digits: stores keep it as that number
    earlier       metadata that the document had before, as JSON, as far as its state knows; for outcomes alone
    """

    document_id: str
    position: Position
    chunk_ids: tuple[str, ...] = ()
    write: tuple[Chunk, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    moved_from: str = ""
    committed_ms: int | None = None
    numbers: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()

    @property
    def kept(self) -> tuple[str, ...]:
        """The chunks that the store must have already: those that aren't written."""
        written = {chunk.chunk_id for chunk in self.write}
        return tuple(each for each in self.chunk_ids if each not in written)


class Status(StrEnum):
    """How a plan ended: in the store, refused because the store knows a later position, or rejected for good."""

    APPLIED = "applied"
    STALE = "stale"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A store's answer to one plan. `error` is the class of the error and `reason` its message when rejected."""

    document_id: str
    status: Status
    error: str = ""
    reason: str = ""


def tables_of(document_id: str) -> list[str]:
    """Every table that a document may be one of: all that its id has before a slash, as tables have slashes too."""
    return [document_id[:at] for at, letter in enumerate(document_id) if letter == "/"]


def rejected(document_id: str, error: Exception, reason: str = "") -> Outcome:
    """What a store answers to a plan that it can't store; `reason`, if given, in place of what the error says."""
    return Outcome(document_id, Status.REJECTED, type(error).__name__, bounded(reason or " ".join(str(error).split())))


def chunk_id(document_id: str, model: str, chunker: str, text: str, nth: int) -> str:
    """The id of the `nth` chunk of this text (0-based) in a document: 32 hexadecimal digits.

    The same text under the same model and chunker keeps its id, and so its vector, wherever in the document it moves.
    """
    return _digest((text, str(nth)), _digest((document_id, model, chunker), blake2b(digest_size=16))).hexdigest()


def _digest(parts: Iterable[str], digest: blake2b) -> blake2b:
    """The digest, with each part's length and bytes behind it."""
    for part in parts:
        raw = part.encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest


def chunks(
    document_id: str, text: str, ranges: Sequence[tuple[int, int]], model: str, chunker: str
) -> tuple[Chunk, ...]:
    """The pieces of a document's text, in order."""
    # as chunk_id, but what all ids of the document begin with is digested once
    begun = _digest((document_id, model, chunker), blake2b(digest_size=16))
    seen: dict[str, int] = {}
    made = []
    for ordinal, (begin, end) in enumerate(ranges):
        piece = text[begin:end]
        nth = seen[piece] = seen.get(piece, -1) + 1
        made.append(Chunk(_digest((piece, str(nth)), begun.copy()).hexdigest(), ordinal, piece))
    return tuple(made)


def made_by(document_id: str, there: Sequence[Chunk], model: str, chunker: str) -> frozenset[str]:
    """The ids of those of a document's chunks that this model and chunker made: others' vectors may say otherwise.

    A chunker's name has all that a vector depends on beside the model, the prompt before each document among it.
    """
    seen: dict[str, int] = {}
    made = set()
    for chunk in sorted(there, key=lambda each: each.ordinal):
        nth = seen[chunk.text] = seen.get(chunk.text, -1) + 1
        if chunk_id(document_id, model, chunker, chunk.text, nth) == chunk.chunk_id:
            made.add(chunk.chunk_id)
    return frozenset(made)


def fold(plans: Sequence[Plan]) -> dict[str, Plan]:
    """The plans of a batch, the latest of each document alone: applying it equals applying all, in any order.

    A plan has its document whole, so what came before it says nothing more.
    """
    folded: dict[str, Plan] = {}
    for plan in plans:
        earlier = folded.get(plan.document_id)
        if earlier is None or earlier.position <= plan.position:
            folded[plan.document_id] = plan
    return folded


def earlier_of(plans: Sequence[Plan]) -> dict[str, tuple[str, ...]]:
    """What the plans of a batch say that each document was before, together: what one alone says, `fold` drops."""
    found: dict[str, dict[str, None]] = {}
    for plan in plans:
        if plan.earlier:
            found.setdefault(plan.document_id, {}).update(dict.fromkeys(plan.earlier))
    return {document_id: tuple(each) for document_id, each in found.items()}
