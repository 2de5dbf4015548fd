"""What the log that a pipeline reads is, as its servers tell: asked before a job starts, its topics as it runs too."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field, replace

from connectors.opening.sources import SOURCES
from core.config.log_identity import LogIdentity
from core.config.pipeline import Pipeline, SourceDatabase
from core.config.source import Kafka
from core.errors import ConfigError, FreshetError

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


def ask(pipeline: Pipeline, of_topics: Callable[[Kafka, str], LogIdentity] | None = None) -> Asked:
    """Ask every server that can tell. Raises Unavailable where the source's Kafka doesn't answer.

    of_topics  asks Kafka in place of our own client, where that isn't installed: then no events are looked at
    """
    order, source = pipeline.format.order(pipeline.source), pipeline.source.chosen
    try:
        if of_topics and isinstance(source, Kafka):
            asked = Asked(of_topics(source, order))
        else:
            asked = Asked(SOURCES[pipeline.source.name].identity(source, order))
    except ConfigError as error:
        asked = Asked(LogIdentity(order), unknown=(f"{error}: whether it is the same stream",))
    if isinstance(source, Kafka) and of_topics is None and pipeline.events.of_debezium:
        asked = _with_events(asked, source, pipeline.job.of_one_source)
    if isinstance(pipeline.database, SourceDatabase):
        asked = _with_postgres(asked, pipeline.database)
    return asked


def _with_events(asked: Asked, source: Kafka, tables: Set[str]) -> Asked:
    """What the first and the last events of each topic tell of the database that they are of."""
    # imported late: the managed service has no client of Kafka but Java's
    from connectors.kafka.databases import databases

    found = databases(source)
    # of a table that several databases tell of now, the first of them stays its own
    named = {table: next(iter(rest)) for table in tables if len(rest := found.last.get(table, set()) - {""}) == 1}
    of_servers = {"MySQL's server UUID": " ".join(sorted(found.servers))} if found.servers else {}
    first = {table: rest for table in tables if (rest := found.first.get(table, set()) - {""})}
    identity = replace(asked.identity, sources=named, databases={**asked.identity.databases, **of_servers})
    return Asked(identity, first, (*asked.unknown, *found.unknown))


def _with_postgres(asked: Asked, source: SourceDatabase) -> Asked:
    # imported late: a source that is no PostgreSQL needs no client of it
    from connectors.postgres.rows import Reselect

    database = Reselect.of(source)
    try:
        database.reach()
        ((system, timeline),) = database.execute(_OF_POSTGRES)
    except FreshetError as error:
        return replace(asked, unknown=(*asked.unknown, f"{error}: whether it is the same database"))
    finally:
        database.close()
    known = {"PostgreSQL's system identifier": str(system), "PostgreSQL's timeline": str(timeline)}
    return replace(asked, identity=replace(asked.identity, databases={**asked.identity.databases, **known}))
