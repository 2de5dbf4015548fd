"""Where a pipeline's dead letters go, as the pipeline file says it.

A place that is added has its settings here, a `LettersTarget`, and a field of `DeadLetters`.
"""

from __future__ import annotations

from pydantic import ConfigDict, Field, model_validator

from core.config.source import Kafka, Model, Name, Origin, clients_alone, cluster_of
from core.config.variants import one


class LettersTarget(Model):
    """Settings of a place where dead letters go, and what it promises."""

    @property
    def place(self) -> str:
        """Where they go, in the place's own words, as in `topic articles.dead-letters`."""
        raise NotImplementedError

    def misfit(self, source: Origin) -> str:
        """What is missing for letters of what a source tells to go here; "" where nothing is."""
        return ""


class DeadLetterTopic(LettersTarget):
    """A topic of Kafka: on the source's cluster, or on the one that its own options name."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    topic: Name
    bootstrap_servers: str | None = Field(None, alias="properties.bootstrap.servers", min_length=1)

    @model_validator(mode="after")
    def _client_options_alone(self) -> DeadLetterTopic:
        clients_alone(self.model_extra or {}, self.bootstrap_servers)
        return self

    @property
    def place(self) -> str:
        """The topic."""
        return f"topic {self.topic}"

    def misfit(self, source: Origin) -> str:
        """See `LettersTarget.misfit`."""
        if self.cluster is None and not isinstance(source, Kafka):
            missing = "dead_letters.kafka.properties.bootstrap.servers is missing"
            return f"{missing}: the source has no Kafka cluster of its own"
        return ""

    @property
    def cluster(self) -> Kafka | None:
        """The cluster, where it isn't the source's."""
        return cluster_of(self.topic, self.bootstrap_servers, self.model_extra or {})


class DeadLetters(Model):
    """Where rejected events go: one of these."""

    kafka: DeadLetterTopic | None = None

    @model_validator(mode="after")
    def _one(self) -> DeadLetters:
        one(self, LettersTarget)
        return self

    @property
    def name(self) -> str:
        """Which of them it is."""
        return one(self, LettersTarget)[0]

    @property
    def chosen(self) -> LettersTarget:
        """Its settings."""
        return one(self, LettersTarget)[1]
