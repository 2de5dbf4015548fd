"""The feeds that a chaos run knows, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from chaos.debezium import FAULTS, Debezium
from chaos.items import Items
from chaos.objects import Objects
from chaos.profiles import Profiles
from chaos.rows import DMS, KINESIS, ROWS, Rows
from chaos.strikes import AWS, Fault
from chaos.world import Begin


@dataclass(frozen=True, slots=True)
class Known:
    """How a feed is made, what may happen to it, the stores it is run with by default, and whether it needs AWS."""

    begin: Begin
    faults: Mapping[Fault, int]
    stores: str = "pgvector"
    needs_aws: bool = True


FEEDS: Mapping[str, Known] = {
    "debezium": Known(Debezium, Debezium.faults, "pgvector,opensearch", needs_aws=False),
    "dynamodb": Known(Items, Items.faults),
    "dms": Known(partial(Rows, kind=DMS), DMS.faults),
    "s3": Known(Objects, Objects.faults),
    "kinesis": Known(partial(Rows, kind=KINESIS), KINESIS.faults),
    "rows": Known(partial(Rows, kind=ROWS), ROWS.faults, needs_aws=False),
    "profiles": Known(Profiles, FAULTS, needs_aws=False),
    "profiles-dynamodb": Known(Profiles, {**FAULTS, **AWS}),
}
