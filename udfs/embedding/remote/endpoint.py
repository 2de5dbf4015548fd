"""What an endpoint that embeds texts is to `udfs.embedding.remote.embedder`, and what it may answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from core.stores.contract import Vectors
from udfs.remote.failures import Refusal


class Endpoint(Protocol):
    """One kind of server. Several threads ask at once."""

    @property
    def where(self) -> str:
        """Its address, for messages: without keys."""

    def ask(self, texts: Sequence[str]) -> Vectors:
        """One request. The vectors as they came, in the order of the texts: shape (n, any), float32.

        Raises Refusal, Busy, Unavailable where it doesn't answer or fails, and ConfigError where it lets nobody in.
        """

    def close(self) -> None:
        """Gives connections back."""


def matrix(where: str, rows: Any, count: int) -> Vectors:
    """The vectors that an endpoint answered. Raises Refusal where they are no vector for each of `count` texts."""
    try:
        vectors: Vectors = np.asarray(rows, np.float32)
    except (TypeError, ValueError):
        raise Refusal(f"{where} answers what are no vectors of one length: check which model it serves") from None
    if vectors.ndim != 2 or len(vectors) != count:
        wanted = f"{count} {'vector' if count == 1 else 'vectors'}"
        raise Refusal(f"{where} answers an array of shape {vectors.shape} where {wanted} were asked for")
    return vectors
