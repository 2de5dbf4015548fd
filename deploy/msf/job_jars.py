"""The JARs of a job: Flink's connectors, and what logs in to MSK by IAM, where the pipeline does."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from connectors.kafka.msk import MECHANISM
from core.config.dead_letters import DeadLetterTopic
from core.config.pipeline import Pipeline
from core.config.source import Kafka
from deploy.msf.archive import packed
from deploy.msf.fat_jar import fat_jar
from stack.jars import OF_JOBS, fetch
from udfs.pinned import JARS, cache, read

MORE_JARS = Path(__file__).with_name("jars.lock")
"""The lock of what the bundle's JAR has beside the connectors."""


def job_jars(pipeline: Pipeline) -> list[Path]:
    """What a job has on its class path that isn't on the service.

    The login to MSK knows Kafka's client by its own name, so with it they are one JAR, as in the bundle: made once.
    Raises as `fetch`.
    """
    return [with_login()] if any(_by_iam(each) for each in _clusters(pipeline)) else fetch(OF_JOBS)


def _clusters(pipeline: Pipeline) -> Iterator[Kafka]:
    if pipeline.reads_kafka:
        yield pipeline.kafka
    if isinstance(pipeline.dead_letters.chosen, DeadLetterTopic):
        yield pipeline.letters
    if pipeline.outcomes is not None:
        yield pipeline.outcomes_topic[0]


def _by_iam(kafka: Kafka) -> bool:
    return kafka.options.get("properties.sasl.mechanism") == MECHANISM


def with_login() -> Path:
    """The connectors and the login as one JAR, in the cache."""
    pinned = "".join(jar.sha256 for lock in (OF_JOBS, MORE_JARS) for jar in read(lock))
    # of the code that makes it too: another relocation is another JAR
    code = b"".join(
        Path(__file__).with_name(f"{name}.py").read_bytes() for name in ("fat_jar", "relocation", "archive")
    )
    place = cache(JARS) / f"{hashlib.sha256(pinned.encode() + code).hexdigest()[:16]}-kafka-with-msk-iam.jar"
    if not place.is_file():
        temporary = place.with_name(f".{place.name}.{os.getpid()}")
        temporary.write_bytes(packed(fat_jar([*fetch(OF_JOBS), *fetch(MORE_JARS)])))
        temporary.replace(place)
    return place
