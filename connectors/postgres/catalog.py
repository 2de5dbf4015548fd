"""What a PostgreSQL database says of its tables, for who sets up a pipeline: asked once, over one connection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from connectors.postgres.event_gaps import IDENTITIES, Identity, lost
from connectors.postgres.faults import reason
from connectors.postgres.login import AS_WRITTEN, Login
from connectors.postgres.session import connected, refuse_password_in_host, server_of
from core.config.first_pipeline import Column
from core.config.references import alike
from core.errors import ConfigError, Unavailable

_TABLES = """
    SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND (%s OR NOT c.relispartition)
        AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%%'
    ORDER BY 1"""
_TABLE = """
    SELECT c.oid, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s"""
_COLUMNS = """
    WITH RECURSIVE plain AS (
        SELECT a.attname, a.attnum, a.atttypid AS type, a.atttypmod AS modifier, a.attndims::int AS dimensions,
            a.attgenerated <> '' AND NOT EXISTS (
                SELECT FROM pg_publication_tables p JOIN pg_class c ON c.relname = p.tablename
                    JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = p.schemaname
                WHERE c.oid = a.attrelid AND current_setting('server_version_num')::int >= 180000
                    AND (to_jsonb(p) -> 'attnames') ? a.attname::text
            ) AS generated
        FROM pg_attribute a WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL
        SELECT plain.attname, plain.attnum, t.typbasetype, t.typtypmod, greatest(plain.dimensions, t.typndims)::int,
            plain.generated
        FROM plain JOIN pg_type t ON t.oid = plain.type AND t.typtype = 'd'
    )
    SELECT plain.attname, format_type(plain.type, plain.modifier), t.typtype = 'e', plain.dimensions,
        t.typtype = 'c' OR coalesce(e.typtype = 'c', false), plain.generated
    FROM plain JOIN pg_type t ON t.oid = plain.type AND t.typtype <> 'd'
        LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
    ORDER BY plain.attnum"""
_KEYS = """
    SELECT i.indisprimary, array_agg(a.attname::text ORDER BY at)
    FROM pg_index i, unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k (number, at)
        JOIN pg_attribute a ON a.attnum = k.number
    WHERE i.indrelid = %s AND a.attrelid = i.indrelid AND i.indisunique AND i.indpred IS NULL
    GROUP BY i.indexrelid, i.indisprimary
    HAVING bool_and(a.attnotnull)
    ORDER BY i.indisprimary DESC, 2"""
_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}


@dataclass(frozen=True, slots=True)
class Table:
    """A table as the catalog has it.

    name      `schema.table`
    key       the primary key's columns, in its order; empty where there is none
    unique    the columns of each unique index without nulls
    """

    name: str
    columns: Sequence[Column]
    key: tuple[str, ...]
    unique: Sequence[tuple[str, ...]]
    identity: Identity

    @property
    def keyless(self) -> str:
        """What to do about a table without a primary key; "" where it has one."""
        if self.key:
            return ""
        quoted = sql.Identifier(*self.name.split(".", 1)).as_string(None)
        by = ", ".join(sql.Identifier(each).as_string(None) for each in self.unique[0]) if self.unique else "…"
        return (
            f"{self.name} has no primary key, so nothing says which document a change is of, and where changes of it "
            "are published its UPDATEs and DELETEs fail. Give it one: "
            f"ALTER TABLE {quoted} ADD PRIMARY KEY ({by})"
        )


@dataclass(frozen=True, slots=True)
class Catalog:
    """An open connection to a database. `server` is host:port; `database` its name there."""

    connection: psycopg.Connection[Any]
    server: str
    database: str

    def tables(self, partitions: bool = False) -> list[str]:
        """All that this user may see, as `schema.table`."""
        return [name for (name,) in self.connection.execute(_TABLES, (partitions,))]

    def table(self, name: str) -> Table:
        """The table of this name, whose schema may be left out where only one has such a table.

        Raises ConfigError where there is none, or its rows' changes can't be had by its name.
        """
        named = self._resolved(name)
        schema, _, relation = named.partition(".")
        oid, kind = self.connection.execute(_TABLE, (schema, relation)).fetchall()[0]
        if kind in _KINDS:
            raise ConfigError([f"{named} is {_KINDS[kind]}, whose changes nobody tells: name the table that it shows"])
        if kind == "p":
            raise ConfigError(
                [
                    f"{named} is partitioned, and PostgreSQL publishes its changes by the partitions' names: write the "
                    "connector and the pipeline file as docs/stay-equal.md, Partitions, tells"
                ]
            )
        columns = self._columns(oid)
        keys = self.connection.execute(_KEYS, (oid,)).fetchall()
        primary = [tuple(names) for is_primary, names in keys if is_primary]
        unique = [tuple(names) for is_primary, names in keys if not is_primary]
        (identity,) = self.identities([named])
        return Table(named, columns, primary[0] if primary else (), unique, identity)

    def identities(self, names: Sequence[str]) -> list[Identity]:
        """The replica identities of tables of exactly these names; of one that is partitioned, its partitions'."""
        found = self.connection.execute(IDENTITIES, ([*names],))
        return [Identity(table, kind, tuple(index), tuple(key)) for table, kind, index, key in found]

    def _columns(self, oid: int) -> list[Column]:
        found = self.connection.execute(_COLUMNS, (oid,))
        return [Column(name, kind, enumerated, lost(kind, *why)) for name, kind, enumerated, *why in found]

    def _resolved(self, name: str) -> str:
        there = self.tables()
        if name in there:
            return name
        ends = [each for each in there if each.partition(".")[2] == name]
        if len(ends) == 1:
            return ends[0]
        near = alike(name if "." in name else f"public.{name}", there)
        raise ConfigError([f"database {self.database} at {self.server} has no table {name} that this user sees{near}"])

    def columns(self, name: str) -> tuple[list[Column], bool]:
        """The columns of a table of exactly this name, and whether a key tells its rows apart. None: no such table."""
        found = self.connection.execute(_TABLE, tuple(name.split(".", 1))).fetchall() if "." in name else []
        if not found:
            return [], False
        return self._columns(found[0][0]), bool(self.connection.execute(_KEYS, (found[0][0],)).fetchall())

    def wal_level(self) -> str:
        """What the server writes into its log."""
        return str(self.connection.execute("SHOW wal_level").fetchall()[0][0])


@contextmanager
def catalog(dsn: str, setting: str, login: Login = AS_WRITTEN) -> Iterator[Catalog]:
    """A connection to a database, to read its catalog.

    `setting` is what messages call the connection string. Raises ConfigError where it can't be read or the user may
    not come in, Unavailable where nobody answers.
    """
    _refuse_others(dsn, setting)
    server = server_of(dsn, setting)
    try:
        given = conninfo_to_dict(dsn, connect_timeout=5)
        written = {name: str(value) for name, value in given.items() if value is not None}
        with connected(login.connecting(written, setting)) as connection:
            yield Catalog(connection, server, connection.info.dbname)
    except psycopg.OperationalError as error:
        raise Unavailable(
            f"{setting}: PostgreSQL at {server} can't be reached ({reason(error)}): start it, or correct the address, "
            "the user or the password"
        ) from None
    except psycopg.Error as error:
        raise ConfigError([f"{setting}: PostgreSQL at {server} refuses: {reason(error)}"]) from None


def _refuse_others(dsn: str, setting: str) -> None:
    scheme = dsn.partition("://")[0] if "://" in dsn else ""
    if scheme not in ("", "postgresql", "postgres"):
        raise ConfigError(
            [
                f"{setting} is of {scheme}, and only PostgreSQL's tables can be asked: write the pipeline file by hand "
                "as docs/pipeline-file.md tells, with the columns' types below documents.….types"
            ]
        )
    try:
        refuse_password_in_host(conninfo_to_dict(dsn), setting)
    except psycopg.Error:
        # its message quotes the string, password and all
        raise ConfigError(
            [f"{setting} can't be read as a connection string: write postgresql://user:password@host:5432/database"]
        ) from None


def without_password(dsn: str, variable: str) -> tuple[str, str]:
    """The connection string with `${variable}` for its password, and that password as the variable must hold it.

    As it stands, and "", where there is none. Raises ConfigError where it holds another secret too.
    """
    parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    if "sslpassword" in parts:
        raise ConfigError(["sslpassword stands in the connection string: leave it out here, and add it by hand later"])
    password = parts.pop("password", "")
    if not password:
        return dsn, ""
    # keywords and not a URL: there a password may have @, / and % as they are
    escaped = password.replace("\\", "\\\\").replace("'", "\\'")
    return f"{make_conninfo(**parts)} password='${{{variable}}}'", escaped
