"""What a real PostgreSQL's catalog says of tables whose changes are in no event, or come as another row's."""

from __future__ import annotations

import pytest
from psycopg import connect

from connectors.postgres.catalog import catalog
from connectors.postgres.session import server_of
from core.errors import ConfigError

IDENTITIES = """
    CREATE TABLE plain (id int PRIMARY KEY);
    CREATE TABLE own (a int, b int, PRIMARY KEY (b, a));
    ALTER TABLE own REPLICA IDENTITY USING INDEX own_pkey;
    CREATE TABLE beside (id int PRIMARY KEY, slug text NOT NULL UNIQUE);
    ALTER TABLE beside REPLICA IDENTITY USING INDEX beside_slug_key;
    CREATE TABLE gone (id int PRIMARY KEY, slug text NOT NULL UNIQUE);
    ALTER TABLE gone REPLICA IDENTITY USING INDEX gone_slug_key;
    ALTER TABLE gone DROP CONSTRAINT gone_slug_key;
    CREATE TABLE nothing (id int PRIMARY KEY);
    ALTER TABLE nothing REPLICA IDENTITY NOTHING;
    CREATE TABLE keyless (slug text NOT NULL UNIQUE);
    ALTER TABLE keyless REPLICA IDENTITY USING INDEX keyless_slug_key;
    CREATE TABLE parted (id int PRIMARY KEY, slug text NOT NULL) PARTITION BY RANGE (id);
    CREATE TABLE part1 PARTITION OF parted FOR VALUES FROM (1) TO (9);
    CREATE TABLE part2 PARTITION OF parted FOR VALUES FROM (9) TO (19);
    CREATE UNIQUE INDEX part2_slug ON part2 (slug);
    ALTER TABLE part2 REPLICA IDENTITY USING INDEX part2_slug;
"""
COLUMNS = """
    CREATE TYPE addr AS (street text, nr int);
    CREATE TYPE mood AS ENUM ('good');
    CREATE DOMAIN grid AS int[][];
    CREATE DOMAIN called AS name;
    CREATE DOMAIN place AS addr;
    CREATE TABLE things (
        id int PRIMARY KEY, t text, list int[], feelings mood[], span int4range,
        n name, "nä" name[], called called, grid int[][], framed grid, home addr, homes addr[], place place,
        stored text GENERATED ALWAYS AS (t || '!') STORED, virtual text GENERATED ALWAYS AS (t || '?') VIRTUAL
    );
"""


def test_replica_identities_that_name_another_row_are_found_in_partitions_too(dsn: str) -> None:
    with connect(dsn) as connection:
        connection.execute(IDENTITIES)
        (schema,) = connection.execute("SELECT current_schema()").fetchall()[0]
    with catalog(dsn, "dsn") as database:
        names = ("plain", "own", "beside", "gone", "nothing", "keyless", "parted")
        found = database.identities([f"{schema}.{name}" for name in names])
        faults = {each.table.removeprefix(f"{schema}."): each.fault for each in found}
        assert database.table(f"{schema}.beside").identity.fault == faults["beside"]
    assert [name for name, fault in faults.items() if not fault] == ["keyless", "own", "part1", "plain"]
    assert "USING INDEX, of slug, and its primary key is id" in faults["beside"]
    assert faults["beside"].endswith(f'ALTER TABLE "{schema}"."beside" REPLICA IDENTITY DEFAULT, or FULL')
    assert faults["part2"].startswith(f"{schema}.part2 has REPLICA IDENTITY USING INDEX, of slug,")
    assert "USING INDEX, of one that is gone: where its changes are published PostgreSQL refuses" in faults["gone"]
    assert "REPLICA IDENTITY NOTHING: where its changes are published" in faults["nothing"]


def test_columns_whose_values_no_change_tells_are_known_with_the_reason(dsn: str) -> None:
    with connect(dsn, autocommit=True) as connection:
        connection.execute(COLUMNS)
        (schema,) = connection.execute("SELECT current_schema()").fetchall()[0]
        with catalog(dsn, "dsn") as database:
            lost = {each.name: each.lost for each in database.columns(f"{schema}.things")[0] if each.lost}
            connection.execute(
                "CREATE PUBLICATION whole FOR TABLE things WITH (publish_generated_columns = stored)"  # 18 and later
            )
            published = [each.name for each in database.columns(f"{schema}.things")[0] if each.lost]
            connection.execute("DROP PUBLICATION whole")
    named = ["n", "nä", "called"]
    assert list(lost) == [*named, "grid", "framed", "home", "homes", "place", "stored", "virtual"]
    assert all("which is of type name" in lost[name] and "Make it text" in lost[name] for name in named)
    assert "integer[] in 2 dimensions" in lost["grid"] and "of the composite type" in lost["homes"]
    assert "publish_generated_columns = stored" in lost["virtual"]
    assert [name for name in lost if name not in published] == ["stored"]


@pytest.mark.parametrize("dsn", ["postgresql://u:first@SECRET@127.0.0.1:1/x", "host='SECRET@127.0.0.1' user=u"])
def test_a_password_that_libpq_takes_for_the_host_is_refused_and_not_printed(dsn: str) -> None:
    for asked in (lambda: server_of(dsn, "store.pgvector"), lambda: catalog(dsn, "--dsn").__enter__()):
        with pytest.raises(ConfigError, match="write that as %40") as refused:
            asked()
        assert "SECRET" not in str(refused.value)
