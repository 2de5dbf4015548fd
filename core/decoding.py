"""An event's bytes to changes, in the format that a pipeline names."""

from __future__ import annotations

from collections.abc import Callable

from core.change import Change, Event, Skip, Truncate
from core.config import Pipeline
from core.formats import debezium, debezium_rekeyed, dms, dynamodb, rows
from core.formats.dms import DmsFormat
from core.formats.rows import RowsFormat

Decoder = Callable[[Event], tuple[Change | Truncate | Skip, ...]]
"""What an event says, in its order; raises DecodeError where its bytes are not what the format promises."""


def decoder(pipeline: Pipeline) -> Decoder:
    """The decoder for a pipeline's events. Raises ValueError for objects' notifications, which are no changes yet."""
    if pipeline.format.debezium is not None:
        of_debezium, keys = pipeline.debezium, {table: names for table, names in pipeline.keys.items() if names}
        if keys:
            return lambda event: debezium_rekeyed.decode_by(event, of_debezium, keys)
        return lambda event: (debezium.decode(event, of_debezium),)
    if pipeline.format.dynamodb is not None:
        table = "" if pipeline.source.dynamodb is None else pipeline.source.dynamodb.table
        return lambda event: dynamodb.decode(event, table)
    if pipeline.format.dms is not None:
        of_dms = DmsFormat(**pipeline.format.dms.model_dump(), keys=pipeline.keys, tables=pipeline.tables)
        return lambda event: dms.decode(event, of_dms)
    if pipeline.format.rows is not None:
        told = {name: value for name, value in pipeline.format.rows.model_dump().items() if value is not None}
        of_rows = RowsFormat(**told, keys=pipeline.keys, tables=pipeline.tables)
        return lambda event: rows.decode(event, of_rows)
    raise ValueError(f"format {pipeline.format.name} has no decoder of changes")
