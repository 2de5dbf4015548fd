"""The statements of the profile store. Names come in by psycopg.sql, values as parameters."""

from __future__ import annotations

from psycopg.sql import SQL

TABLES = ("profiles", "identifiers", "members", "groups", "aliases", "audit", "writer")
"""What the pipeline's name is put before; `records` is a view of `members` and `groups`."""

# Any number, the same for all: CREATE ... IF NOT EXISTS by two at once fails.
ONE_AT_A_TIME = SQL("SELECT pg_advisory_xact_lock(7020105108)")

IS_THERE = SQL("SELECT to_regclass({writer_name}) IS NOT NULL")

CREATE = (
    SQL("""
CREATE TABLE IF NOT EXISTS {profiles} (
    profile_id text COLLATE "C" PRIMARY KEY, attributes jsonb NOT NULL, records jsonb NOT NULL,
    text_hash bytea NOT NULL, version bigint NOT NULL, changed_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80)
"""),
    SQL("""
CREATE TABLE IF NOT EXISTS {identifiers} (
    type text COLLATE "C", value text COLLATE "C", profile_id text COLLATE "C" NOT NULL, ordinal int NOT NULL,
    PRIMARY KEY (type, value)
)
"""),
    SQL("CREATE INDEX IF NOT EXISTS {identifiers_index} ON {identifiers} (profile_id)"),
    SQL("""
CREATE TABLE IF NOT EXISTS {members} (
    record text COLLATE "C" PRIMARY KEY, source_table text NOT NULL, group_id text COLLATE "C",
    identifiers jsonb NOT NULL, version bigint NOT NULL, changed_at timestamptz NOT NULL DEFAULT now()
)
"""),
    SQL("CREATE INDEX IF NOT EXISTS {members_index} ON {members} (group_id)"),
    SQL("""
CREATE TABLE IF NOT EXISTS {groups} (
    group_id text COLLATE "C" PRIMARY KEY, profile_id text COLLATE "C",
    version bigint NOT NULL, changed_at timestamptz NOT NULL DEFAULT now()
)
"""),
    SQL("CREATE INDEX IF NOT EXISTS {groups_index} ON {groups} (profile_id)"),
    SQL("""
CREATE TABLE IF NOT EXISTS {aliases} (
    profile_id text COLLATE "C" PRIMARY KEY, into_id text COLLATE "C",
    version bigint NOT NULL, changed_at timestamptz NOT NULL DEFAULT now()
)
"""),
    SQL("""
CREATE TABLE IF NOT EXISTS {audit} (
    version bigint, nth int, kind text NOT NULL, profile_id text COLLATE "C" NOT NULL, others text[] NOT NULL,
    identifiers jsonb NOT NULL, reason text NOT NULL, record text NOT NULL, why text NOT NULL, position text NOT NULL,
    event_time timestamptz NOT NULL, told_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (version, nth)
)
"""),
    SQL("CREATE INDEX IF NOT EXISTS {audit_index} ON {audit} (profile_id)"),
    SQL("CREATE INDEX IF NOT EXISTS {others_index} ON {audit} USING gin (others)"),
    SQL("""
CREATE TABLE IF NOT EXISTS {writer} (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), epoch bigint NOT NULL, version bigint NOT NULL
) WITH (fillfactor = 50)
"""),
    SQL("""
CREATE OR REPLACE VIEW {records} AS
SELECT source_table, substr(record, strpos(record, '/') + 1) AS record_key, profile_id, record
FROM {members} JOIN {groups} USING (group_id) WHERE profile_id IS NOT NULL
"""),
)

# Milliseconds, so that an epoch is later than all before even where these tables were dropped meanwhile.
_BEGIN = SQL("""
INSERT INTO {writer} AS writer (epoch, version)
VALUES (coalesce(nullif(%b::bigint, 0), (extract(epoch FROM clock_timestamp()) * 1000)::bigint), %b)
ON CONFLICT (one) DO UPDATE SET epoch = greatest(writer.epoch + 1, EXCLUDED.epoch), version = EXCLUDED.version
RETURNING epoch
""")
_LATER_PROFILES = SQL("""
SELECT profile_id FROM {profiles} WHERE version > %b UNION SELECT profile_id FROM {aliases} WHERE version > %b
""")
_LATER_GROUPS = SQL("SELECT group_id FROM {groups} WHERE version > %b")
_LATER_RECORDS = SQL("SELECT record, source_table FROM {members} WHERE version > %b")

# Whoever writes waits here for one who does, and for a new writer to begin.
_WRITER = SQL("SELECT epoch, version FROM {writer} FOR UPDATE")
_WRITTEN = SQL("UPDATE {writer} SET version = %b")
_FORGET_AUDIT = SQL("DELETE FROM {audit} WHERE version > %b")

_RETIRE = SQL("DELETE FROM {profiles} WHERE profile_id = ANY(%b::text[])")
_LEAD = SQL("""
INSERT INTO {aliases} (profile_id, into_id, version)
SELECT * FROM unnest(%b::text[], %b::text[], %b::bigint[])
ON CONFLICT (profile_id) DO UPDATE SET into_id = EXCLUDED.into_id, version = EXCLUDED.version, changed_at = now()
""")
_UNLEAD = SQL("DELETE FROM {aliases} WHERE profile_id = ANY(%b::text[])")
_UPSERT = SQL("""
INSERT INTO {profiles} (profile_id, attributes, records, text_hash, version)
SELECT profile_id, attributes::jsonb, records::jsonb, text_hash, version
FROM unnest(%b::text[], %b::text[], %b::text[], %b::bytea[], %b::bigint[])
     AS new (profile_id, attributes, records, text_hash, version)
ON CONFLICT (profile_id) DO UPDATE SET
    attributes = EXCLUDED.attributes, records = EXCLUDED.records, text_hash = EXCLUDED.text_hash,
    version = EXCLUDED.version, changed_at = now()
""")
# An identifier is of one profile: what a profile gives away goes before another takes it.
_UNIDENTIFY = SQL("""
DELETE FROM {identifiers} AS held WHERE held.profile_id = ANY(%b::text[])
AND (held.type, held.value, held.profile_id) NOT IN (SELECT * FROM unnest(%b::text[], %b::text[], %b::text[]))
""")
_IDENTIFY = SQL("""
INSERT INTO {identifiers} AS held (type, value, profile_id, ordinal)
SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::int[])
ON CONFLICT (type, value) DO UPDATE SET profile_id = EXCLUDED.profile_id, ordinal = EXCLUDED.ordinal
WHERE (held.profile_id, held.ordinal) IS DISTINCT FROM (EXCLUDED.profile_id, EXCLUDED.ordinal)
""")
_GROUP = SQL("""
INSERT INTO {groups} (group_id, profile_id, version) SELECT * FROM unnest(%b::text[], %b::text[], %b::bigint[])
ON CONFLICT (group_id) DO UPDATE SET profile_id = EXCLUDED.profile_id, version = EXCLUDED.version, changed_at = now()
""")
_PLACE = SQL("""
INSERT INTO {members} (record, source_table, group_id, identifiers, version)
SELECT record, source_table, group_id, identifiers::jsonb, version
FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::bigint[])
     AS new (record, source_table, group_id, identifiers, version)
ON CONFLICT (record) DO UPDATE SET group_id = EXCLUDED.group_id, identifiers = EXCLUDED.identifiers,
    version = EXCLUDED.version, changed_at = now()
""")
_NOTE = SQL("""
INSERT INTO {audit} (version, nth, kind, profile_id, others, identifiers, reason, record, why, position, event_time)
VALUES (%b, %b, %b, %b, %b::text[], %b::jsonb, %b, %b, %b, %b, to_timestamp(%b::float8 / 1000))
""")

# Deleted rows and dead ends must outlive the checkpoint that a job may go back to, and no longer.
_FORGET = (
    SQL("DELETE FROM {aliases} WHERE into_id IS NULL AND changed_at < now() - make_interval(secs => %b::float8)"),
    # what led to such an end leads nowhere: of a chain the last link goes first, and the others one by one
    SQL("""
DELETE FROM {aliases} AS dead WHERE into_id IS NOT NULL AND changed_at < now() - make_interval(secs => %b::float8)
AND NOT EXISTS (SELECT FROM {profiles} AS there WHERE there.profile_id = dead.into_id)
AND NOT EXISTS (SELECT FROM {aliases} AS next WHERE next.profile_id = dead.into_id)
"""),
    SQL("DELETE FROM {groups} WHERE profile_id IS NULL AND changed_at < now() - make_interval(secs => %b::float8)"),
    SQL("DELETE FROM {members} WHERE group_id IS NULL AND changed_at < now() - make_interval(secs => %b::float8)"),
)

_PROFILE = SQL("""
WITH RECURSIVE lead (profile_id, step) AS (
    SELECT %b::text COLLATE "C", 0 UNION ALL
    SELECT into_id, step + 1 FROM lead JOIN {aliases} USING (profile_id) WHERE into_id IS NOT NULL AND step < 1000
)
SELECT profile_id, attributes, records,
       (SELECT coalesce(jsonb_agg(jsonb_build_array(type, value) ORDER BY ordinal), '[]')
        FROM {identifiers} AS held WHERE held.profile_id = lead.profile_id)
FROM lead JOIN {profiles} USING (profile_id) ORDER BY step LIMIT 1
""")
_MEMBERS = SQL("""
SELECT record, source_table, group_id, identifiers FROM {groups} JOIN {members} USING (group_id)
WHERE profile_id = %b ORDER BY source_table, length(record), record LIMIT %b
""")
_HISTORY = SQL("""
SELECT kind, profile_id, others, identifiers, reason, record, position,
       (extract(epoch FROM event_time) * 1000)::bigint, why
FROM {audit} WHERE profile_id = %b OR others @> ARRAY[%b::text] ORDER BY version DESC, nth DESC LIMIT %b
""")
_HOLDER = SQL("SELECT profile_id FROM {identifiers} WHERE type = %b AND value = %b")

_PART_OF = SQL("SELECT profile_id FROM {members} JOIN {groups} USING (group_id) WHERE record = %b")
_ERASED = SQL("""
WITH RECURSIVE lead (profile_id, into_id, step) AS (
    SELECT profile_id, into_id, 0 FROM {aliases} WHERE profile_id = %b UNION ALL
    SELECT next.profile_id, next.into_id, step + 1
    FROM lead JOIN {aliases} AS next ON next.profile_id = lead.into_id WHERE step < 1000
)
SELECT EXISTS (SELECT 1 FROM lead WHERE into_id IS NULL)
""")

_FROZEN = SQL("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
_ALL_PROFILES = SQL("""
SELECT profile_id, attributes, records, coalesce(jsonb_agg(jsonb_build_array(type, value) ORDER BY ordinal)
       FILTER (WHERE type IS NOT NULL), '[]')
FROM {profiles} LEFT JOIN {identifiers} USING (profile_id) GROUP BY profile_id
""")
_ALL_RECORDS = SQL("SELECT record, profile_id FROM {records}")

_EMPTYING = {
    "empty_profiles": SQL("DELETE FROM {profiles}"),
    "empty_identifiers": SQL("DELETE FROM {identifiers}"),
    "empty_members": SQL("DELETE FROM {members}"),
    "empty_groups": SQL("DELETE FROM {groups}"),
    "empty_aliases": SQL("DELETE FROM {aliases}"),
}
EMPTYING = tuple(_EMPTYING)
"""What forgets all there is, by name."""

STATEMENTS = {
    **_EMPTYING,
    "begin": _BEGIN,
    "later_profiles": _LATER_PROFILES,
    "later_groups": _LATER_GROUPS,
    "later_records": _LATER_RECORDS,
    "writer": _WRITER,
    "written": _WRITTEN,
    "forget_audit": _FORGET_AUDIT,
    "retire": _RETIRE,
    "lead": _LEAD,
    "unlead": _UNLEAD,
    "upsert": _UPSERT,
    "unidentify": _UNIDENTIFY,
    "identify": _IDENTIFY,
    "group": _GROUP,
    "place": _PLACE,
    "note": _NOTE,
    **{f"forget_{nth}": each for nth, each in enumerate(_FORGET)},
    "profile": _PROFILE,
    "members": _MEMBERS,
    "history": _HISTORY,
    "holder": _HOLDER,
    "part_of": _PART_OF,
    "erased": _ERASED,
    "frozen": _FROZEN,
    "all_profiles": _ALL_PROFILES,
    "all_records": _ALL_RECORDS,
}
"""By name, what is run over and over."""
