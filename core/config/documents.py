"""How a table's rows become documents, as the pipeline file says it."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from core.config.embedding import Embedding, mark_of
from core.config.source import Model, TablePatterns
from core.documents.step import DocumentSpec
from core.documents.templates import columns, whole_columns
from core.documents.unfolding import ObjectSpec


class Chunk(Model):
    """How long a chunk is, and how much of the one before it repeats, both in the model's tokens.

    headings  whether chunks are cut before headings, and never behind one: `core.documents.structure`
    """

    tokens: int = Field(256, ge=8, le=100_000)
    overlap: int = Field(32, ge=0)
    headings: bool = False

    @model_validator(mode="after")
    def _overlap_fits(self) -> Chunk:
        if self.overlap >= self.tokens:
            raise ValueError(f"overlap is {self.overlap}, must be less than tokens ({self.tokens})")
        return self


class Document(Model):
    """How one table's rows become documents."""

    text: str = Field(min_length=1)
    metadata: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    chunk: Chunk = Chunk()
    types: dict[str, str] = Field(default_factory=dict)
    tables: TablePatterns = ()
    sweep: bool = True
    id_from_source: bool = False

    @field_validator("text")
    @classmethod
    def _names_columns(cls, text: str) -> str:
        if not columns(text):
            raise ValueError("names no column; put one in braces, as in '{body}'")
        return text

    def spec(self, table: str) -> DocumentSpec:
        """The same, for `core.documents.step`."""
        return DocumentSpec(table, self.text, self.metadata, self.key, self.id_from_source)

    def object_spec(self, table: str, embedding: Embedding) -> ObjectSpec:
        """How the objects of a bucket become changes, for `core.documents.unfolding`."""
        made_by = f"{embedding.model}{mark_of(embedding.rounded)}|{self.chunk!r}|{self.text}"
        return ObjectSpec(table, self.used.union(self.key), made_by)

    @property
    def used(self) -> frozenset[str]:
        """The columns that text and metadata name, or their parts: of `a.b` also `a`."""
        named = (*columns(self.text), *(name for names in self.metadata for name in names.split("|") if name))
        return frozenset(each for name in named for each in whole_columns(name))
