"""Embeddings from an endpoint: many requests in flight, as many as it bears, and patience where it fails.

An error that a text causes is that text's alone. One that the endpoint causes is never a text's: the job waits, and
then goes back to its checkpoint.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

import numpy as np
import tenacity

from core.config.embedding import Embedding
from core.config.request_limits import Limits, bytes_of, requests, tokens_of
from core.errors import ConfigError, EmbeddingError, Unavailable
from core.metrics import tally
from core.stores.batches import halving
from core.stores.contract import Vectors
from udfs.embedding.contract import SomeRefused, check_texts
from udfs.embedding.pace import Breaker, Pace
from udfs.embedding.remote.endpoint import Busy, Endpoint, Refusal
from udfs.embedding.remote.endpoints import ENDPOINTS
from udfs.embedding.remote.gate import Gate, Left

PATIENCE_S = 120.0

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
        self._patience_s = patience_s
        self._gate = Gate(Pace(concurrency, float(min(4, concurrency))), breaker, patience_s)
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="embed")
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
        errors: dict[int, EmbeddingError] = {}
        over = threading.Event()

        def embed_part(places: Sequence[int]) -> None:
            halving(places, fill, refuse, (Refusal,))

        def fill(places: Sequence[int]) -> Sequence[None]:
            vectors[places] = self._ask([texts[place] for place in places], over)
            return [None] * len(places)

        def refuse(place: int, error: Exception) -> None:
            # Once more, after a text that is no cause of anything: who is refused then is refused for itself.
            self._probe(over)
            try:
                fill([place])
            except Refusal as again:
                errors[place] = again

        self._all(embed_part, requests(texts, self._limits, self._aim(texts)), over)
        if errors:
            raise SomeRefused(vectors, errors)
        return vectors

    def close(self) -> None:
        """Gives connections back."""
        self._threads.shutdown(cancel_futures=True)
        self._endpoint.close()

    def _aim(self, texts: Sequence[str]) -> int:
        """As large as to keep what is allowed in flight busy, but no larger than need be for that."""
        return max(_AIM_TOKENS, -(-sum(map(tokens_of, texts)) // self._gate.allowed))

    def _all(
        self, embed_part: Callable[[Sequence[int]], None], parts: Sequence[Sequence[int]], over: threading.Event
    ) -> None:
        """Each part in a thread, or here where there is one. Where one fails the others aren't asked for any more."""
        if len(parts) == 1:
            embed_part(parts[0])
            return
        under_way = [self._threads.submit(embed_part, part) for part in parts]
        done, waiting = wait(under_way, return_when=FIRST_EXCEPTION)
        if waiting:
            over.set()
            for each in waiting:
                each.cancel()
        for each in done:
            each.result()

    def _probe(self, over: threading.Event) -> Vectors:
        try:
            return self._ask([_PROBE], over)
        except Refusal as error:
            raise Unavailable(f"the endpoint has no vector for any text: {error}") from error

    def _ask(self, texts: Sequence[str], over: threading.Event) -> Vectors:
        """One request's vectors, asked for again while the endpoint is busy or away, until `over` is set.

        Raises Refusal, and Unavailable at the end of patience, which begins with the first failure: until then a
        request may have waited for its turn.
        """
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, Unavailable) and type(error) is not Left),
            wait=_pause,
            stop=_at_the_end_of(self._patience_s, over),
            sleep=tenacity.sleep_using_event(over),
            before_sleep=lambda _: tally.count("retries", of="model"),
            reraise=True,
        )
        return attempts(self._attempt, texts)

    def _attempt(self, texts: Sequence[str]) -> Vectors:
        with self._gate.through(self._endpoint.where, sum(map(bytes_of, texts))):
            return self._unit(self._endpoint.ask(texts))

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


def _at_the_end_of(patience_s: float, over: threading.Event) -> Callable[[tenacity.RetryCallState], bool]:
    failed_at: list[float] = []

    def stop(state: tenacity.RetryCallState) -> bool:
        now = time.monotonic()
        failed_at.append(now)
        return over.is_set() or now + state.upcoming_sleep - failed_at[0] >= patience_s

    return stop


_backoff = tenacity.wait_random_exponential(multiplier=0.1, max=10)


def _pause(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    return max(_backoff(state), error.wait_s if isinstance(error, Busy) else 0.0)


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
