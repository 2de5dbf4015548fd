"""What the log that a pipeline reads is, as its servers tell: asked before a job starts, its topics as it runs too."""

from __future__ import annotations

import time
from collections.abc import Iterator, Set
from dataclasses import dataclass, field, replace

from confluent_kafka import Consumer, KafkaException, TopicCollection

from connectors.kafka import clients as kafka_clients
from connectors.kafka import source as kafka
from connectors.kafka.topics import ends, messages, reading
from core.config.log_identity import LogIdentity, order_of
from core.config.pipeline import Pipeline
from core.config.source import Kafka
from core.errors import ConfigError, FreshetError
from core.formats.debezium.source import server, source_block, source_name, table_of

_ANSWER_S = 10.0
_LOOKING_S = 10.0
_AT_EACH_END = 5
_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"
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
    try:
        asked = Asked(_identity(pipeline))
    except ConfigError as error:
        asked = Asked(LogIdentity(order_of(pipeline)), unknown=(f"{error}: whether it is the same stream",))
    if pipeline.source.kafka is not None and pipeline.format.debezium is not None:
        asked = _with_events(asked, pipeline.source.kafka, pipeline.of_one_source)
    if pipeline.reselect is not None and pipeline.reselect.postgres is not None:
        asked = _with_postgres(asked, pipeline.reselect.postgres.dsn)
    return asked


def _identity(pipeline: Pipeline) -> LogIdentity:
    order, source = order_of(pipeline), pipeline.source.kafka
    return LogIdentity(order, _logs(pipeline)) if source is None else of_topics(order, source)


def _logs(pipeline: Pipeline) -> dict[str, str]:
    if (kinesis := pipeline.source.kinesis) is not None:
        from connectors.aws.client import Aws  # both need the extra `aws`
        from connectors.kinesis.streams import KinesisStream

        stream = KinesisStream(kinesis.arn or kinesis.name, Aws(kinesis.region, kinesis.endpoint))
        return {f"stream {stream.name}": stream.made()}
    if (streams := pipeline.source.dynamodb) is not None:
        from connectors.aws.client import Aws
        from connectors.dynamodb.streams import TableStream

        return {f"the stream of {streams.table}": TableStream(streams.table, Aws(streams.region, streams.endpoint)).arn}
    return {}


def of_topics(order: str, source: Kafka) -> LogIdentity:
    """What `order` orders the changes of: each topic's id, "" for one that is named and isn't there, and partitions.

    Nothing for a login that only Java clients know; no ids of brokers before 2.8. Raises Unavailable.
    """
    client = kafka.client_options(source)
    if client is None:
        return LogIdentity(order)
    there = kafka.check(source)
    named = [] if source.topic is None else source.topic.split(";")
    gone = {f"topic {name}": "" for name in named if name not in there}
    if not there:
        return LogIdentity(order, gone)
    try:
        admin = kafka_clients.admin({**client, "socket.timeout.ms": 5000, **kafka.SILENT})
        asked = admin.describe_topics(TopicCollection(there), request_timeout=_ANSWER_S)
        topics = {f"topic {name}": described.result(_ANSWER_S) for name, described in asked.items()}
    except KafkaException as error:
        raise kafka.unavailable(source, error.args[0].str()) from None
    except TimeoutError:
        raise kafka.unavailable(source, f"no answer within {_ANSWER_S:.0f} s") from None
    ids = {name: str(topic.topic_id) for name, topic in topics.items()}
    known = {name: each for name, each in ids.items() if each != _NO_ID}
    return LogIdentity(order, gone | known, partitions={name: len(topic.partitions) for name, topic in topics.items()})


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
