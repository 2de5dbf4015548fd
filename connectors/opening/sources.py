"""The sources that a pipeline file names, as commands ask them. A source that is added has its entry here.

What a job reads it with stands in `flink_jobs.sources.events`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from connectors.folder import files
from core.config.log_identity import LogIdentity
from core.config.pipeline import Pipeline
from core.config.source import DynamodbStreams, Folder, Kafka, Kinesis, Sqs
from core.errors import ConfigError
from core.letters import Letter


class ReplayTarget(Protocol):
    """A source, as the place where events of dead letters are sent again."""

    @property
    def names(self) -> frozenset[str]:
        """What the pipeline reads there, as `Letter.source` names it: topics, or streams."""
        ...

    def whole(self, letter: Letter) -> Letter | None:
        """A letter that was cut, with its whole event; None where that is gone, or another one stands in its place."""
        ...

    def send(self, letters: Sequence[Letter]) -> None:
        """Send their events as they came, to where they came from, marked as `core.letters.REPLAY` says.

        All are acknowledged when it returns. Raises Unavailable, and ConfigError where an event is refused.
        """
        ...


class PartitionEnds(Protocol):
    """Where the partitions of a source end. Connects when first asked."""

    def now(self) -> Mapping[str, int] | None:
        """The offset after the last event of each, as in `articles/0`; None where that can't be asked now."""
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


class Endless:
    """The `PartitionEnds` of a source that tells none."""

    def now(self) -> Mapping[str, int] | None:
        """See `PartitionEnds.now`."""
        return None

    def close(self) -> None:
        """See `PartitionEnds.close`."""


def _endless(settings: Any) -> PartitionEnds:
    return Endless()


def _nowhere(settings: Any) -> AbstractContextManager[ReplayTarget]:
    raise ConfigError(["source: events can be sent again to source.kafka and source.sqs alone"])


@dataclass(frozen=True, slots=True)
class Asking:
    """How a source is asked, given its settings. All raise Unavailable where its server is away, ConfigError.

    summary   what is seen of it for a pipeline, in words
    identity  which log it is, of which it is known what orders a key's changes
    again     where events of dead letters are sent round again
    ends      where its partitions end; called in a job too, where its client may be missing
    """

    summary: Callable[[Any, Pipeline], str]
    identity: Callable[[Any, str], LogIdentity] = lambda settings, order: LogIdentity(order)
    again: Callable[[Any], AbstractContextManager[ReplayTarget]] = _nowhere
    ends: Callable[[Any], PartitionEnds] = _endless


# Clients are imported late: each is an extra's, and only what a pipeline names is needed.


def _topics(kafka: Kafka, pipeline: Pipeline) -> str:
    from connectors.kafka.source import check

    return f"{kafka.bootstrap_servers} has {', '.join(check(kafka)) or 'none of its topics'}"


def _identity_of_topics(kafka: Kafka, order: str) -> LogIdentity:
    from connectors.kafka.identity import of_topics

    return of_topics(order, kafka)


def _topics_again(kafka: Kafka) -> AbstractContextManager[ReplayTarget]:
    from connectors.kafka.letters.replaying import topics_again

    return topics_again(kafka)


def _ends_of_topics(kafka: Kafka) -> PartitionEnds:
    try:
        from connectors.kafka.topics import SourceEnds
    except ModuleNotFoundError:
        return Endless()
    return SourceEnds(kafka)


def _shards(settings: Kinesis | DynamodbStreams, pipeline: Pipeline) -> str:
    from connectors.shards.streams import opened, source_of

    ((name, stream),) = opened([source_of(settings)]).items()
    return f"{name} has {len(stream.shards())} shards"


def _identity_of_stream(kinesis: Kinesis, order: str) -> LogIdentity:
    from connectors.aws.client import Aws
    from connectors.kinesis.streams import KinesisStream

    stream = KinesisStream(kinesis.arn or kinesis.name, Aws(kinesis.region, kinesis.endpoint))
    return LogIdentity(order, {f"stream {stream.name}": stream.made()})


def _identity_of_table(settings: DynamodbStreams, order: str) -> LogIdentity:
    from connectors.aws.client import Aws
    from connectors.dynamodb.streams import TableStream

    stream = TableStream(settings.table, Aws(settings.region, settings.endpoint), settings.streams_endpoint)
    return LogIdentity(order, {f"the stream of {settings.table}": stream.arn})


def _queue(sqs: Sqs, pipeline: Pipeline) -> str:
    from connectors.aws.client import Aws
    from connectors.sqs.queue import Queue

    queue = Queue(sqs.queue_url, Aws(sqs.region, sqs.endpoint))
    return f"{queue.name} has about {queue.waiting():,} messages waiting"


def _queue_again(sqs: Sqs) -> AbstractContextManager[ReplayTarget]:
    from connectors.aws.client import Aws
    from connectors.sqs.queue import Queue
    from connectors.sqs.replaying import QueueAgain

    return nullcontext(QueueAgain(Queue(sqs.queue_url, Aws(sqs.region, sqs.endpoint))))


def _folder(settings: Folder, pipeline: Pipeline) -> str:
    return files.opened(settings, pipeline.documents).summary()


SOURCES: Mapping[str, Asking] = {
    "kafka": Asking(_topics, _identity_of_topics, _topics_again, _ends_of_topics),
    "kinesis": Asking(_shards, _identity_of_stream),
    "dynamodb": Asking(_shards, _identity_of_table),
    "sqs": Asking(_queue, again=_queue_again),
    "file": Asking(_folder),
}
"""By the names of `core.config.source.Source`'s fields."""


def summary(pipeline: Pipeline) -> str:
    """What is seen of a pipeline's source. Raises Unavailable where its server is away, ConfigError as it does."""
    return SOURCES[pipeline.source.name].summary(pipeline.source.chosen, pipeline)


def partition_ends(pipeline: Pipeline) -> Callable[[], PartitionEnds]:
    """What tells where the partitions of the pipeline's source end, made where it is called; it can be sent there."""
    return partial(SOURCES[pipeline.source.name].ends, pipeline.source.chosen)


def replay_target(pipeline: Pipeline) -> AbstractContextManager[ReplayTarget]:
    """The pipeline's source, as events are sent to it again.

    Raises Unavailable where its server is away, ConfigError where it is one that none can be sent to.
    """
    return SOURCES[pipeline.source.name].again(pipeline.source.chosen)
