"""What `freshet verify` reads a pipeline's rows from, and whom it asks how far they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from confluent_kafka import Consumer

from connectors.postgres.column_types import typed
from connectors.postgres.rows import Reselect
from core.change import Position
from core.config.pipeline import Pipeline
from core.errors import ConfigError
from core.stores.source import Source
from operations.verify.stream import Progress, Stream, Waiting

_END = "SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_insert_lsn() - '0/0'::pg_lsn END"
_EXAMPLES = {
    True: "reselect: {dynamodb: {aws.region: eu-central-1}}",
    False: "reselect: {postgres: {dsn: postgresql://…}}",
}


class Opened(Source, Protocol):
    """A source that holds connections."""

    def reach(self) -> None:
        """Raises Unavailable where the server is away now."""
        ...

    def close(self) -> None:
        """Give the connections back."""
        ...


def check(pipeline: Pipeline) -> None:
    """Raises ConfigError where the pipeline file names no source that its rows can be read from."""
    if pipeline.format.objects is not None:
        raise ConfigError([f"format: {pipeline.format.name}: verify can't compare buckets yet; it reads tables"])
    of_dynamodb = pipeline.format.dynamodb is not None
    example = _EXAMPLES[of_dynamodb]
    if pipeline.reselect is None:
        raise ConfigError([f"reselect is missing: verify reads the source's tables; add {example}"])
    if (pipeline.reselect.dynamodb is not None) != of_dynamodb:
        name = pipeline.format.name
        raise ConfigError([f"reselect: rows of format: {name} can't be read there; verify needs {example}"])


def is_repairable(pipeline: Pipeline) -> bool:
    """Whether events that mend can be sent."""
    return pipeline.source.kafka is not None and pipeline.format.debezium is not None


def opened(pipeline: Pipeline, schemas: bool) -> Opened:
    """The source of a pipeline that was checked. Raises ConfigError where its settings can't be used.

    schemas  as `Reselect` takes it
    """
    reselect = pipeline.reselect
    assert reselect is not None
    if reselect.postgres is not None:
        # without schemas the job has had its types from the database too
        pipeline = pipeline if schemas else typed(pipeline)[0]
        return Reselect(reselect.postgres.dsn, pipeline.debezium, schemas)
    from connectors.aws.client import Aws  # both need the extra `aws`
    from connectors.dynamodb.rows import Tables

    assert reselect.dynamodb is not None
    return Tables(Aws(reselect.dynamodb.region, reselect.dynamodb.endpoint))


def progress_of(
    pipeline: Pipeline, source: Opened, consumer: Consumer | None, wait_s: float, report: Callable[[str], object]
) -> Progress:
    """Whom to ask: Debezium's slot and the job's group; else time passes, and only the group is asked if there is one.

    A slot doesn't tell what DMS has written of what it received, nor anything of a producer of plain rows, and streams
    of shards keep no place of a reader's.
    """
    if isinstance(source, Reselect) and is_repairable(pipeline):
        return Stream(pipeline, source, consumer, wait_s, report)
    return Waiting(pipeline, consumer, wait_s, report)


def end_of(pipeline: Pipeline, source: Opened) -> Position | None:
    """After every position that the source has given so far; None where nobody can tell.

    Debezium's positions of PostgreSQL are places in its log. A replica may be behind what the connector has read.
    """
    if not isinstance(source, Reselect) or pipeline.format.debezium is None:
        return None
    lsn = source.execute(_END)[0][0]
    return None if lsn is None else Position(f"{int(lsn):016x}.{2**64 - 1:016x}")
