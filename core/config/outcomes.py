"""Where a pipeline tells what its stores applied, as the pipeline file says it."""

from __future__ import annotations

from pydantic import ConfigDict, Field, model_validator

from core.config.source import Kafka, Model, Name, Origin, clients_alone, cluster_of


class OutcomesTopic(Model):
    """The topic of outcomes: on the source's cluster, or on the one that its own options name."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    topic: Name
    bootstrap_servers: str | None = Field(None, alias="properties.bootstrap.servers", min_length=1)

    @model_validator(mode="after")
    def _client_options_alone(self) -> OutcomesTopic:
        clients_alone(self.model_extra or {}, self.bootstrap_servers)
        return self

    @property
    def cluster(self) -> Kafka | None:
        """The cluster, where it isn't the source's."""
        return cluster_of(self.topic, self.bootstrap_servers, self.model_extra or {})


class Outcomes(Model):
    """Where outcomes are written."""

    kafka: OutcomesTopic

    def misfit(self, source: Origin, letters: str, vectors: bool) -> str:
        """What keeps a pipeline from writing them; "" where nothing does.

        letters  the topic of its dead letters
        vectors  whether it makes documents
        """
        if not vectors:
            return "outcomes is of documents, and this pipeline file makes profiles: leave it out"
        if self.kafka.topic == letters:
            return f"outcomes.kafka.topic is {letters}, which is that of dead letters: name another one"
        if self.kafka.cluster is not None:
            return ""
        if not isinstance(source, Kafka):
            return "outcomes.kafka.properties.bootstrap.servers is missing: the source has no Kafka cluster of its own"
        if self.kafka.topic in (source.topic or "").split(";"):
            return f"outcomes.kafka.topic is {self.kafka.topic}, which is read as a source: name another one"
        return ""
