"""`freshet backfill` of tables: each row, as an event like those of the connector's incremental snapshots.

Rows are sent at a position that was the topic's last one before any was read: whatever the source commits from then on
has a later one and wins, in whatever order it comes, and whatever it has committed before is seen by who reads. So one
mark at the beginning does, where a snapshot that sends without positions needs two for each range.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from confluent_kafka import Consumer

from connectors.kafka import source as kafka
from connectors.kafka.feed import Tail, group_of, tail_of, topic_of
from connectors.kafka.producer import Sender
from connectors.kafka.topics import reading
from connectors.postgres.ranges import Ranges, Relation, catch_up, relations
from connectors.postgres.rows import Reselect
from core.change import BEGINNING, Position
from core.config.pipeline import Pipeline, SourceDatabase
from core.config.references import alike
from core.documents.step import DocumentSpec, table_id
from core.errors import ConfigError
from core.formats.debezium.event import Pattern, Telling, fitted, made
from core.formats.debezium.source import BACKFILLS
from core.formats.recordings import Record
from core.letters import BACKFILL
from operations.backfill.progress import INTERRUPTED, Course, Gauge, Options, Pace, Stand, Unit, begun, notes_of
from operations.log_watch import refuse_in_another_log
from operations.reporting import Bar, Line, Say, Tone

_AT_ONCE = 1_000
_BYTES_AT_ONCE = 4 * 2**20
_IN_A_RANGE = 10_000
_RANGE_S = 10  # what a snapshot is held for at most where rows are sent slowly
_EARLIEST = Position(f"{0:016x}.{0:016x}")
_WIDTH = len(_EARLIEST)
_HEADERS = ((BACKFILL, b"1"),)


@dataclass(frozen=True, slots=True)
class Load:
    """A table to be sent: how its rows are read, how their events are written, and where these stand."""

    ranges: Ranges
    pattern: Pattern
    position: Position


def backfill(pipeline: Pipeline, places: Sequence[str], options: Options, say: Say, bar: Bar) -> int:
    """Send the pipeline all rows of the tables; of every one that it names where none is given.

    Begins after the last row that an unfinished backfill of the table sent. The exit code is 130 after Ctrl-C. Raises
    ConfigError where a table can't be read, or nothing tells where its events go, Unavailable where a server is away,
    OtherLog where its positions would mean nothing.
    """
    database = pipeline.database
    if not isinstance(database, SourceDatabase):
        example = "reselect: {postgres: {dsn: postgresql://…}}"
        raise ConfigError([f"reselect is missing: a backfill reads the source's tables; add {example}"])
    login = kafka.login(pipeline.kafka)
    topics = _topics(pipeline)
    refuse_in_another_log(pipeline, "a backfill would load nothing")
    source = Reselect.of(database, pipeline.events.debezium)
    with closing(source), reading(pipeline.kafka, group_of(pipeline)) as consumer:
        source.reach()
        tables = _tables(pipeline, places, relations(source), topics)
        sender = Sender(pipeline.kafka.bootstrap_servers, login)
        for table, topic in tables.items():
            notes = notes_of(pipeline, table)
            begin = begun(notes, options.restart, Unit.ROWS, say)
            if begin.done:
                continue
            load = _load(pipeline, source, consumer, table, topic, say)
            if begin.rows and begin.columns != load.ranges.key:
                raise ConfigError([_other_key(notes.path, table, begin, load.ranges.key)])
            about, pace = load.ranges.about(), Pace(options.rate)
            with bar() as step:
                gauge = Gauge(step, Unit.ROWS, begin.rows, max(about, begin.rows))
                course = Course(say, notes, f"topic {topic}", gauge)
                if not course.follow(_sent(load, sender, begin, pace), begin):
                    return INTERRUPTED
    for table in tables:
        notes_of(pipeline, table).write(None)
    return 0


def _topics(pipeline: Pipeline) -> list[str]:
    source = pipeline.kafka
    if topics := kafka.check(source):
        return topics
    setting = "topic" if source.topic is not None else "topic-pattern"
    named = source.topic or source.topic_pattern
    raise ConfigError([f"source.kafka.{setting} is {named!r}, which isn't there: make it, or correct the name"])


def _tables(
    pipeline: Pipeline, places: Sequence[str], there: Sequence[Relation], topics: Sequence[str]
) -> dict[str, str]:
    """The tables to tell, with their topics. Raises ConfigError where the pipeline or the database has none of a name.

    Of a partitioned table it is itself where a topic has its events, else its partitions.
    """
    if not places:
        return {name: topic for table in pipeline.job.used for name, topic in _parts(pipeline, table, there, topics)}
    found: dict[str, str] = {}
    for place in places:
        if pipeline.events.tables.of(place) not in pipeline.job.used:
            near = alike(place, pipeline.job.used)
            raise ConfigError([f"{place}: the pipeline file names no such table, and the job would leave it out{near}"])
        if place in pipeline.job.used:
            found |= dict(_parts(pipeline, place, there, topics))
        else:
            found[place] = topic_of(place, topics)
    return found


def _parts(
    pipeline: Pipeline, table: str, there: Sequence[Relation], topics: Sequence[str]
) -> Iterator[tuple[str, str]]:
    patterns = pipeline.events.patterns.get(table, ())
    if not patterns:
        yield table, topic_of(table, topics)
        return
    known = {each.name: each for each in there}
    has_topic = len(topics) == 1 or any(each.endswith(f".{table}") for each in topics)
    if table in known and has_topic:
        yield table, topic_of(table, topics)
    parts = [
        each.name
        for each in there
        if not each.partitioned and each.name != table and not (has_topic and each.root == table)
        if any(re.fullmatch(pattern, each.name) for pattern in patterns)
    ]
    yield from ((part, topic_of(part, topics)) for part in parts)
    if not parts and not (table in known and has_topic):
        raise ConfigError([f"{table}: the database has no such table, nor one that fits {', '.join(patterns)}"])


def _load(pipeline: Pipeline, source: Reselect, consumer: Consumer, table: str, topic: str, say: Say) -> Load:
    """How to tell a table, with its mark taken: whoever reads from now on sees all that is before it."""
    of, spec = source.table(table), _spec(pipeline, table)
    key = of.key or spec.key
    if not key or not of.types.keys() >= {*key}:
        raise ConfigError(
            [
                f"{table} has no primary key, and {pipeline.job.setting}.{pipeline.events.tables.of(table)}.key names "
                f"{', '.join(key) or 'nothing'}: name columns of the table that tell its rows apart"
            ]
        )
    used = source.columns(spec)
    tail = tail_of(pipeline, consumer, topic, table)
    if tail.position != BEGINNING and len(tail.position) != _WIDTH:
        raise ConfigError([f"topic {topic} has events of another connector than PostgreSQL's: have it snapshot anew"])
    catch_up(source, tail.transactions)
    position = tail.position or _known(pipeline, table) or _EARLIEST
    settings = source.settings
    if tail.pattern is None:
        pattern = made(topic, table, {name: of.types[name] for name in used}, key, settings)
    else:
        pattern = fitted(tail.pattern, of.types, key, used, settings)
    _say_what_is_unknown(tail, pattern, position, topic, table, say)
    columns = tuple(name for name in of.types if name in {*pattern.columns, *pattern.key, *key})
    return Load(Ranges(source, table, key, columns, tail.transactions), pattern, position)


def _spec(pipeline: Pipeline, table: str) -> DocumentSpec:
    named = pipeline.events.tables.of(table)
    return replace(pipeline.job.read_as(named), table=table)


def _known(pipeline: Pipeline, table: str) -> Position:
    """The latest position that a store has of the table; BEGINNING where none has any.

    No change that is still to come is earlier. Of several tables that are one's documents it isn't known whose it is,
    and another connector's may be later than what comes.
    """
    if table not in pipeline.documents or pipeline.events.patterns.get(table):
        return BEGINNING
    # imported late: it is seldom asked, and what runs jobs takes seconds to import
    from operations.servers import stores

    opened = stores(pipeline)
    try:
        return max((store.latest(table_id(table)) for store in opened.values() if store.look()), default=BEGINNING)
    finally:
        for store in opened.values():
            store.close()


def _say_what_is_unknown(tail: Tail, pattern: Pattern, position: Position, topic: str, table: str, say: Say) -> None:
    notes = []
    if tail.pattern is None:
        names = ", ".join(sorted(pattern.columns))
        notes.append(f"topic {topic} ends without an event of {table}: its rows are sent with {names}")
    if position == _EARLIEST:
        notes.append(
            f"nothing tells a position of {table}: its rows are sent as before all of its changes, and a job that "
            "knows later ones leaves them as they are"
        )
    for note in notes:
        say(Line(note, tone=Tone.WARNING))


def _other_key(path: object, table: str, begin: Stand, key: tuple[str, ...]) -> str:
    return (
        f"{path} says how far {table} was sent in the order of {', '.join(begin.columns)}, and its key is "
        f"{', '.join(key)}: begin anew with --restart"
    )


def _sent(load: Load, sender: Sender, stand: Stand, pace: Pace) -> Iterator[Stand]:
    """The stand after each thousand rows, or four MiB of events, which the topic then has."""
    ranges, rows = load.ranges, stand.rows
    begin = sent = size = 0
    key = stand.key
    telling = Telling(load.pattern, load.position, BACKFILLS, time.time_ns())
    at_once = pace.at_most(_AT_ONCE)
    for raw, key in ranges.rows(stand.key, lambda: pace.at_most(_IN_A_RANGE // _RANGE_S) * _RANGE_S):
        of_key, value = telling.row(raw)
        sender.put(Record(load.pattern.topic, of_key, value, _HEADERS))
        sent, size = sent + 1, size + len(value)
        if sent - begin >= at_once or size >= _BYTES_AT_ONCE:
            sender.flush()
            yield Stand(columns=ranges.key, key=key, rows=rows + sent)
            pace.keep(sent - begin)
            begin, size, telling = sent, 0, replace(telling, now_ns=time.time_ns())
    if sent > begin:
        sender.flush()
        yield Stand(columns=ranges.key, key=key, rows=rows + sent)
