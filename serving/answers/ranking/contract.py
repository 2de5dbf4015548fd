"""What ranks passages anew is to a context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from core.errors import FreshetError


class RankingFailed(FreshetError):
    """There is no new ranking; what it says is for the server's log."""


class Ranker(Protocol):
    """Says how well each of some texts answers a question. Many ask at once."""

    async def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """A score a text, in their order; greater is better. Raises RankingFailed.

        Whoever asks waits no longer than they like: then this is cancelled.
        """

    async def close(self) -> None:
        """Give connections and memory back."""
