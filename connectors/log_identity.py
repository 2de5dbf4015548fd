"""What the log that a pipeline reads is, as its servers tell: asked before a job starts, its topics as it runs too."""

from __future__ import annotations

import time
from collections.abc import Iterator, Set
from dataclasses import dataclass, field, replace

from confluent_kafka import Consumer

from connectors.kafka import source as kafka
from connectors.kafka.topics import ends, messages, reading
from connectors.opening.sources import SOURCES
from core.config.log_identity import LogIdentity
from core.config.pipeline import Pipeline, SourceDatabase
from core.config.source import Kafka
from core.errors import ConfigError, FreshetError
from core.formats.debezium.source import server, source_block, source_name, table_of

_LOOKING_S = 10.0
_AT_EACH_END = 5
# The timeline is in the name of the file that is written now; a standby, which writes none, knows its checkpoint's.
_OF_POSTGRES = """
    SELECT system_identifier::text, CASE WHEN pg_is_in_recovery()
        THEN (SELECT timeline_id::text FROM pg_control_checkpoint())
        ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int::text END
    FROM pg_control_system()"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What could be learned.

    first    table to the databases that the first events of the topics are of
    unknown  what could not be asked, and why, a line each
    """

    identity: LogIdentity
    first: dict[str, set[str]] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def ask(pipeline: Pipeline) -> Asked:
    """Ask every server that can tell. Raises Unavailable where the source's Kafka doesn't answer."""
    order, source = pipeline.format.order(pipeline.source), pipeline.source.chosen
    try:
        asked = Asked(SOURCES[pipeline.source.name].identity(source, order))
    except ConfigError as error:
        asked = Asked(LogIdentity(order), unknown=(f"{error}: whether it is the same stream",))
    if isinstance(source, Kafka) and pipeline.events.of_debezium:
        asked = _with_events(asked, source, pipeline.job.of_one_source)
    if isinstance(pipeline.database, SourceDatabase):
        asked = _with_postgres(asked, pipeline.database.dsn)
    return asked


def _with_events(asked: Asked, source: Kafka, tables: Set[str]) -> Asked:
    """What the first and the last events of each topic tell of the database that they are of."""
    if kafka.client_options(source) is None:
        return asked
    first: dict[str, set[str]] = {}
    last: dict[str, set[str]] = {}
    servers: set[str] = set()
    unknown = asked.unknown
    deadline = time.monotonic() + _LOOKING_S
    with reading(source) as consumer:
        for topic in kafka.check(source):
            if time.monotonic() > deadline:
                unknown = (*unknown, f"topic {topic} and those behind it took too long to look at: whose they are")
                break
            for block in _blocks(consumer, source, topic, at_end=False):
                first.setdefault(table_of(block), set()).add(source_name(block))
            for block in _blocks(consumer, source, topic, at_end=True):
                last.setdefault(table_of(block), set()).add(source_name(block))
                servers.add(server(block))
    # of a table that several databases tell of now, the first of them stays its own
    named = {table: next(iter(rest)) for table in tables if len(rest := last.get(table, set()) - {""}) == 1}
    of_servers = " ".join(sorted(servers - {""}))
    databases = {**asked.identity.databases, **({"MySQL's server UUID": of_servers} if of_servers else {})}
    databases_at_first = {table: rest for table in tables if (rest := first.get(table, set()) - {""})}
    return Asked(replace(asked.identity, sources=named, databases=databases), databases_at_first, unknown)


def _blocks(consumer: Consumer, source: Kafka, topic: str, at_end: bool) -> Iterator[dict[str, object]]:
    """The source blocks of the first partition's first or last events that have any."""
    for partition, (first, end) in ends(consumer, source, topic).items():
        at = (max(first, end - _AT_EACH_END), end) if at_end else (first, min(end, first + _AT_EACH_END))
        found = [source_block(message.value) for message in messages(consumer, source, topic, {partition: at})]
        blocks = [dict(block) for block in found if block]
        if blocks:
            yield from blocks
            return


def _with_postgres(asked: Asked, dsn: str) -> Asked:
    # imported late: a source that is no PostgreSQL needs no client of it
    from connectors.postgres.rows import Reselect

    database = Reselect(dsn)
    try:
        database.reach()
        ((system, timeline),) = database.execute(_OF_POSTGRES)
    except FreshetError as error:
        return replace(asked, unknown=(*asked.unknown, f"{error}: whether it is the same database"))
    finally:
        database.close()
    known = {"PostgreSQL's system identifier": str(system), "PostgreSQL's timeline": str(timeline)}
    return replace(asked, identity=replace(asked.identity, databases={**asked.identity.databases, **known}))
