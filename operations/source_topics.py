"""Topics that a pipeline reads and its cluster lacks: what may have been meant, and what makes them."""

from __future__ import annotations

from collections.abc import Sequence

from connectors.kafka import source as kafka
from core.config.pipeline import Pipeline
from core.config.references import alike, nearest
from core.config.source import Kafka
from core.errors import ConfigError


def refuse_missing(pipeline: Pipeline, there: Sequence[str]) -> list[str]:
    """The topics that are read, of those that the cluster has; none where a pattern matches none yet.

    Raises ConfigError where one isn't there that the pipeline file names: Flink's job would fail over it again and
    again, as it doesn't wait for a topic. A pattern it looks up again now and then.
    """
    source = pipeline.kafka
    found = kafka.named(source, there)
    wanted = [] if source.topic is None else source.topic.split(";")
    ours = [each for each in there if not each.startswith("_")]
    if lacking := [each for each in wanted if each not in found]:
        raise ConfigError(
            [f"{source.bootstrap_servers} has no topic {_named(pipeline, each, ours)}" for each in lacking]
        )
    return found


def waits(source: Kafka) -> str:
    """What is said of a pattern that no topic matches."""
    return (
        f"{source.bootstrap_servers} has no topic whose whole name matches {source.topic_pattern} yet; Flink looks "
        f"every {kafka.discovery(source)} ({kafka.DISCOVERY}), and reads one that is there then"
    )


def _named(pipeline: Pipeline, topic: str, there: Sequence[str]) -> str:
    name, schema_and_table = f"{topic}{alike(topic, there)}", ".".join(topic.split(".")[-2:])
    if nearest(topic, there):
        return name
    if not pipeline.events.of_debezium or "." not in topic:
        return f"{name}. Whoever sends its events makes it"
    return f"{name}. Debezium makes it: for a table of the local stack `freshet stack connect {schema_and_table}`"
