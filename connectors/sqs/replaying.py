"""Messages of dead letters sent to their queue again. They ask to look at an object, so that does no harm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connectors.sqs.queue import Queue
from core.errors import ConfigError
from core.letters import Letter


@dataclass(frozen=True, slots=True)
class QueueAgain:
    """A queue as `connectors.opening.sources.ReplayTarget`. Messages have no headers: none tells how often it came."""

    queue: Queue

    @property
    def names(self) -> frozenset[str]:
        """See `ReplayTarget.names`: the queue's."""
        return frozenset([self.queue.name])

    def whole(self, letter: Letter) -> Letter | None:
        """See `ReplayTarget.whole`: a message was deleted when it had become a letter, so none that was cut."""
        return None

    def send(self, letters: Sequence[Letter]) -> None:
        """See `ReplayTarget.send`: for all who read the queue, in no order."""
        bodies = [each.value or b"" for each in letters]
        for letter, body in zip(letters, bodies, strict=True):
            if not _is_text(body):
                raise ConfigError([f"dead letter {letter.place} is no text, which is all that a queue takes: leave it"])
        self.queue.send(bodies)


def _is_text(body: bytes) -> bool:
    try:
        return bool(body.decode())
    except UnicodeDecodeError:
        return False
