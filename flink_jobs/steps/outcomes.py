"""What the writing worker says of a batch to the topic of outcomes, where the pipeline has one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from core.plans import Outcome, Plan, Status
from core.stores.contract import Stored
from core.stores.outcomes import applied, metadata_of, of_stored
from flink_jobs.payloads import Embedded
from flink_jobs.steps.fan_out import FanOut

Messages = tuple[tuple[str, bytes], ...]
"""Keys and values."""


def what_stood(rows: Sequence[Embedded], stores: FanOut) -> dict[str, list[str]]:
    """The metadata that stores have of a batch's documents, as JSON, before it is written.

    Beside what the plans say: a store may know a document that no state does, or never have taken its last plan.
    """
    found: dict[str, list[str]] = {}
    plans = [row.plan.document_id for row in rows if row.plan is not None]
    for there in (stores.standing(plans) if plans else {}).values():
        for document_id, stored in there.items():
            found.setdefault(document_id, []).append(_json(stored))
    return found


def messages_of(
    rows: Sequence[Embedded],
    outcomes: Sequence[Mapping[str, Outcome]],
    before: Mapping[str, Sequence[str]],
    stores: FanOut,
    pipeline: str,
) -> dict[int, Messages]:
    """The messages of a pipeline's batch that was written, by the row.

    Of a plan that a store knows a later one than, it is said how that store has the document: a job that goes back to
    a checkpoint may have written the plan before, and nobody have heard of it.
    """
    stale = [row.document_id for row, each in zip(rows, outcomes, strict=True) if row.plan and _of(each, Status.STALE)]
    there = stores.standing(stale) if stale else {}
    found: dict[int, Messages] = {}
    for at, (row, each) in enumerate(zip(rows, outcomes, strict=True)):
        if row.plan is None:
            continue
        earlier = [*row.plan.earlier, *before.get(row.document_id, ())]
        said = [applied(pipeline, row.plan, took, earlier)] if (took := _of(each, Status.APPLIED)) else []
        said += [
            _as_it_stands(pipeline, row.plan, store, there.get(store, {}), earlier) for store in _of(each, Status.STALE)
        ]
        found[at] = tuple((row.document_id, message) for message in said)
    return found


def _of(outcomes: Mapping[str, Outcome], status: Status) -> list[str]:
    return [store for store, outcome in outcomes.items() if outcome.status is status]


def _as_it_stands(pipeline: str, plan: Plan, store: str, there: Mapping[str, Stored], earlier: Sequence[str]) -> bytes:
    stored = there.get(plan.document_id)
    was = [*earlier, *([metadata_of(plan)] if plan.chunk_ids else [])]
    if stored is None:
        return of_stored(pipeline, plan.document_id, plan.position, store, None, was)
    position = max(stored.position, plan.position)
    return of_stored(pipeline, plan.document_id, position, store, _json(stored), was)


def _json(stored: Stored) -> str:
    return json.dumps(dict(stored.metadata))
