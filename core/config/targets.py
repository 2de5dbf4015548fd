"""What every store's settings are."""

from __future__ import annotations

from typing import ClassVar, Literal

from core.config.source import Model
from core.config.store_promises import StorePromise

Holds = Literal["vectors", "profiles"]


class Target(Model):
    """A store's settings: `holds` says what it is for, `at` which of them says where its server is, "" if none.

    promise  what a store of vectors can hold to; None of others
    forgets  why a document that didn't change for long may not be there any more; "" where all stay
    staged   whether its documents are there for other stores to be filled from
    of_vectors  the settings that say nothing of KPIs, where it holds those
    """

    holds: ClassVar[Holds] = "vectors"
    at: ClassVar[str]
    promise: ClassVar[StorePromise | None] = None
    forgets: ClassVar[str] = ""
    staged: ClassVar[bool] = False
    of_vectors: ClassVar[frozenset[str]] = frozenset()

    def place(self, pipeline: str) -> str:
        """Where in the store a pipeline of this name has what it writes, in the store's own words."""
        raise NotImplementedError

    @property
    def has_words(self) -> bool:
        """Whether what it holds is found by words."""
        return self.holds == "vectors"
