"""Which values of a table's rows no event carries, by what PostgreSQL publishes and what Debezium makes of it.

Sources of the rules: PostgreSQL's documentation, "ALTER TABLE: REPLICA IDENTITY", "CREATE PUBLICATION"
(publish_generated_columns); Debezium's, "Debezium connector for PostgreSQL: Data type mappings". What Debezium makes of
old rows that lack the primary key, of `name`, of arrays in arrays and of composite types is seen with 3.7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

IDENTITIES: LiteralString = """
    WITH named AS (
        SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname || '.' || c.relname = ANY(%s)
    )
    SELECT n.nspname || '.' || c.relname, c.relreplident::text,
        array(
            SELECT a.attname::text FROM pg_index i JOIN pg_attribute a
                ON a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
            WHERE i.indrelid = c.oid AND i.indisreplident ORDER BY 1
        ),
        array(
            SELECT a.attname::text FROM pg_index i JOIN pg_attribute a
                ON a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
            WHERE i.indrelid = c.oid AND i.indisprimary ORDER BY 1
        )
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND (
        c.oid IN (SELECT oid FROM named)
        OR c.oid IN (SELECT leaf.relid FROM named, pg_partition_tree(named.oid) leaf WHERE leaf.isleaf)
    )
    ORDER BY 1"""
"""Rows for `Identity`, of the tables of these names and of all their partitions."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which old values of a row PostgreSQL writes down when it is changed or deleted.

    table  `schema.table`, where that is partitioned each partition
    kind   pg_class.relreplident: `d`efault, `f`ull, `i`ndex or `n`othing
    index  the columns of the index that it is by, in the order of their names; empty where there is none any more
    key    those of the primary key
    """

    table: str
    kind: str
    index: tuple[str, ...] = ()
    key: tuple[str, ...] = ()

    @property
    def fault(self) -> str:
        """Why its updates and deletes fail, or come as another row's, and the remedy; "" where they come right."""
        quoted = sql.Identifier(*self.table.split(".", 1)).as_string(None)
        remedy = f"ALTER TABLE {quoted} REPLICA IDENTITY {'DEFAULT, or FULL' if self.key else 'FULL'}"
        if self.kind == "n" or (self.kind == "i" and not self.index):
            why = "NOTHING" if self.kind == "n" else "USING INDEX, of one that is gone"
            return (
                f"{self.table} has REPLICA IDENTITY {why}: where its changes are published PostgreSQL refuses its "
                f"UPDATEs and DELETEs. {remedy}"
            )
        if self.kind == "i" and self.key and {*self.index} != {*self.key}:
            by, key = ", ".join(self.index), ", ".join(self.key)
            return (
                f"{self.table} has REPLICA IDENTITY USING INDEX, of {by}, and its primary key is {key}: of a deleted "
                f"row, and of one whose key changes, PostgreSQL tells {by} alone, so that Debezium's events name "
                f"another row, or none. {remedy}"
            )
        return ""


def lost(type_: str, dimensions: int, composite: bool, generated: bool) -> str:
    """Why no change carries a column's values, as the rest of a sentence about it; "" where changes carry them.

    type_       as format_type has it, without domains around it
    dimensions  as it was declared, of an array
    composite   whether it, or an array's element, has parts of its own
    generated   whether it is computed, and no publication has it
    """
    if generated:
        return (
            "which is generated: PostgreSQL publishes no such column (18 does, where it is STORED and the publication "
            "has publish_generated_columns = stored), so only a snapshot's rows have it. Name the columns that it is "
            "made of"
        )
    if composite:
        return (
            f"which is of the composite type {type_}: Debezium's events leave such columns out. Have what is needed "
            "of it in columns of its own"
        )
    if type_.removesuffix("[]") == "name":
        text = type_.replace("name", "text")
        return f"which is of type {type_}: Debezium tells it as null in every change. Make it {text}"
    if dimensions > 1:
        return (
            f"which is {type_} in {dimensions} dimensions: Debezium tells the inner arrays as nulls. Have it as jsonb, "
            "or in one dimension"
        )
    return ""
