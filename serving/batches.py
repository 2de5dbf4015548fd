"""One model for many clients: their requests are gathered into calls that hold about so many tokens."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from core.config.request_limits import tokens_of
from core.errors import EmbeddingError
from core.stores.contract import Vectors
from udfs.embedding.contract import Embedder
from udfs.embedding.embedder import embed_each

_WAITING_CALLS = 64


class Full(Exception):
    """So many requests wait that one more would wait too long."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A request's vectors, one a text, and the errors of texts that have none, by their place."""

    vectors: Vectors
    errors: Mapping[int, EmbeddingError]


@dataclass(frozen=True, slots=True)
class _Request:
    model: Embedder
    texts: Sequence[str]
    tokens: int
    answer: Future[Answer]


class Batches:
    """A thread that has the model, and what waits for it, in the order in which it came.

    model   embeds for requests that name no other
    tokens  how many a call holds, as `core.config.request_limits` estimates them; a request that has more goes alone

    A call takes what is there and waits for nothing: while the model is busy, the next call gathers by itself.
    """

    def __init__(self, model: Embedder, tokens: int) -> None:
        self._model = model
        self._tokens = tokens
        self._waiting: deque[_Request] = deque()
        self._waiting_tokens = 0
        self._changed = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def submit(self, texts: Sequence[str], model: Embedder | None = None) -> Future[Answer]:
        """The future of an answer, by the model or by another that shares its memory.

        Raises Full where some dozens of calls are to do before it.
        """
        request = _Request(model or self._model, texts, sum(map(tokens_of, texts)), Future())
        with self._changed:
            if self._waiting_tokens > _WAITING_CALLS * self._tokens or self._ending:
                raise Full
            self._waiting.append(request)
            self._waiting_tokens += request.tokens
            self._changed.notify()
        return request.answer

    @property
    def works(self) -> bool:
        """Whether requests are answered."""
        return self._thread.is_alive() and not self._ending

    def close(self) -> None:
        """Answer what waits, and end."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while gathered := self._gather():
            running = [each for each in gathered if each.answer.set_running_or_notify_cancel()]
            for model in dict.fromkeys(each.model for each in running):
                self._answer(model, [each for each in running if each.model is model])

    def _gather(self) -> list[_Request]:
        with self._changed:
            while not self._waiting and not self._ending:
                self._changed.wait()
            gathered: list[_Request] = []
            tokens = 0
            while self._waiting and (not gathered or tokens + self._waiting[0].tokens <= self._tokens):
                gathered.append(self._waiting.popleft())
                tokens += gathered[-1].tokens
            self._waiting_tokens -= tokens
            return gathered

    def _answer(self, model: Embedder, requests: Sequence[_Request]) -> None:
        try:
            vectors, errors = embed_each(model, [text for each in requests for text in each.texts])
        except Exception as error:  # whoever asked gets it, and the thread goes on
            for each in requests:
                each.answer.set_exception(error)
            return
        start = 0
        for each in requests:
            end = start + len(each.texts)
            own = {at - start: error for at, error in errors.items() if start <= at < end}
            each.answer.set_result(Answer(vectors[start:end], own))
            start = end
