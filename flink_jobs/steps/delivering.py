"""The step that writes deliveries to the profile store, before their vectors: a pandas UDF."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd
from pyflink.table import DataTypes, FunctionContext
from pyflink.table.udf import ScalarFunction, udf

from connectors.opening.stores import Stores, open_profiles, open_stores
from core.config.documents import Chunk
from core.config.embedding import Embedding
from core.documents.step import Chunker
from core.documents.uncut import uncut
from core.metrics import tally
from core.plans import Outcome, Status, fold
from core.profiles.delivery import TABLE, Delivery, Texts, epoch_position, plans_of
from core.stores.contract import ProfileStore, VectorStore
from flink_jobs import payloads
from flink_jobs.engine import workers
from flink_jobs.engine.metrics import Meters
from flink_jobs.payloads import Written
from udfs.embedding.embedder import dimension
from udfs.embedding.tokenizing import document_chunker


def write_profiles(
    deliveries: Sequence[Delivery],
    store: ProfileStore,
    vectors: Sequence[VectorStore],
    model: str,
    chunker: Chunker,
    texts: Texts,
) -> tuple[list[Outcome], list[Written]]:
    """Write a batch; each delivery's outcome, and what is left to do. Of a profile's plans the last is kept.

    Plans follow what is committed, so a vector store never knows of a change that a later epoch couldn't undo.
    A profile whose text is still the last planned one, as `texts` knows, needs no plan.
    """
    outcomes = store.apply(deliveries)
    applied = [each for each, outcome in zip(deliveries, outcomes, strict=True) if outcome.status is Status.APPLIED]
    if not vectors:
        plans = {}
    else:
        for first in (each for each in applied if each.undone == 0):
            for each in vectors:
                each.clear(TABLE, epoch_position(first.epoch))
        made = {each.version: plans_of(texts.changed(each), model, chunker) for each in applied}
        last = {id(plan) for plan in fold([plan for each in made.values() for plan in each]).values()}
        plans = {
            version: tuple(payloads.PLAN.encode(plan) for plan in each if id(plan) in last)
            for version, each in made.items()
        }
    written = [
        Written(plans.get(each.version, ()), (outcome,) if outcome.status is Status.REJECTED else ())
        for each, outcome in zip(deliveries, outcomes, strict=True)
    ]
    return outcomes, written


class _WriteProfiles(ScalarFunction):
    def __init__(self, stores: Stores, embedding: Embedding) -> None:
        self._stores = stores
        self._embedding = embedding
        self._meters = Meters()

    def open(self, function_context: FunctionContext) -> None:
        workers.begin()
        self._store = open_profiles(self._stores)
        named = bool(self._stores.settings.names)
        self._vectors = list(open_stores(self._stores, dimension(self._embedding)).values()) if named else []
        self._chunker = uncut(document_chunker(self._embedding, Chunk()))
        self._texts = Texts()
        self._meters.open(function_context.get_metric_group())

    def close(self) -> None:
        self._store.close()
        for each in self._vectors:
            each.close()

    def is_deterministic(self) -> bool:
        return False

    def eval(self, deliveries: pd.Series[Any]) -> pd.Series[Any]:
        decoded = [payloads.DELIVERY.decode(raw) for raw in deliveries]
        outcomes, written = write_profiles(
            decoded, self._store, self._vectors, self._embedding.model, self._chunker, self._texts
        )
        self._count(decoded, outcomes)
        nothing = Written()
        return pd.Series([None if each == nothing else payloads.WRITTEN.encode(each) for each in written], dtype=object)

    def _count(self, deliveries: Sequence[Delivery], outcomes: Sequence[Outcome]) -> None:
        """Here and not where persons are linked: a counter there is a way across a border, and here is a batch."""
        for status, count in Counter(outcome.status for outcome in outcomes).items():
            self._meters.count("deliveries", count, status=status.value)
        if not self._vectors:
            # else the functions behind this one tell it
            self._meters.tell(tally.drain())
        applied = [
            each.changes for each, outcome in zip(deliveries, outcomes, strict=True) if outcome.status is Status.APPLIED
        ]
        for kind, count in Counter(audit.kind for changes in applied for audit in changes.audit).items():
            self._meters.count("identity", count, event=kind.value)
        self._meters.count("profiles_made", sum(len(changes.born) for changes in applied))
        self._meters.count("profiles_retired", sum(len(changes.retired) for changes in applied))


def profile_functions(stores: Stores, embedding: Embedding) -> dict[str, Any]:
    """The UDF by its SQL name. `write_profiles(delivery)` is an encoded Written, or NULL where nothing is left."""
    return {
        "write_profiles": udf(_WriteProfiles(stores, embedding), result_type=DataTypes.BYTES(), func_type="pandas"),
    }
