"""What a document was before a change of it, by what its state knows: for those who listen through a filter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core.change import Operation
from core.documents.spec import DocumentSpec
from core.documents.state import DocumentState
from core.documents.step import metadata_of, numbers_of
from core.documents.templates import chosen, column_of
from core.documents.unsettled import Settled
from core.errors import ChangeError
from core.plans import Plan
from core.stores.exact_numbers import with_numbers


def with_earlier(plan: Plan, state: DocumentState | None, spec: DocumentSpec, numbers: frozenset[str]) -> Plan:
    """The plan, with the metadata that its document had by the state before.

    A job that goes back to a checkpoint finds that state there again, where the stores may be further already.

    numbers  columns whose values are numbers as text, as the change has them
    """
    if state is None or not state.made_by or state.holes is not None:
        return plan
    return replace(plan, earlier=_metadata(state.row, spec, numbers))


def with_departed(plan: Plan, settled: Settled, spec: DocumentSpec) -> Plan:
    """The plan of a row that left its key, with the metadata that its document had there."""
    change = settled.what.change
    if change.operation is not Operation.DELETE or not change.row:
        return plan
    return replace(plan, earlier=_metadata(change.row, spec, change.numbers))


def _metadata(row: Mapping[str, Any], spec: DocumentSpec, numbers: frozenset[str]) -> tuple[str, ...]:
    names = [column_of(chosen(each.split("|"), row), row) for each in spec.metadata]
    if not all(name in row or name == "" for name in names):
        return ()
    try:
        return (with_numbers(metadata_of(spec, row), numbers_of(spec, row, numbers)),)
    except ChangeError:
        return ()
