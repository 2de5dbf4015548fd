"""Topics that a job writes beside its stores, as the pipeline file says them."""

from __future__ import annotations

from pydantic import ConfigDict, Field, model_validator

from core.config.source import Kafka, Model, Name, Origin


class WrittenTopic(Model):
    """A topic that a job writes: on the source's cluster, or on the one that its own options name."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    topic: Name
    bootstrap_servers: str | None = Field(None, alias="properties.bootstrap.servers", min_length=1)

    @model_validator(mode="after")
    def _client_options_alone(self) -> WrittenTopic:
        options = self.model_extra or {}
        other = [name for name in options if not name.startswith("properties.")]
        if other:
            raise ValueError(f"{other[0]} is no setting; beside topic there are only Kafka's own, properties.…")
        if options and self.bootstrap_servers is None:
            raise ValueError("properties.bootstrap.servers is missing; a cluster's other options go with it")
        return self

    @property
    def cluster(self) -> Kafka | None:
        """The cluster, where it isn't the source's."""
        if self.bootstrap_servers is None:
            return None
        named = {"topic": self.topic, "properties.bootstrap.servers": self.bootstrap_servers}
        return Kafka.model_validate({**(self.model_extra or {}), **named})

    def without_cluster(self, source: Origin) -> str:
        """What is missing where neither it nor the source has a cluster; "" where one has."""
        if self.bootstrap_servers is not None or isinstance(source, Kafka):
            return ""
        return "properties.bootstrap.servers is missing: the source has no Kafka cluster of its own"
