"""Events that a server writes to a topic, each once it is acknowledged."""

from __future__ import annotations

from collections.abc import Sequence

from connectors.kafka.letters.topic import room
from connectors.kafka.producer import Sender
from connectors.kafka.source import login, refuse_nobody
from core.config.source import Kafka
from core.formats.recordings import Record


class ToTopic:
    """Writes to one topic. For one thread; a connection that failed is made anew with the next events."""

    def __init__(self, kafka: Kafka, topic: str, setting: str) -> None:
        """Make the topic where it is missing. `setting` names it in errors.

        Raises Unavailable where the cluster doesn't answer, ConfigError where it lets nobody write there.
        """
        refuse_nobody(kafka)
        self._kafka, self._topic = kafka, topic
        self._room = room(kafka, topic, setting=setting)
        self._sender: Sender | None = None

    @property
    def room(self) -> int:
        """Bytes that an event may have, its key included."""
        return self._room

    def write(self, events: Sequence[tuple[bytes, bytes]]) -> None:
        """Write (key, value) pairs, those of one key in their order; returns once the cluster has all.

        Raises Unavailable where it doesn't answer for 30 s, ConfigError where it refuses one.
        """
        sender, self._sender = self._sender or Sender(self._kafka.bootstrap_servers, login(self._kafka)), None
        for key, value in events:
            sender.put(Record(self._topic, key, value))
        sender.flush()
        self._sender = sender
