"""What a worker cuts documents with: by each document's table, as the pipeline says."""

from __future__ import annotations

from collections.abc import Mapping

from core.config.documents import Chunk
from core.config.embedding import Embedding
from core.documents.forgetting import prefix_of, table_of
from core.documents.sources import named_table
from core.documents.spec import Chunker
from core.documents.uncut import cut, remembering
from core.plans import Plan
from udfs.embedding.tokenizing import document_chunker


class Cuts:
    """The chunkers of a pipeline's tables, each made with the first document that needs it.

    chunks  how texts are cut, by table
    """

    def __init__(self, embedding: Embedding, chunks: Mapping[str, Chunk]) -> None:
        self._embedding = embedding
        self._chunks = dict(chunks)
        self._by_prefix: dict[str, Chunker] = {}

    def of(self, document_id: str) -> Chunker:
        """The chunker of a document. Raises ConfigError as `document_chunker` does."""
        prefix = prefix_of(document_id)
        found = self._by_prefix.get(prefix)
        if found is None:
            chunk = self._chunks[named_table(table_of(document_id), self._chunks)]
            found = self._by_prefix[prefix] = remembering(document_chunker(self._embedding, chunk))
        return found

    def cut(self, plan: Plan) -> Plan:
        """A plan whose document is in one piece, cut."""
        return cut(plan, self._embedding.model, self.of(plan.document_id)) if plan.write else plan
