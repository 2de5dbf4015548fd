"""What tools are asked and answer, as types: their schemas are made of them, and arguments are read by them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from serving.answers.shapes import LONGEST_NAME
from serving.shapes import LONGEST_QUERY, MOST_NEIGHBOURS, Cosine, Mode, WaitFor

Index = Annotated[str, Meta(max_length=LONGEST_NAME, description="An index's name.")]


class SearchAsked(msgspec.Struct, forbid_unknown_fields=True):
    """What is searched for in an index, which may be left out where there is one."""

    query: Annotated[str, Meta(min_length=1, max_length=LONGEST_QUERY, description="What to look for, in words.")]
    index: Index | None = None
    k: Annotated[int, Meta(ge=1, le=100, description="How many chunks to answer with.")] = 5
    filter: msgspec.Raw | UnsetType = UNSET
    mode: Mode = "vector"
    min_score: Cosine | None = None
    wait_for: WaitFor | None = None


class DocumentAsked(msgspec.Struct, forbid_unknown_fields=True):
    """A document, whole, or the chunk of an ordinal with so many neighbours on each side."""

    document_id: Annotated[str, Meta(min_length=1, max_length=LONGEST_QUERY)]
    index: Index | None = None
    around: Annotated[int, Meta(ge=0, le=100_000_000)] | None = None
    neighbours: Annotated[int, Meta(ge=0, le=MOST_NEIGHBOURS)] = 1


class ProfileAsked(msgspec.Struct, forbid_unknown_fields=True):
    """Whose profile: `email/kari@x.no`, `record/public.customers/1`, or a profile's id."""

    customer: Annotated[str, Meta(min_length=1, max_length=LONGEST_QUERY)]
    explain: bool = False


class ChangesAsked(msgspec.Struct, forbid_unknown_fields=True):
    """Documents of an index that changed last, or `after` an earlier answer's `next`, the oldest first."""

    index: Index | None = None
    filter: msgspec.Raw | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=200)] = 20
    after: Annotated[str, Meta(max_length=10_000)] | None = None


class Changed(msgspec.Struct, omit_defaults=True):
    """A document that changed or is gone, or a table that was cleared of what stood before a position."""

    event: Literal["changed", "gone", "cleared"]
    position: str
    document_id: str | None = None
    table: str | None = None
    committed_at: str | None = None
    metadata: dict[str, Any] | None = None


class Recent(msgspec.Struct):
    """What changed. `next`: what came later is asked for by it."""

    changes: list[Changed]
    next: str
