"""Messages of a queue, received ahead by threads, and deleted once a completed checkpoint has what came of them.

Whoever handed a message on knows when. A checkpoint that was triggered after that has it, for its barrier follows it on
the way; so once this checkpoint is complete the message is needed no more. What is not deleted comes again when it has
been hidden long enough, and that is all the harm there is in a crash.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future

from connectors.sqs.queue import AT_ONCE, Message, Queue
from core.errors import ConfigError, Unavailable

THREADS = 8
CLOCKS_MS = 1_000
"""How far apart the clocks of whoever triggers checkpoints and whoever reads may be."""

_WAIT_S = 5
_ASKING_MS = 1_000
_MOST_PENDING = 20_000
_PATIENCE = 8
_BACK_OFF_MS = 500

_log = logging.getLogger(__name__)


class QueueReader:
    """Receives and deletes in threads of `executor`; no method waits for the queue.

    checkpoint_ms  asks when the newest completed checkpoint was triggered, in ms since 1970; 0: there is none
    hidden_s       how long a received message is nobody else's; longer than checkpoints take
    """

    def __init__(self, queue: Queue, checkpoint_ms: Callable[[], int], hidden_s: int, executor: Executor) -> None:
        self.deleted = 0
        self._queue = queue
        self._checkpoint_ms = checkpoint_ms
        self._hidden_s = hidden_s
        self._executor = executor
        self._asked: list[Future[list[Message]]] = []
        self._wanted = 1
        self._failures = 0
        self._not_before_ms = 0
        self._pending: deque[tuple[int, str]] = deque()
        self._deleting: Future[int] | None = None
        self._delete_due_ms = 0
        self._closed = False

    def take(self, now_ms: int) -> list[Message]:
        """What has come; asks for more. Raises Unavailable where the queue doesn't answer several times running,
        and ConfigError where it refuses.
        """
        done = [asked for asked in self._asked if asked.done()]
        self._asked = [asked for asked in self._asked if not asked.done()]
        found: list[Message] = []
        for asked in done:
            found += self._answer(asked, now_ms)
        self._delete(now_ms)
        if now_ms >= self._not_before_ms and len(self._pending) + len(found) < _MOST_PENDING:
            while len(self._asked) < self._wanted:
                self._asked.append(self._executor.submit(self._receive))
        return found

    def handed_on(self, messages: list[Message], now_ms: int) -> None:
        """Tell that these were handed on before `now_ms`: they are deleted when a later checkpoint is complete."""
        self._pending.extend((now_ms, message.receipt) for message in messages)

    def close(self) -> None:
        """Receive nothing more; what is still received is given back."""
        self._closed = True

    @property
    def pending(self) -> int:
        """Messages that were handed on and are not deleted yet."""
        return len(self._pending)

    def _receive(self) -> list[Message]:
        messages = self._queue.receive(_WAIT_S, self._hidden_s)
        if self._closed and messages:
            self._queue.give_back([message.receipt for message in messages])
            return []
        return messages

    def _answer(self, asked: Future[list[Message]], now_ms: int) -> list[Message]:
        try:
            found = asked.result()
        except Unavailable:  # Throttled too
            self._failures += 1
            if self._failures > _PATIENCE:
                raise
            self._wanted = 1
            self._not_before_ms = now_ms + _BACK_OFF_MS * self._failures
            return []
        self._failures = 0
        # full answers: there is more than one can carry; none: one that waits is enough
        if len(found) == AT_ONCE:
            self._wanted = min(THREADS - 1, self._wanted + 1)  # one thread is left to delete
        elif not found:
            self._wanted = 1
        return found

    def _delete(self, now_ms: int) -> None:
        if self._deleting is not None:
            if not self._deleting.done():
                return
            deleting, self._deleting = self._deleting, None
            try:
                self.deleted += deleting.result()
            except ConfigError:
                raise
            except Unavailable as error:
                _log.warning("messages that were not deleted come again: %s", error)
        if self._pending and now_ms >= self._delete_due_ms:
            self._delete_due_ms = now_ms + _ASKING_MS
            self._deleting = self._executor.submit(self._delete_what_is_kept)

    def _delete_what_is_kept(self) -> int:
        kept_ms = self._checkpoint_ms() - CLOCKS_MS
        receipts = []
        # whoever hands on adds at the other end
        while self._pending and self._pending[0][0] < kept_ms:
            receipts.append(self._pending.popleft()[1])
        self._queue.delete(receipts)
        return len(receipts)
