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
    """The chunkers of a pipeline's tables.

    chunks  how texts are cut, by table
    """

    def __init__(self, embedding: Embedding, chunks: Mapping[str, Chunk]) -> None:
        """Raises ConfigError as `document_chunker` does."""
        self._model = embedding.model
        self._by_table = {table: remembering(document_chunker(embedding, each)) for table, each in chunks.items()}
        self._by_prefix: dict[str, Chunker] = {}

    def of(self, document_id: str) -> Chunker:
        """The chunker of a document."""
        prefix = prefix_of(document_id)
        found = self._by_prefix.get(prefix)
        if found is None:
            found = self._by_prefix[prefix] = self._by_table[named_table(table_of(document_id), self._by_table)]
        return found

    def cut(self, plan: Plan) -> Plan:
        """A plan whose document is in one piece, cut."""
        return cut(plan, self._model, self.of(plan.document_id)) if plan.write else plan
