"""The places where a pipeline's dead letters go, opened. A place that is added has its opener here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from connectors.kafka.letters.topic import LettersTopic
from core.config.dead_letters import DeadLetterObjects, DeadLetterStream, DeadLetterTopic
from core.config.pipeline import Pipeline
from core.errors import not_installed
from core.letters import Letters, Message


class LettersWriter(Protocol):
    """Writes letters from a job, to a place that Flink has no connector for. It connects with the first letter."""

    def write(self, letter: Message) -> None:
        """Write a letter, which is there once this returns: no job sends it again. Raises Unavailable."""
        ...

    def close(self) -> None:
        """Give connections back."""
        ...


class LettersPlace(Protocol):
    """A place for dead letters. It can be sent to a job's workers, and connects when first asked."""

    @property
    def name(self) -> str:
        """What messages call it, as in `articles.dead-letters`."""
        ...

    @property
    def setting(self) -> str:
        """The setting that says where its servers are."""
        ...

    @property
    def servers(self) -> tuple[str, ...]:
        """Those, as `host:port` or URLs."""
        ...

    def look(self) -> bool:
        """Whether it is there, or will not say. Raises Unavailable where its server is away."""
        ...

    def room(self, make: bool = True) -> int:
        """Bytes that a letter may have there; with `make` it is made where it isn't there.

        Raises Unavailable where its server is away, ConfigError where it refuses letters.
        """
        ...

    def usual_room(self) -> int:
        """The same, where its server can't be asked."""
        ...

    def sink(self, table: str) -> str | LettersWriter:
        """What a job writes letters with: `CREATE TABLE` of Flink's, with `key`, `value` and `headers`, or a writer."""
        ...

    def letters(self) -> AbstractContextManager[Letters]:
        """What is there now. Raises Unavailable where its server is away, ConfigError where it lets nobody read."""
        ...


def _kafka(target: DeadLetterTopic, pipeline: Pipeline) -> LettersPlace:
    return LettersTopic(target.cluster or pipeline.kafka, target.topic, is_the_sources=target.cluster is None)


# Clients are imported late: boto3 is an extra's, and takes half a second.


def _kinesis(target: DeadLetterStream, pipeline: Pipeline) -> LettersPlace:
    try:
        from connectors.aws.client import Aws
        from connectors.kinesis.letters import LettersStream
    except ImportError:
        raise not_installed("dead_letters.kinesis", "boto3", "aws") from None

    return LettersStream(target.stream, Aws(target.region, target.endpoint))


def _s3(target: DeadLetterObjects, pipeline: Pipeline) -> LettersPlace:
    try:
        from connectors.aws.client import Aws
        from connectors.s3.letters import LettersBucket
    except ImportError:
        raise not_installed("dead_letters.s3", "boto3", "aws") from None

    return LettersBucket(target.bucket, target.prefix, Aws(target.region, target.endpoint))


PLACES: Mapping[str, Callable[[Any, Pipeline], LettersPlace]] = {"kafka": _kafka, "kinesis": _kinesis, "s3": _s3}
"""By the names of `core.config.dead_letters.DeadLetters`'s fields."""


def place_of_letters(pipeline: Pipeline) -> LettersPlace:
    """Where the pipeline's dead letters go; nothing is connected yet."""
    return PLACES[pipeline.dead_letters.name](pipeline.dead_letters.chosen, pipeline)


def letters(pipeline: Pipeline) -> AbstractContextManager[Letters]:
    """The pipeline's dead letters as of now.

    Raises Unavailable where their server doesn't answer within 10 s, ConfigError where it lets nobody read.
    """
    return place_of_letters(pipeline).letters()
