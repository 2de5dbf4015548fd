"""An event's bytes to changes, in the format that a pipeline names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from core.change import Change, Event, Skip, Truncate
from core.config.events import Events
from core.config.source import DynamodbStreams, Model
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


def decoder(events: Events) -> Decoder:
    """The decoder for a pipeline's events. Raises ValueError for objects' notifications, which are no changes yet."""
    of_format = DECODERS.get(events.format.name)
    if of_format is None:
        raise ValueError(f"format {events.format.name} has no decoder of changes")
    return guarded(of_format(events))


def _of_debezium(events: Events) -> Decoder:
    settings, keys = events.debezium, events.keys
    if keys:
        return lambda event: debezium_rekeyed.decode_by(event, settings, keys)
    return lambda event: (debezium.decode(event, settings),)


def _of_dynamodb(events: Events) -> Decoder:
    source = events.source.chosen
    table = source.table if isinstance(source, DynamodbStreams) else ""
    return lambda event: dynamodb.decode(event, table)


def _of_dms(events: Events) -> Decoder:
    settings = DmsFormat(**_said(events.format.chosen), keys=events.keys, tables=events.tables)
    return lambda event: dms.decode(event, settings)


def _of_rows(events: Events) -> Decoder:
    said = _said(events.format.chosen)
    settings = RowsFormat(**said, keys=events.keys, tables=events.tables, debezium=events.debezium)
    return lambda event: rows.decode(event, settings)


def _said(settings: Model) -> dict[str, Any]:
    """The settings that have a value."""
    return settings.model_dump(exclude_none=True)


DECODERS: Mapping[str, Callable[[Events], Decoder]] = {
    "debezium": _of_debezium,
    "dynamodb": _of_dynamodb,
    "dms": _of_dms,
    "rows": _of_rows,
}
"""By the formats' names in a pipeline file; the others' events name objects."""
