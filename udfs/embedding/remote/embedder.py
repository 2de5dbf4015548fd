"""Embeddings from an endpoint: cut into requests, asked for as `udfs.remote.asking` says, and of unit length."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from core.config.embedding import Embedding
from core.config.request_limits import Limits, bytes_of, requests, tokens_of
from core.errors import ConfigError, EmbeddingError, Unavailable
from core.stores.contract import Vectors
from udfs.embedding.contract import SomeRefused, check_texts
from udfs.embedding.remote.endpoint import Endpoint
from udfs.embedding.remote.endpoints import ENDPOINTS
from udfs.remote.asking import PATIENCE_S, Asking, Places
from udfs.remote.failures import Refusal
from udfs.remote.pace import Breaker

_PROBE = "freshet"
_AIM_TOKENS = 8_192


class RemoteEmbedder:
    """The model behind an endpoint, as `Embedder` has it. One for a process: it keeps connections.

    `name` is what stores and chunk ids know the model by; vectors have unit length, whatever the endpoint does.
    """

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        limits: Limits,
        concurrency: int,
        dimension: int | None = None,
        patience_s: float = PATIENCE_S,
        breaker: Breaker = Breaker(),  # noqa: B008  frozen
    ) -> None:
        """Asks for the dimension where it isn't known; raises as `Endpoint.ask` does, after `patience_s`."""
        self.name = name
        self.dimension = dimension or 0
        self._endpoint = endpoint
        self._limits = limits
        self._asking = Asking(endpoint.where, concurrency, patience_s, breaker)
        if dimension is None:
            self.dimension = self._probe(threading.Event()).shape[1]

    def describe(self) -> str:
        """See `Embedder.describe`."""
        return f"{self.name} at {self._endpoint.where}, {self.dimension} dimensions"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder.embed`. Raises SomeRefused, with the other texts' vectors, where texts are refused; and
        Unavailable where the endpoint fails for longer than it is waited for.
        """
        check_texts(texts)
        vectors = np.zeros((len(texts), self.dimension), np.float32)

        def fill(places: Places, over: threading.Event) -> None:
            vectors[places] = self._ask([texts[place] for place in places], over)

        refused = self._asking.each(requests(texts, self._limits, self._aim(texts)), fill, self._probe)
        if refused:
            raise SomeRefused(vectors, {place: EmbeddingError(str(error)) for place, error in refused.items()})
        return vectors

    def close(self) -> None:
        """Gives connections back."""
        self._asking.close()
        self._endpoint.close()

    def _aim(self, texts: Sequence[str]) -> int:
        """As large as to keep what is allowed in flight busy, but no larger than need be for that."""
        return max(_AIM_TOKENS, -(-sum(map(tokens_of, texts)) // self._asking.allowed))

    def _probe(self, over: threading.Event) -> Vectors:
        try:
            return self._ask([_PROBE], over)
        except Refusal as error:
            raise Unavailable(f"the endpoint has no vector for any text: {error}") from error

    def _ask(self, texts: Sequence[str], over: threading.Event) -> Vectors:
        """One request's vectors; raises as `Asking.patiently` does."""
        size = sum(map(bytes_of, texts))
        return self._asking.patiently(lambda: self._unit(self._endpoint.ask(texts)), size, over)

    def _unit(self, vectors: Vectors) -> Vectors:
        """The vectors at unit length. Raises Refusal for NaN, infinity and zeros, Unavailable for another dimension."""
        if self.dimension and vectors.shape[1] != self.dimension:
            raise Unavailable(
                f"{self._endpoint.where} answers vectors of {vectors.shape[1]} dimensions, not {self.dimension}: "
                "another model is served there"
            )
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        if not np.isfinite(lengths).all():
            raise Refusal(f"{self._endpoint.where} answers a vector with NaN or infinity: check the model's precision")
        if not lengths.all():
            raise Refusal(f"{self._endpoint.where} answers a vector of zeros")
        unit: Vectors = (vectors / lengths).astype(np.float32)
        return unit


def opened(embedding: Embedding, of_questions: bool = False, patience_s: float = PATIENCE_S) -> RemoteEmbedder:
    """The embedder behind the pipeline file's endpoint; with `of_questions`, requests say that texts are questions.

    One that fails is asked again for `patience_s`.

    Raises ConfigError where the endpoint lets nobody in or its library isn't installed, Unavailable where it fails.
    """
    if embedding.provider is None:
        raise ConfigError([f"embedding names no endpoint: {embedding.model} is a model of this machine"])
    endpoint = ENDPOINTS[embedding.provided_by](embedding, embedding.provider, of_questions)
    dimension = embedding.dimension or embedding.dimensions
    return RemoteEmbedder(embedding.model, endpoint, embedding.limits, embedding.concurrency, dimension, patience_s)
