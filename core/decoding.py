"""An event's bytes to changes, in the format that a pipeline names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from core.change import Change, Event, Skip, Truncate
from core.config.pipeline import Pipeline
from core.errors import ChangeError, DecodeError, quote
from core.formats import dms, rows
from core.formats.debezium import decoding as debezium
from core.formats.debezium import rekeyed as debezium_rekeyed
from core.formats.dms import DmsFormat
from core.formats.dynamodb import decoding as dynamodb
from core.formats.rows import RowsFormat

T = TypeVar("T")

Decoder = Callable[[Event], tuple[Change | Truncate | Skip, ...]]
"""What an event says, in its order; raises DecodeError where its bytes are not what the format promises."""


def guarded(decode: Callable[[Event], T]) -> Callable[[Event], T]:
    """A decoder that raises nothing but ChangeError: so a fault of its own costs one event, and not the job."""

    def decode_or_refuse(event: Event) -> T:
        try:
            return decode(event)
        except ChangeError:
            raise
        except Exception as error:
            raise DecodeError(
                f"the decoder failed with {type(error).__name__}: {quote(str(error))}; this is a fault of Freshet's, "
                "please report it with this event"
            ) from error

    return decode_or_refuse


def decoder(pipeline: Pipeline) -> Decoder:
    """The decoder for a pipeline's events. Raises ValueError for objects' notifications, which are no changes yet."""
    return guarded(_decoder(pipeline))


def _decoder(pipeline: Pipeline) -> Decoder:
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
