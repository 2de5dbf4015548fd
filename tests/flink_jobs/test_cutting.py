"""Which chunker cuts a document in the worker: its table's, with the table's database in the id or without."""

from __future__ import annotations

import pytest

from core.change import Position
from core.config.documents import Chunk
from core.config.embedding import Embedding
from core.documents.spec import table_id
from core.documents.uncut import uncut
from core.plans import Plan, chunks
from flink_jobs.steps.cutting import Cuts
from udfs.embedding.tokenizing import document_chunker

HASHED = Embedding(model="hash")
CHUNKS = {"public.a": Chunk(tokens=8, overlap=0), "public.b": Chunk(tokens=12, overlap=0), "s3://b/docs": Chunk()}
TEXT = " ".join(f"word{number}" for number in range(40))


@pytest.mark.parametrize(
    ("called", "table"),
    [("public.a", "public.a"), ("public.b@shop:app", "public.b"), ("s3://b/docs", "s3://b/docs")],
)
def test_a_document_is_cut_as_its_table_says(called: str, table: str) -> None:
    name, chunker = f"{table_id(called)}/1", document_chunker(HASHED, CHUNKS[table])
    whole = uncut(chunker)
    piece = chunks(name, TEXT, tuple(whole.ranges(TEXT)), "hash", whole.name)
    cuts = Cuts(HASHED, CHUNKS)
    made = cuts.cut(Plan(name, Position("1"), tuple(each.chunk_id for each in piece), piece))
    expected = chunks(name, TEXT, tuple(chunker.ranges(TEXT)), "hash", chunker.name)
    assert made.write == expected and made.chunk_ids == tuple(each.chunk_id for each in expected)
    assert cuts.of(name).name == chunker.name
    assert cuts.cut(Plan(name, Position("2"))) == Plan(name, Position("2"))
