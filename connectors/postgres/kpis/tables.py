"""What PostgreSQL knows of a KPI's table; `name` is the table's, quoted, as a literal."""

from __future__ import annotations

from psycopg import sql

COLUMNS = sql.SQL(
    "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute"
    " WHERE attrelid = to_regclass({name}) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
)
"""A table's columns with their types, in their order; none where it isn't there."""

KEY = sql.SQL(
    "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)"
    " WHERE i.indrelid = to_regclass({name}) AND i.indisprimary"
)
"""The columns of its primary key."""
