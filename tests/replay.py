"""The recorded workload and its truth: what a store must hold after a replay, and what it holds instead."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Mapping
from pathlib import Path

FIXTURES = Path(__file__).parent / "fixtures" / "debezium"
WORKLOAD = FIXTURES / "workload.jsonl.gz"
TOPICS = ("w.public.customers", "w.public.documents")

StoredChunk = tuple[str, int, str]
"""document_id, ordinal, text."""


def true_rows(table: str) -> list[dict[str, str]]:
    """The rows of `documents` or `customers` when the workload is over; "" also stands for a null."""
    with gzip.open(FIXTURES / f"workload_final_{table}.csv.gz", "rt", newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def true_documents(template: str = "{title}\n\n{body}") -> dict[str, str]:
    """Document id to text, for the documents table under a pipeline's text template."""
    return {f"public.documents/{row['id']}": template.format(**row) for row in true_rows("documents")}


def differences(stored: Iterable[StoredChunk], truth: Mapping[str, str]) -> list[str]:
    """What keeps the stored chunks from being the truth, a line a document; none where they are it.

    They are it where each document with a text that isn't blank has chunks 0 … n-1, all pieces of its text and together
    all of it but white space, and nothing else is stored.
    """
    chunks: dict[str, dict[int, str]] = {}
    problems = []
    for document_id, ordinal, text in stored:
        if ordinal in chunks.setdefault(document_id, {}):
            problems.append(f"{document_id}: ordinal {ordinal} is stored twice")
        chunks[document_id][ordinal] = text
    for document_id in sorted(chunks.keys() | truth.keys()):
        problem = _problem(chunks.get(document_id, {}), truth.get(document_id))
        if problem:
            problems.append(f"{document_id}: {problem}")
    return problems


def _problem(chunks: Mapping[int, str], text: str | None) -> str | None:
    if text is None:
        return f"{len(chunks)} chunks of a document that is gone"
    if bool(chunks) != bool(text.strip()):
        return f"{len(chunks)} chunks for a text of {len(text)} characters"
    if sorted(chunks) != list(range(len(chunks))):
        return f"ordinals {sorted(chunks)}"
    pieces = [chunks[ordinal] for ordinal in range(len(chunks))]
    strange = [ordinal for ordinal, piece in enumerate(pieces) if piece not in text]
    if strange:
        return f"chunks {strange} are no part of the text"
    return None if covers(text, pieces) else f"its {len(pieces)} chunks leave gaps, or are out of order"


def covers(text: str, pieces: Iterable[str]) -> bool:
    """Whether the pieces, in order, can lie on the text so that only white space stays uncovered."""
    ways = {0: -1}  # where the pieces so far may end, and the earliest start of the last one for that end
    for piece in pieces:
        ways = {
            start + len(piece): start
            for start in reversed(_places(text, piece))
            if any(before < start and not text[end:start].strip() for end, before in ways.items())
        }
    return any(not text[end:].strip() for end in ways)


def _places(text: str, piece: str) -> list[int]:
    places = [text.find(piece)]
    while places[-1] >= 0:
        places.append(text.find(piece, places[-1] + 1))
    return places[:-1]
