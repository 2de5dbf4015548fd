"""`freshet backfill`: whatever a source holds already, sent to where the pipeline reads its changes."""

from __future__ import annotations

from collections.abc import Sequence

from core.config.format import S3
from core.config.pipeline import Pipeline
from core.errors import ConfigError
from operations.backfill import objects as backfill_objects
from operations.backfill import tables as backfill_tables
from operations.backfill.progress import Options
from operations.reporting import Bar, Say
from operations.verify.source import is_repairable

_OF_BUCKETS = "s3://"


def backfill(pipeline: Pipeline, places: Sequence[str], options: Options, say: Say, bar: Bar) -> int:
    """Send the pipeline all that is at the places, `s3://BUCKET/PREFIX` or `schema.table`; none: all that it names.

    The exit code: 0, or 130 after Ctrl-C. Raises ConfigError where nothing can be sent to the pipeline's feed, or a
    place is none of it, Unavailable where a server is away.
    """
    name = pipeline.format.name
    if backfilled := pipeline.source.chosen.backfilled:
        raise ConfigError([f"{backfilled}: there is nothing to backfill"])
    if isinstance(pipeline.format.chosen, S3):
        return backfill_objects.backfill(pipeline, pipeline.format.chosen, places, options, say, bar)
    if buckets := [each for each in places if each.startswith(_OF_BUCKETS)]:
        raise ConfigError([f"format is {name}: {buckets[0]} is a place for format: s3, whose events name objects"])
    if not is_repairable(pipeline):
        raise ConfigError(
            [
                f"format is {name}, through source.{pipeline.source.name}: a backfill "
                "sends rows as Debezium writes them, through Kafka. "
                f"Instead, {pipeline.format.chosen.again}"
            ]
        )
    return backfill_tables.backfill(pipeline, places, options, say, bar)
