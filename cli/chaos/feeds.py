"""The feeds that a chaos run knows, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from cli.chaos.debezium import Debezium
from cli.chaos.items import Items
from cli.chaos.objects import Objects
from cli.chaos.profiles import Profiles
from cli.chaos.rows import DMS, KINESIS, ROWS, Rows
from cli.chaos.world import Begin


@dataclass(frozen=True, slots=True)
class Known:
    """How a feed is made, the stores it is run with where none are named, and whether it needs AWS."""

    begin: Begin
    stores: str = "pgvector"
    needs_aws: bool = True


FEEDS: Mapping[str, Known] = {
    "debezium": Known(Debezium, "pgvector,opensearch", needs_aws=False),
    "dynamodb": Known(Items),
    "dms": Known(partial(Rows, kind=DMS)),
    "s3": Known(Objects),
    "kinesis": Known(partial(Rows, kind=KINESIS)),
    "rows": Known(partial(Rows, kind=ROWS), needs_aws=False),
    "profiles": Known(Profiles, needs_aws=False),
    "profiles-dynamodb": Known(Profiles),
}
