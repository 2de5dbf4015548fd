"""The statements of the pgvector store. Names come in by psycopg.sql, values as parameters."""

from __future__ import annotations

from psycopg.sql import SQL, Composable, Identifier, Literal

from connectors.pgvector.layout import Layout
from connectors.pgvector.layout import names as laid_out
from connectors.postgres.session import identifiers

VERSION = SQL("SELECT extversion FROM pg_extension WHERE extname = 'vector'")

# Whoever clears a table waits for the transactions under way, and they for it: none can bring back what it removes.
_SHARED = "SELECT pg_advisory_xact_lock_shared(702010510, {ledger_name}::regclass::oid::int)"
_EXCLUSIVE = "SELECT pg_advisory_xact_lock(702010510, {ledger_name}::regclass::oid::int)"

# Who writes, or clears, by one of these.
HOLDERS = SQL("""
SELECT activity.pid, coalesce(activity.state, 'state unknown'),
       coalesce(extract(epoch FROM clock_timestamp() - activity.xact_start), 0)::int
FROM pg_locks AS lock JOIN pg_stat_activity AS activity USING (pid)
WHERE lock.locktype = 'advisory' AND lock.granted AND lock.classid = 702010510
  AND lock.objid = {ledger_name}::regclass::oid AND activity.datname = current_database()
  AND activity.pid <> pg_backend_pid()
ORDER BY activity.pid
""")

# Locks every document of the batch, and moves the older ones on. One that then stands elsewhere than its plan is stale.
# A table's mark, the ledger's row under its own name, refuses what is older than a TRUNCATE or a snapshot.
# An equal position may tell that a document lives which was deleted, or the other way round: `deleted_at` must follow.
_ADVANCE = SQL("""
INSERT INTO {ledger} AS ledger (document_id, position, deleted_at, committed_ms)
SELECT plan.document_id, plan.position, CASE WHEN plan.empty THEN now() END, nullif(plan.committed_ms, -1)
FROM unnest(%b::text[], %b::text[], %b::bool[], %b::bigint[]) AS plan (document_id, position, empty, committed_ms)
LEFT JOIN {ledger} AS mark ON mark.document_id = split_part(plan.document_id, '/', 1)
WHERE mark.position IS NULL OR mark.position <= plan.position
ON CONFLICT (document_id) DO UPDATE
SET position = EXCLUDED.position, deleted_at = EXCLUDED.deleted_at, committed_ms = EXCLUDED.committed_ms
WHERE ledger.position < EXCLUDED.position
   OR ledger.position = EXCLUDED.position AND (ledger.deleted_at IS NULL) <> (EXCLUDED.deleted_at IS NULL)
""")

_HELD = SQL("""
SELECT new.chunk_id FROM unnest(%b::text[], %b::text[], %b::text[]) AS new (document_id, position, chunk_id)
LEFT JOIN {table} AS chunk USING (chunk_id) LEFT JOIN {ledger} AS ledger ON ledger.document_id = new.document_id
WHERE chunk.chunk_id IS NOT NULL OR ledger.position > new.position
""")

# NOT IN over a subquery is a hash lookup in every plan; <> ALL(array) and NOT EXISTS may become a quadratic loop.
_REMOVE = SQL("""
DELETE FROM {table} AS chunk
USING unnest(%b::text[], %b::text[]) AS plan (document_id, position) JOIN {ledger} USING (document_id, position)
WHERE chunk.document_id = plan.document_id AND chunk.chunk_id NOT IN (SELECT unnest(%b::text[]))
""")
# The same in two, where one statement would take too long.
_UNWANTED = SQL("""
SELECT chunk.chunk_id FROM {table} AS chunk
JOIN unnest(%b::text[], %b::text[]) AS plan (document_id, position) USING (document_id)
JOIN {ledger} USING (document_id, position)
WHERE chunk.chunk_id NOT IN (SELECT unnest(%b::text[]))
""")
_REMOVE_SOME = SQL(
    "DELETE FROM {table} AS chunk USING unnest(%b::text[]) AS gone (chunk_id) WHERE chunk.chunk_id = gone.chunk_id"
)

# Metadata travels, and is read, once a document, however many chunks have it: each row names its document by number.
_DOCUMENTS = """
WITH given_document AS MATERIALIZED (
    SELECT at, document_id, metadata::jsonb AS metadata
    FROM unnest(%b::text[], %b::text[], %b::text[]) WITH ORDINALITY AS given (document_id, position, metadata, at)
    JOIN {ledger} USING (document_id, position)
)
"""

# An update that leaves `embedding` out, or sets it to itself, leaves the HNSW index alone.
_MOVE = SQL(
    _DOCUMENTS
    + """
UPDATE {table} AS chunk SET ordinal = moved.ordinal, metadata = given_document.metadata
FROM unnest(%b::int[], %b::text[], %b::int[]) AS moved (at, chunk_id, ordinal) JOIN given_document USING (at)
WHERE chunk.chunk_id = moved.chunk_id
  AND (chunk.ordinal, chunk.metadata) IS DISTINCT FROM (moved.ordinal, given_document.metadata)
"""
)

# Arrays in binary cost 0.05 ms of CPU a row, both sides together; COPY to a temporary table 0.055 (0.34 for 10 rows),
# executemany 0.08, vectors as text 0.3 (bench/pgvector_write.py, batches of 100, without the HNSW index).
_UPSERT = SQL(
    _DOCUMENTS
    + """
INSERT INTO {table} AS chunk (chunk_id, document_id, ordinal, text, metadata, embedding, model)
SELECT chunk_id, document_id, ordinal, text, metadata, embedding, %b::text
FROM unnest(%b::int[], %b::text[], %b::int[], %b::text[], %b::{vector_type}[])
    AS new (at, chunk_id, ordinal, text, embedding)
JOIN given_document USING (at)
ON CONFLICT (chunk_id) DO UPDATE SET
    document_id = EXCLUDED.document_id, ordinal = EXCLUDED.ordinal,
    metadata = EXCLUDED.metadata, model = EXCLUDED.model,
    text = CASE WHEN chunk.text = EXCLUDED.text THEN chunk.text ELSE EXCLUDED.text END,
    embedding = CASE WHEN chunk.embedding = EXCLUDED.embedding THEN chunk.embedding ELSE EXCLUDED.embedding END
WHERE (chunk.document_id, chunk.ordinal, chunk.text, chunk.metadata, chunk.model, chunk.embedding)
    IS DISTINCT FROM
      (EXCLUDED.document_id, EXCLUDED.ordinal, EXCLUDED.text, EXCLUDED.metadata, EXCLUDED.model, EXCLUDED.embedding)
"""
)

_STANDING = SQL("""
SELECT coalesce(ledger.position = plan.position, false),
       (SELECT count(*) FROM {table} AS chunk WHERE chunk.document_id = plan.document_id)
FROM unnest(%b::text[], %b::text[]) WITH ORDINALITY AS plan (document_id, position, at)
LEFT JOIN {ledger} AS ledger USING (document_id) ORDER BY plan.at
""")

_MARK = SQL("""
INSERT INTO {ledger} AS ledger (document_id, position) VALUES (%b, %b)
ON CONFLICT (document_id) DO UPDATE SET position = EXCLUDED.position WHERE ledger.position < EXCLUDED.position
""")
_CLEAR = SQL("""
WITH gone AS (
    DELETE FROM {ledger} AS ledger
    WHERE starts_with(ledger.document_id, %b::text || '/') AND ledger.position < %b
      AND document_id NOT IN ('/owner', '/progress')
    RETURNING document_id
), lost AS (
    SELECT document_id FROM {table} AS chunk WHERE starts_with(chunk.document_id, %b::text || '/')
    EXCEPT SELECT document_id FROM {ledger}
), chunks AS (
    DELETE FROM {table} AS chunk USING (SELECT document_id FROM gone UNION SELECT document_id FROM lost) AS removed
    WHERE chunk.document_id = removed.document_id RETURNING chunk.document_id
)
SELECT count(DISTINCT document_id) FROM chunks
""")
# Earlier releases left `deleted_at` with documents that came back at the position of their deletion.
_FORGET = SQL("""
DELETE FROM {ledger} AS ledger WHERE deleted_at < now() - make_interval(secs => %b::float8)
AND NOT EXISTS (SELECT FROM {table} AS chunk WHERE chunk.document_id = ledger.document_id)
""")
_DROP = SQL("""
WITH stood AS (SELECT * FROM unnest(%b::text[], %b::text[]) AS stood (document_id, position)), gone AS (
    DELETE FROM {ledger} AS ledger USING stood
    WHERE ledger.document_id = stood.document_id AND ledger.position = stood.position RETURNING ledger.document_id
), lost AS (
    SELECT document_id FROM stood WHERE position = ''
    AND NOT EXISTS (SELECT FROM {ledger} AS ledger WHERE ledger.document_id = stood.document_id)
), removed AS (SELECT document_id FROM gone UNION SELECT document_id FROM lost), chunks AS (
    DELETE FROM {table} AS chunk USING removed WHERE chunk.document_id = removed.document_id
)
SELECT document_id FROM removed
""")
_POSITIONS = SQL("SELECT document_id, position FROM {ledger} WHERE document_id = ANY(%b::text[])")
_LATEST = SQL("""
SELECT coalesce(max(position), '') FROM {ledger}
WHERE document_id = %b::text OR starts_with(document_id, %b::text || '/')
""")

_READ = SQL("""
SELECT chunk.document_id, coalesce(ledger.position, ''), chunk.chunk_id, chunk.ordinal, chunk.text, chunk.metadata,
       CASE WHEN chunk.model = %b THEN chunk.embedding END, chunk.model, to_jsonb(ledger)
FROM {table} AS chunk LEFT JOIN {ledger} AS ledger USING (document_id)
WHERE chunk.document_id = ANY(%b::text[]) ORDER BY chunk.document_id, chunk.ordinal, chunk.chunk_id
""")
_PAGE = SQL("SELECT DISTINCT document_id FROM {table} WHERE document_id > %b::text ORDER BY document_id LIMIT %b::int")

# The owner stands in the ledger under an id that no document has: its epoch in 16 digits, then the rest as JSON. So
# tables that an earlier release made can have one, by a user who may write to them and no more.
_OWNER = SQL("SELECT position FROM {ledger} WHERE document_id = '/owner'")
_CLAIM = SQL("""
INSERT INTO {ledger} AS ledger (document_id, position) VALUES ('/owner', %b)
ON CONFLICT (document_id) DO UPDATE SET position = EXCLUDED.position
WHERE left(ledger.position, 16) < left(EXCLUDED.position, 16)
""")
# Fails where the owner is another, and the transaction with it: statements that travel together can't be asked between.
_OWNED = SQL("SELECT 1 / count(*) FROM {ledger} WHERE document_id = '/owner' AND position = %b")

# What a run says of itself, under an id that no document has either.
_KEEP = SQL("""
INSERT INTO {ledger} AS ledger (document_id, position) VALUES ('/progress', %b)
ON CONFLICT (document_id) DO UPDATE SET position = EXCLUDED.position
""")
_PROGRESS = SQL("SELECT position FROM {ledger} WHERE document_id = '/progress'")
# A ledger that an earlier release made lacks `committed_ms`.
_STOOD = SQL("SELECT document_id, to_jsonb(ledger) FROM {ledger} AS ledger WHERE document_id = ANY(%b::text[])")

WRITING = {
    "owner": _OWNER,
    "claim": _CLAIM,
    "owned": _OWNED,
    "keep": _KEEP,
    "progress": _PROGRESS,
    "stood": _STOOD,
    "shared": SQL(_SHARED),
    "exclusive": SQL(_EXCLUSIVE),
    "mark": _MARK,
    "clear": _CLEAR,
    "forget": _FORGET,
    "drop": _DROP,
    "positions": _POSITIONS,
    "latest": _LATEST,
    "read": _READ,
    "page": _PAGE,
    "held": _HELD,
    "advance": _ADVANCE,
    "remove": _REMOVE,
    "unwanted": _UNWANTED,
    "remove_some": _REMOVE_SOME,
    "move": _MOVE,
    "upsert": _UPSERT,
    "standing": _STANDING,
}
"""By name, what a job runs over and over."""

ANY_CHUNK = SQL("SELECT EXISTS (SELECT FROM {table})")
# A ledger that an earlier release made may lack `deleted_at`.
LIVING = SQL("""
SELECT count(*) FROM {ledger} AS ledger
WHERE strpos(document_id, '/') > 1 AND to_jsonb(ledger) ->> 'deleted_at' IS NULL
""")

# Any number, the same for all: CREATE ... IF NOT EXISTS by two at once fails.
ONE_AT_A_TIME = SQL("SELECT pg_advisory_xact_lock(7020105107)")

COLUMNS = SQL("""
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = to_regclass({table_name}) AND attnum > 0 AND NOT attisdropped
""")


def names(table: tuple[str, ...], layout: Layout) -> dict[str, Composable]:
    """What stands in the statements' braces, of a table, as `table_name` has it, and how it is laid out."""
    *schema, name = table
    words_index, literal = f"{name}_words", Literal(layout.text_search_config)
    named = identifiers(table=table, ledger=(*schema, f"{name}_ledger"), words_index=(*schema, words_index))
    alone = Identifier(words_index)
    named |= laid_out(layout)
    return {**named, "words_index_alone": alone, "config": literal, "words": WORDS.format(config=literal)}


def columns(dimension: int, vector_type: str) -> dict[str, str]:
    """The columns of a chunk table, name to type as `format_type` writes it."""
    return {
        "chunk_id": "text",
        "document_id": "text",
        "ordinal": "integer",
        "text": "text",
        "metadata": "jsonb",
        "embedding": f"{vector_type}({dimension})",
        "model": "text",
    }


# Room on each page lets a chunk whose ordinal or metadata moved stay on its page, out of the indexes. As one edit moves
# each chunk of its document, half a page is kept: of 15,252 such moves none left its page, of 80 % full ones 39 in
# 100 did, and PostgreSQL's CPU was a quarter more. (The vectors lie elsewhere, in the table's TOAST.)
CREATE_TABLE = SQL("""
CREATE TABLE {table} (
    chunk_id text PRIMARY KEY,
    document_id text NOT NULL,
    ordinal int NOT NULL,
    text text NOT NULL,
    metadata jsonb NOT NULL,
    embedding {vector_type}({dimension}) NOT NULL,
    model text NOT NULL
) WITH (fillfactor = 50)
""")

PARTS = (
    (
        SQL("""
SELECT 1 FROM pg_index WHERE indrelid = to_regclass({table_name}) AND indisvalid
AND pg_get_indexdef(indexrelid) LIKE '% USING btree (document_id)%'
"""),
        SQL("CREATE INDEX ON {table} (document_id)"),
    ),
    (
        SQL("SELECT 1 WHERE to_regclass({ledger_name}) IS NOT NULL"),
        SQL("""
CREATE TABLE {ledger} (
    document_id text PRIMARY KEY, position text COLLATE "C" NOT NULL, deleted_at timestamptz, committed_ms bigint
) WITH (fillfactor = 60)
"""),
    ),
    (
        SQL("""
SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass({ledger_name}) AND attname = 'deleted_at' AND NOT attisdropped
"""),
        SQL("ALTER TABLE {ledger} ADD COLUMN deleted_at timestamptz"),
    ),
    (
        SQL("""
SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass({ledger_name}) AND attname = 'committed_ms' AND NOT attisdropped
"""),
        SQL("ALTER TABLE {ledger} ADD COLUMN committed_ms bigint"),
    ),
)
"""What else a store has: how to see that it is there, and how to make it."""

INDEX_OF_WORDS = (
    SQL("""
SELECT 1 FROM pg_index WHERE indrelid = to_regclass({table_name}) AND indisvalid AND strpos(pg_get_indexdef(indexrelid),
    format('USING gin (to_tsvector(%L::regconfig, "left"(text, 100000)))', {config}::regconfig::text)) > 0
"""),
    SQL("DROP INDEX IF EXISTS {words_index}; CREATE INDEX {words_index_alone} ON {table} USING gin ({words})"),
)
"""As of PARTS, for a table whose words are indexed; and for one whose words are not."""

NO_INDEX_OF_WORDS = (
    SQL("SELECT 1 WHERE to_regclass({words_index_name}) IS NULL"),
    SQL("DROP INDEX IF EXISTS {words_index}"),
)

# One made by hand is kept, as long as it does what the pipeline file asks for.
VECTOR_INDEX = SQL("""
SELECT class.relname, method.amname, coalesce(class.reloptions, '{{}}')
FROM pg_index JOIN pg_class AS class ON class.oid = indexrelid JOIN pg_am AS method ON method.oid = class.relam
WHERE indrelid = to_regclass({table_name}) AND indisvalid
AND strpos(pg_get_indexdef(indexrelid), '(embedding ' || {operators} || ')') > 0
ORDER BY class.relname
""")
CREATE_VECTOR_INDEX = SQL("CREATE INDEX ON {table} USING {vector_index}")
MANY = SQL("SELECT count(*) FROM (SELECT FROM {table} LIMIT %s) AS some_of_it")

CONFIGURATIONS = SQL("SELECT cfgname FROM pg_ts_config WHERE pg_ts_config_is_visible(oid) ORDER BY cfgname")

# A tsvector has 1 MiB at most: of a chunk that has more than any model reads, what is behind that isn't found by words.
WORDS = SQL("to_tsvector({config}::regconfig, left(text, 100000))")

COMPARED = 200
"""So many chunks are compared whole, at least, where more share words with what is asked."""

# BM25 as Lucene has it, with k1 = 1.2 and b = 0.75; a chunk's length is in characters. A word that 2,000 chunks have
# says little: it finds chunks only where no rarer one finds any, and then 2,000; but it counts in each.
MATCHING = SQL("""
WITH asked AS MATERIALIZED (
    SELECT lexeme, query,
           (SELECT count(*) FROM (SELECT FROM {table} WHERE {words} @@ query LIMIT 2000) AS with_it) AS frequency
    FROM (
        SELECT lexeme, ('''' || replace(replace(lexeme, '\\', '\\\\'), '''', '''''') || '''')::tsquery AS query
        FROM unnest(to_tsvector({config}::regconfig, %s::text))
    ) AS quoted
), size AS MATERIALIZED (
    SELECT greatest((SELECT reltuples FROM pg_class WHERE oid = {table_name}::regclass), count(*))::float8 AS chunks
    FROM (SELECT FROM {table} LIMIT 10000) AS some_of_it
), term AS MATERIALIZED (
    SELECT lexeme, query, frequency < 2000 AS is_rare,
           ln(1 + (greatest(chunks, frequency) - frequency + 0.5) / (frequency + 0.5)) AS weight
    FROM asked, size WHERE frequency > 0
), by_rare AS MATERIALIZED (
    SELECT lexeme, weight, matched.* FROM term CROSS JOIN LATERAL (
        SELECT chunk_id, length(text) AS size FROM {table} WHERE {words} @@ query AND model = %s AND {filter}
    ) AS matched
    WHERE is_rare
), found AS MATERIALIZED (
    SELECT chunk_id FROM (
        SELECT * FROM by_rare
        UNION ALL
        SELECT lexeme, weight, matched.* FROM term CROSS JOIN LATERAL (
            SELECT chunk_id, length(text) AS size FROM {table}
            WHERE {words} @@ query AND model = %s AND {filter} LIMIT 2000
        ) AS matched
        WHERE NOT is_rare AND NOT EXISTS (SELECT FROM by_rare)
    ) AS by_any
    GROUP BY chunk_id ORDER BY sum(weight ORDER BY lexeme) DESC, min(size), chunk_id LIMIT %s
), compared AS MATERIALIZED (
    SELECT chunk.*, length(text) / (avg(length(text)) OVER ())::float8 AS size
    FROM {table} AS chunk WHERE chunk_id = ANY (ARRAY(SELECT chunk_id FROM found))
)
SELECT (SELECT sum(weight * 2.2 * often / (often + 0.3 + 0.9 * size) ORDER BY lexeme)
        FROM (SELECT lexeme, cardinality(positions) AS often FROM unnest({words})) AS had JOIN term USING (lexeme)
       ) AS score, document_id, chunk_id, ordinal, text, metadata, 1 - (embedding <=> %s::{vector_type}), {stood}
FROM compared AS found_chunk ORDER BY score DESC, document_id, ordinal, chunk_id LIMIT %s
""")
"""Parameters: what is asked, twice model and those of the filter, how many to compare, vector, how many to give."""

EXACT = SQL("SET LOCAL enable_indexscan = off")

WITHIN = SQL("SET LOCAL statement_timeout = {}")

READABLE = SQL("SELECT coalesce(has_table_privilege(to_regclass({ledger_name}), 'SELECT'), false)")
OF_LEDGER = SQL("""
(SELECT to_jsonb(ledger) FROM {ledger} AS ledger WHERE ledger.document_id = found_chunk.document_id)
""")
WITHOUT_LEDGER = SQL("NULL::jsonb")
"""What a search says of each chunk's document, for who may read the ledger, and who may not: `stood`."""

MODELS = SQL("SELECT model, count(*) FROM {table} GROUP BY model ORDER BY 2 DESC, 1")


NEAREST = SQL("""
SELECT 1 - distance, document_id, chunk_id, ordinal, text, metadata, 1 - distance, {stood} FROM (
    SELECT *, embedding <=> %s::{vector_type} AS distance FROM {table} WHERE model = %s AND {filter}
    ORDER BY distance LIMIT %s
) AS found_chunk ORDER BY distance, document_id, ordinal, chunk_id LIMIT %s
""")
"""Parameters of NEAREST: vector, model, those of the filter, how many to look at, how many to give."""
