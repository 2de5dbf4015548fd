"""What every store can do. A store is one package in `connectors`, held to one contract suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.change import Position
from core.identity.audit import Audit
from core.identity.identifiers import Identifier
from core.plans import Chunk, Outcome, Plan
from core.profiles.delivery import Delivery, Opening
from core.profiles.merging import Profile
from core.profiles.step import Placed
from core.shards.progress import Progress
from core.stores.filters.language import EVERYTHING, Filter
from core.stores.fingerprint import Owner

Vectors = NDArray[np.float32]
"""Unit vectors, shape (n, dimension)."""


def nobody_hears(line: str) -> None:
    """Takes messages about progress where nobody is there to read them."""


@dataclass(frozen=True, slots=True)
class Stood:
    """Which change a document shows: its position, and when it was committed, in ms since 1970, where that is known."""

    position: Position
    committed_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that answers a search.

    score   what orders the answers: the cosine similarity of `search`, 1 for the same direction; of `match` how well
            the words fit, which compares within one answer alone
    cosine  of the question's vector and the chunk's; None where no vector was given
    stood   of the document's change that the chunk is of; None where the store can't tell for sure
    """

    score: float
    document_id: str
    chunk_id: str
    ordinal: int
    text: str
    metadata: Mapping[str, Any]
    cosine: float | None = None
    stood: Stood | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as a store holds it: its chunks by ordinal, `vectors` (n, dimension) in the same order.

    position  as the ledger has it; BEGINNING where the ledger doesn't know of the document
    chunks    those of the store's model
    others    how many chunks of other models stand beside them, by model
    committed_ms  when its last change was committed, in ms since 1970, where that is known
    """

    document_id: str
    position: Position
    chunks: tuple[Chunk, ...]
    metadata: Mapping[str, Any]
    vectors: Vectors
    others: Mapping[str, int] = field(default_factory=dict)
    committed_ms: int | None = None


class VectorStore(Protocol):
    """Documents as chunks with vectors, each document at the position of its last change.

    A store that was opened for an `Owner` is written to, by `apply` and `clear`, only while it is that run's: the first
    batch makes it so, unless a later run has it. Then they raise Displaced, and so does every one after.
    """

    def prepare(self) -> None:
        """Make what is missing on the server: table, index, ledger. Can be repeated.

        Raises Unavailable where the server doesn't answer, ConfigError where what is there doesn't fit
        (another dimension, say).
        """

    def look(self) -> bool:
        """Whether all is there that `prepare` makes. Writes nothing; raises as `prepare`, as far as it can tell."""

    def held(self, plans: Sequence[Plan]) -> frozenset[str]:
        """The ids of chunks in `write` that need no vector: the store has them, or knows a later position.

        Asked before embedding, so that a job which lost its state, or goes back to a checkpoint, embeds nothing twice.
        """

    def apply(self, plans: Sequence[Plan], vectors: Sequence[Vectors]) -> list[Outcome]:
        """Bring each plan's document to its state; one outcome a plan, in order.

        `plans` hold at most one plan a document; `vectors[i]` has a row for each chunk of `plans[i].write`, in order.
        A document changes as one whole or not at all. A plan older than what the store holds is stale; one of equal
        position is applied again, which changes nothing. Deletes keep their position too.
        A plan whose kept chunks the store lacks is rejected, so that a gap never passes for a document.
        Raises Unavailable where the server doesn't answer even after retries.
        """

    def clear(self, table: str, before: Position) -> int:
        """Delete the table's documents whose last change is older than `before`; how many had chunks.

        Documents of a table are those whose id starts with `table` and a slash. From now on a plan for such a document
        that is older than `before` is stale, however late it comes; a mark below an earlier one changes nothing.
        Chunks that the ledger doesn't know of are older than any position.
        Raises Unavailable as `apply` does.
        """

    def read(self, document_ids: Sequence[str]) -> dict[str, Stored]:
        """Those of the documents that have chunks, of whatever model and whether the ledger knows of them, by id.

        Sees every `apply` that has returned.
        """

    def positions(self, document_ids: Sequence[str]) -> dict[str, Position]:
        """Each document's position in the ledger, deleted ones too; unknown ones are left out."""

    def stood(self, document_ids: Sequence[str]) -> dict[str, Stood]:
        """Where the documents stand that are written whole, deleted ones too: searches show that, or what came later.

        One that is being written is left out. Doesn't wait for a server that is away.
        """

    def keep(self, progress: Progress) -> None:
        """Keep what a run says of itself, in the place of what was said before.

        Raises Displaced where a later run has the store. Doesn't wait for a server that is away.
        """

    def progress(self) -> Progress | None:
        """What was kept last; None where nothing was, or by a release whose form this one doesn't read.

        Doesn't wait for a server that is away.
        """

    def latest(self, table: str) -> Position:
        """The latest position of the table's documents and of its mark, as `clear` sets it; BEGINNING where none is.

        Documents of a table are those of `clear`. Looks through all of them.
        """

    def mark(self, table: str) -> Position:
        """The position below which the table's documents are refused, as `clear` set it; BEGINNING where it never did.

        Raises Unavailable as `apply` does.
        """

    def drop(self, stood: Mapping[str, Position]) -> frozenset[str]:
        """Take documents out as if they had never been: all their chunks, and what the ledger knows; which were.

        Those alone that stand at the position given, BEGINNING for one that the ledger doesn't know. The next
        change of each is taken, and written whole: so damage goes that a store can't see by itself.
        Raises Unavailable as `apply` does.
        """

    def owner(self) -> Owner | None:
        """Whose the store is; None where nobody's yet, as one that an earlier release made."""

    def claim(self, say: Callable[[str], None] = nobody_hears) -> None:
        """Make the store its owner's for whom it was opened. Raises Displaced where a later run has it.

        `say` gets a sentence on whom it waits for where that takes seconds; Unavailable where it takes a minute.
        """

    def bereft(self) -> int:
        """Of how many documents the ledger says that they have chunks, where not one chunk is there; 0 where any is.

        So it stands after somebody dropped or emptied what the ledger is beside, which then refuses what would mend it.
        Doesn't need `prepare`, and doesn't wait for a server that is away.
        """

    def models(self) -> dict[str, int]:
        """How many chunks there are of each model, the most first. Reads them all."""

    def document_ids(self) -> Iterator[str]:
        """The id of every document that has chunks, each once, in any order; in bounded memory."""

    def search(self, vector: NDArray[np.float32], k: int, where: Filter = EVERYTHING) -> list[Hit]:
        """The `k` nearest chunks whose metadata passes `where`, nearest first.

        Which those are `core.stores.filters.evaluation` says.
        """

    def unindexed(self) -> int:
        """How many chunks an earlier release wrote in a way in which no filter finds them. Counts them all."""

    def match(
        self, text: str, k: int, where: Filter = EVERYTHING, vector: NDArray[np.float32] | None = None
    ) -> list[Hit]:
        """The `k` chunks that share words with `text`, as `core.stores.ranking.words_of` has it, best first.

        By BM25: rare words count for more, a word that comes often for more up to a limit, short chunks for more than
        long ones. `where` as in `search`. With a `vector` each hit has its cosine. Equal ones are ordered by document,
        ordinal and chunk id.
        """

    def close(self) -> None:
        """Give connections back."""


class ProfileStore(Protocol):
    """Profiles, one a person, with the ids that they had before. One writer sends it every delivery, in order."""

    def prepare(self) -> None:
        """Make what is missing on the server. Can be repeated. Raises Unavailable as `VectorStore.prepare` does."""

    def look(self) -> bool:
        """Whether all is there that `prepare` makes; see `VectorStore.look`."""

    def begin(self, version: int, least: int = 0) -> Opening:
        """Begin the epoch of a writer whose state stands at `version`; what earlier ones still send is stale from now.

        The epoch is `least`, where that is given and more than all before; so several stores can begin the same one.
        Raises Unavailable where the server doesn't answer.
        """

    def apply(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """Follow deliveries, in the order of their versions; one outcome a delivery, its document id the record's.

        Whoever reads sees what stood before them or what stands after, and nothing between. One of another epoch, or of
        a version that it has already, is stale. Raises Unavailable where the server doesn't answer even after retries.
        """

    def get(self, profile_id: str) -> Profile | None:
        """The profile of this id, or the one that it leads to as an alias."""

    def of_record(self, record: str) -> Profile | None:
        """The profile that a record is part of, by its id, `table/key`."""

    def is_erased(self, profile_id: str) -> bool:
        """Whether a profile of this id was there, or it led to one, and every record of it was deleted.

        Known for as long as deletions are remembered, by the id alone: nothing is kept of what it was.
        """

    def members(self, profile_id: str, most: int) -> list[Placed]:
        """At most so many of the records that make a profile, by table and key. Not by alias."""

    def history(self, profile_id: str, most: int) -> list[Audit]:
        """At most so many of the audit records that name a profile, newest first. Not by alias."""

    def find(self, identifier: Identifier) -> Profile | None:
        """The profile that an identifier is of."""

    def everything(self) -> tuple[dict[str, Profile], dict[str, str]]:
        """Every profile by its id, and each record's profile; while a writer is at work, not all as of one moment."""

    def close(self) -> None:
        """Give connections back."""
