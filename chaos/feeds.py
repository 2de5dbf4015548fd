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
from chaos.strikes import AWS, JOB, STORES, Fault
from chaos.talks import FAULTS as OF_TALKS
from chaos.talks import Talks
from chaos.world import ALL, KPIS, Begin


@dataclass(frozen=True, slots=True)
class Known:
    """A feed, for a run and for the table of docs/chaos.md.

    begin      how it is made
    faults     what may happen to it, by weight
    written    what is written, and how its changes are sent; Markdown, as the next
    truth      what the stores are compared with
    stores     that it is run with by default
    of         the stores that it can be run with
    makes      what is in them
    needs_aws  whether AWS is played for it
    """

    begin: Begin
    faults: Mapping[Fault, int]
    written: str
    truth: str
    stores: str = "pgvector"
    of: tuple[str, ...] = ALL
    makes: str = "documents"
    needs_aws: bool = True

    @property
    def own_faults(self) -> tuple[Fault, ...]:
        """Those beside the job's and the stores', which every feed has, in the order of `Fault`."""
        return tuple(fault for fault in Fault if fault in self.faults.keys() - JOB.keys() - STORES.keys())


FEEDS: Mapping[str, Known] = {
    "debezium": Known(Debezium, Debezium.faults, "the above", "the tables", "pgvector,opensearch", needs_aws=False),
    "dms": Known(
        partial(Rows, kind=DMS),
        DMS.faults,
        "a table kept in memory: puts, edits, deletes, changed keys in chains, and now and then all rows at once; "
        "DMS's messages in a Kinesis stream, in the order of the table's log, before-images and control records "
        "included",
        "the table's rows",
    ),
    "kinesis": Known(
        partial(Rows, kind=KINESIS),
        KINESIS.faults,
        "the same without changed keys; Kinesis Data Streams for DynamoDB: each record up to 0.7 s late, so swapped, "
        "one of five twice",
        "the table's rows",
    ),
    "dynamodb": Known(Items, Items.faults, "items put, updated and deleted; DynamoDB Streams", "a scan of the table"),
    "s3": Known(
        Objects,
        Objects.faults,
        "Markdown and CSV files put and deleted, and old versions of them, in a bucket that keeps versions in half of "
        "the acts; notifications of both shapes in Kafka, in any partition, up to 1 s late, so swapped, one of "
        "five twice",
        "the bucket's objects",
    ),
    "profiles": Known(
        Profiles,
        FAULTS,
        "five tables that tell of persons: rows put, corrected, reassigned, deleted, keys changed, tables truncated; "
        "Debezium. Few enough people that they meet, part and break limits",
        "[profiles](profiles.md), records and vectors, of all rows linked and merged at once",
        needs_aws=False,
    ),
    "profiles-dynamodb": Known(
        Profiles, {**FAULTS, **AWS}, "the same, whose profiles go to DynamoDB too", "the same, of both"
    ),
    "rows": Known(
        partial(Rows, kind=ROWS),
        ROWS.faults,
        "as for `kinesis`, as plain rows with a version and an operation, in any partition of a topic",
        "the table's rows",
        needs_aws=False,
    ),
    "feedback": Known(
        Talks,
        OF_TALKS,
        "turns of conversations and ratings of them, each up to 0.7 s late and in any partition of a topic, so that "
        "a rating may come before its turn; some are rated again, one event of five comes twice",
        "[KPIs](feedback.md) of all that was sent, counted at once: one that ratings correct, and a final one",
        "postgres",
        KPIS,
        "rows",
        needs_aws=False,
    ),
}
