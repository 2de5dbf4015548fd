"""Vectors in Pinecone, as the pipeline file says it."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from core.config.embedding import Key
from core.config.store_promises import PINECONE, StorePromise
from core.config.targets import Target


class Pinecone(Target):
    """Vectors in a namespace of a Pinecone index, with their ledger in a namespace beside it.

    host           of the service's control plane; the index's own is asked there
    cloud, region  where an index that is missing is made
    """

    at: ClassVar[str] = "host"
    promise: ClassVar[StorePromise | None] = PINECONE

    index: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,43}[a-z0-9])?$")
    namespace: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")
    api_key: Key
    host: str = Field("https://api.pinecone.io", pattern=r"^https?://[^\s/@]+/?$")
    cloud: Literal["aws", "gcp", "azure"] = "aws"
    region: str = Field("us-east-1", pattern=r"^[a-z][a-z0-9-]{0,39}$")

    def place(self, pipeline: str) -> str:
        """The namespace and its index."""
        return f"namespace {self.namespace} of index {self.index}"

    @property
    def has_words(self) -> bool:
        """No: an index of dense vectors has none."""
        return False

    @property
    def ledger(self) -> str:
        """The namespace beside it that orders changes."""
        return f"{self.namespace}_ledger"
