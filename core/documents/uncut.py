"""Documents that are planned in one piece and cut later: of several plans of one, the last alone is worth cutting.

Where a job is behind, a document's changes meet before they are written, and `core.plans.fold` leaves the last. To cut
a text takes most of what a plan takes, so what is folded away costs next to nothing. What a document's changes come to
is the business of `core.documents.step`, one after the other, as ever: how a text is cut decides nothing there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

from core.documents.spec import Chunker
from core.plans import Plan, chunks

REMEMBERED = 20_000
"""Ranges that a worker remembers: 100 documents of 200 chunks, or 10,000 of two."""


def uncut(chunker: Chunker) -> Chunker:
    """What leaves each text in one piece, for `cut` to cut as the chunker does.

    It has a name of its own: the ranges that a state keeps are of one of the two.
    """
    return Chunker(f"uncut:{chunker.name}", lambda text: ((0, len(text)),))


def cut(plan: Plan, model: str, chunker: Chunker) -> Plan:
    """A plan that was made with `uncut(chunker)`, as the chunker itself would have made it."""
    if not plan.write:
        return plan
    (whole,) = plan.write
    made = chunks(plan.document_id, whole.text, chunker.ranges(whole.text), model, chunker.name)
    return replace(plan, chunk_ids=tuple(chunk.chunk_id for chunk in made), write=made)


def remembering(chunker: Chunker, most: int = REMEMBERED) -> Chunker:
    """The chunker, which remembers where it cut the last texts, of so many ranges in all, by their digests.

    A row changes more often in another column than in its text, and a long text takes its time.
    """
    known: OrderedDict[bytes, tuple[tuple[int, int], ...]] = OrderedDict()
    held = 0

    def ranges(text: str) -> Sequence[tuple[int, int]]:
        nonlocal held
        name = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        found = known.pop(name, None)
        if found is None:
            found = tuple(chunker.ranges(text))
            held += len(found)
        known[name] = found
        while held > most:
            held -= len(known.popitem(last=False)[1])
        return found

    return Chunker(chunker.name, ranges)
