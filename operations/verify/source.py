"""What `freshet verify` reads a pipeline's rows from, and whom it asks how far they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from confluent_kafka import Consumer

from connectors.postgres.column_types import typed
from connectors.postgres.rows import Reselect
from core.change import Position
from core.config.format import Dynamodb
from core.config.pipeline import Pipeline, SourceDatabase, SourceTables
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
    if pipeline.makes_feedback:
        raise ConfigError(["verify compares with a source's tables, and conversations have none: their topic is all"])
    if pipeline.format.objects is not None:
        raise ConfigError([f"format: {pipeline.format.name}: verify can't compare buckets yet; it reads tables"])
    of_dynamodb = isinstance(pipeline.format.chosen, Dynamodb)
    example = _EXAMPLES[of_dynamodb]
    if pipeline.database is None:
        raise ConfigError([f"reselect is missing: verify reads the source's tables; add {example}"])
    if isinstance(pipeline.database, SourceTables) is not of_dynamodb:
        name = pipeline.format.name
        raise ConfigError([f"reselect: rows of format: {name} can't be read there; verify needs {example}"])


def is_repairable(pipeline: Pipeline) -> bool:
    """Whether events that mend can be sent."""
    return pipeline.reads_kafka and pipeline.events.of_debezium


def opened(pipeline: Pipeline, schemas: bool) -> Opened:
    """The source of a pipeline that was checked. Raises ConfigError where its settings can't be used.

    schemas  as `Reselect` takes it
    """
    database = pipeline.database
    if isinstance(database, SourceTables):
        from connectors.aws.client import Aws  # both need the extra `aws`
        from connectors.dynamodb.rows import Tables

        return Tables(Aws(database.region, database.endpoint))
    if isinstance(database, SourceDatabase):
        # without schemas the job has had its types from the database too
        pipeline = pipeline if schemas else typed(pipeline)[0]
        return Reselect.of(database, pipeline.events.debezium, schemas)
    raise ConfigError([f"reselect is missing: it names where rows are read; add {_EXAMPLES[False]}"])


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
    """A position behind all that the source has given so far; None where nobody can tell.

    Debezium's positions of PostgreSQL are places in its log. A replica may be behind what the connector has read.
    """
    if not isinstance(source, Reselect) or not pipeline.events.of_debezium:
        return None
    lsn = source.execute(_END)[0][0]
    return None if lsn is None else Position(f"{int(lsn):016x}.{2**64 - 1:016x}")
