"""An index: one store of one pipeline, opened to be asked by many at once, and what embeds their questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connectors.opening.stores import open_store, stores_of
from core.config.pipeline import Pipeline
from core.errors import ConfigError, Unavailable
from core.shards.progress import Standing
from core.stores.contract import Hit, Stood, Stored, VectorStore
from core.stores.filters.evaluation import passes
from core.stores.filters.language import EVERYTHING, Filter, both
from core.stores.ranking import fused, reach
from operations.addresses import nobody_at, of_store, setting_of_store
from operations.freshness import Freshness, Wanted, wanted
from operations.owning import otherwise, unfound
from operations.pool import Pool
from udfs.embedding.contract import Embedder
from udfs.embedding.embedder import dimension, questioner

_PATIENCE_S = 1.0
_SEARCH_S = 30.0
"""Who asked doesn't wait any longer, and what they asked for is to hold no connection for longer."""

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ByVector:
    """What is near to a vector, of shape (dimension,)."""

    vector: Vector


@dataclass(frozen=True, slots=True)
class ByWords:
    """What has a text's words. With its vector each answer has its cosine."""

    text: str
    vector: Vector | None = None


@dataclass(frozen=True, slots=True)
class ByBoth:
    """What has a text's words, and what is near to its vector: both rankings, fused."""

    text: str
    vector: Vector


Question = ByVector | ByWords | ByBoth


def ranked(store: VectorStore, question: Question, k: int, among: Filter) -> list[Hit]:
    """The `k` best of a store's chunks that pass the filter, best first. Raises as the store's methods do."""
    match question:
        case ByVector(vector):
            return store.search(vector, k, among)
        case ByWords(text, given):
            return store.match(text, k, among, given)
        case ByBoth(text, vector):
            most = reach(k)
            return fused([store.search(vector, most, among), store.match(text, most, among, vector)], k)


class Index:
    """What a pipeline wrote to one of its stores.

    name       the store's, in the pipeline file
    columns    the metadata's, which filters may name
    dimension  numbers in a vector
    has_words  whether chunks are found by words too
    embedder   of questions
    """

    def __init__(self, pipeline: Pipeline, store: str, connections: int) -> None:
        """`store`: its name in the pipeline file. So many `connections` ask it at once.

        Loads the model. Raises Unavailable where nobody is there, ConfigError as `open_stores` does.
        """
        self._pipeline = pipeline
        self.name = store
        # a model takes long to load: not for a store that isn't there
        if away := nobody_at(of_store(pipeline, self.name), setting_of_store(pipeline, self.name)):
            raise Unavailable(away)
        self.columns = frozenset(columns_of(pipeline))
        self.dimension = dimension(pipeline.embedding)
        self.has_words = pipeline.store.targets[store].has_words
        self.embedder: Embedder = questioner(pipeline.embedding)
        at = (stores_of(pipeline), self.name, self.dimension, _PATIENCE_S, _SEARCH_S)
        opened = [open_store(*at) for _ in range(connections)]
        self._stores = Pool(opened)
        self._freshness = Freshness()

    def connect(self) -> list[str]:
        """Make every connection; notes on what is there: how it was made otherwise, what no filter finds.

        Raises ConfigError where the pipeline has made nothing yet, or by another model; Unavailable as `check` does.
        """
        for store in self._stores.all:
            if not store.look():
                place = self._pipeline.place(self.name)
                raise ConfigError([f"store.{self.name}: {place} isn't there; `freshet run` makes it"])
        store = self._stores.all[0]
        try:
            notes = otherwise(self._pipeline, {self.name: store})
        except ConfigError:
            notes = []  # who may read the chunks alone can't see whose they are
        return [*notes, *filter(None, [unfound(self._pipeline, self.name, store)])]

    def check(self) -> None:
        """Raises Unavailable where the store doesn't answer, ConfigError where its table or index isn't there."""
        with self._stores.one() as store:
            if not store.look():
                raise ConfigError([f"store.{self.name}: {self._pipeline.place(self.name)} isn't there"])

    def search(self, question: Question, k: int, granted: Filter, asked: Filter) -> tuple[list[Hit], Standing]:
        """The `k` best chunks for the question that pass both filters, and how fresh that is at the least.

        granted  what whoever asks may see; each answer is held against it once more, as a store may not find by a
                 filter what an earlier release wrote
        asked    what they asked for

        Whoever sees a part is given no BM25 scores, but those of ranks: they tell how many chunks of all have a word.
        Raises Unavailable where the store doesn't answer.
        """
        among = both(granted, asked)
        with self._stores.one() as store:
            # asked before: what is searched then is no older
            fresh = self._freshness.of(store)
            hits = ranked(store, question, k, among)
        if isinstance(question, ByWords) and granted != EVERYTHING:
            hits = fused([hits], k)
        return [hit for hit in hits if passes(granted, hit.metadata)], fresh

    def document(self, document_id: str, granted: Filter) -> tuple[Stored, Standing] | None:
        """A document, if it has chunks and passes the filter, and how fresh that is at the least.

        Raises Unavailable where the store doesn't answer.
        """
        with self._stores.one() as store:
            fresh = self._freshness.of(store)
            found = store.read([document_id]).get(document_id)
        return (found, fresh) if found is not None and passes(granted, found.metadata) else None

    def wanted(self, position: str, document_id: str = "") -> Wanted:
        """The change that somebody waits for. Raises PositionError."""
        return wanted(self._pipeline, position, document_id)

    def fresh(self) -> Standing:
        """How fresh the index is. Raises Unavailable where the store doesn't answer."""
        with self._stores.one() as store:
            return self._freshness.of(store)

    def stood(self, document_ids: Sequence[str]) -> tuple[Standing, Mapping[str, Stood]]:
        """How fresh the index is, and where documents stand. Raises Unavailable where the store doesn't answer."""
        with self._stores.one() as store:
            return self._freshness.of(store), store.stood(document_ids) if document_ids else {}

    def close(self) -> None:
        """Give connections back; nobody asks any more."""
        self._stores.close()


def columns_of(pipeline: Pipeline) -> Sequence[str]:
    """The names that the metadata of a pipeline's documents has, in order."""
    return sorted({names.split("|")[0] for document in pipeline.documents.values() for names in document.metadata})
