"""Where a pipeline tells what its stores applied, as the pipeline file says it."""

from __future__ import annotations

from core.config.dead_letters import LettersTarget
from core.config.source import Kafka, Model, Origin
from core.config.topics import WrittenTopic


class Outcomes(Model):
    """Where outcomes are written."""

    kafka: WrittenTopic

    def misfit(self, source: Origin, letters: LettersTarget, vectors: bool) -> str:
        """What keeps a pipeline from writing them; "" where nothing does.

        letters  where its dead letters go
        vectors  whether it makes documents
        """
        topic = self.kafka.topic
        if not vectors:
            return "outcomes is of documents, and this pipeline file makes profiles: leave it out"
        if letters.is_topic(topic):
            return f"outcomes.kafka.topic is {topic}, which is that of dead letters: name another one"
        if missing := self.kafka.without_cluster(source):
            return f"outcomes.kafka.{missing}"
        own = self.kafka.cluster is not None
        if not own and isinstance(source, Kafka) and topic in (source.topic or "").split(";"):
            return f"outcomes.kafka.topic is {topic}, which is read as a source: name another one"
        return ""
