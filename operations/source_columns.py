"""`freshet check` and `run`: does the source have the tables and columns that the pipeline file names?

Its database is asked where `reselect` names it, else the last events of its topics are looked at.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from connectors.kafka import source as kafka
from connectors.kafka.feed import group_of, tail
from connectors.kafka.topics import Message, reading
from core.change import Change, Event, Operation
from core.config.first_pipeline import Column
from core.config.format import Dynamodb
from core.config.pipeline import Pipeline, SourceDatabase
from core.config.references import alike, nearest, never_carried, references, unmet
from core.decoding import decoder
from core.errors import ConfigError, DecodeError, Unavailable
from core.formats.debezium.source import source_block, table_of
from core.formats.wrapping import bare

if TYPE_CHECKING:
    # imported late elsewhere: a source that is no PostgreSQL needs no client of it
    from connectors.postgres.catalog import Catalog

SETTING = "reselect.postgres.dsn"


def by_database(pipeline: Pipeline, source: SourceDatabase) -> str:
    """What was compared with the database. Raises ConfigError where tables or columns aren't there, Unavailable."""
    with _catalog(source) as database:
        if not pipeline.events.of_debezium:
            # other feeds' rows may have what the table hasn't: their events are compared
            return f"{_place(database)} answers"
        found = _compared_with(pipeline, database)
        if lines := [*found.lacking, *found.keyless, *found.lost, *found.wrong]:
            raise ConfigError(lines)
        return f"{_place(database)} has {_listed(references(pipeline))}, with all that the file names of them"


def refuse_lacking(pipeline: Pipeline) -> None:
    """Raises ConfigError where tables or columns aren't in the database that `reselect` names, as `by_database` does.

    Where it names none, columns that no row of Debezium's last events has: each row has all columns of its table.
    Nothing is said where the database doesn't answer: whoever needs it will. Raises Unavailable where Kafka doesn't.
    """
    if lines := _compared(pipeline).lacking:
        raise ConfigError([f"reselect.postgres: {line}" for line in lines])
    by_database = isinstance(pipeline.database, SourceDatabase)
    if pipeline.source.kafka is None or not pipeline.events.of_debezium or by_database:
        return
    if lines := _lacking_columns(pipeline, _last_seen(pipeline)):
        raise ConfigError([f"source.kafka: {line}" for line in lines])


def lost_columns(pipeline: Pipeline) -> list[str]:
    """A line for each place that names a column whose values no change carries; [] where no database can be asked.

    Raises ConfigError where the changes of a table that the file names come as another row's, or not at all.
    """
    found = _compared(pipeline)
    if found.wrong:
        raise ConfigError(found.wrong)
    return found.lost


@dataclass(slots=True)
class _Compared:
    """What the database says of the file's tables, in lines.

    lacking  tables and columns that aren't there
    keyless  tables whose key neither it nor the file tells
    lost     places that name a column whose values no change carries
    wrong    replica identities by which changes come as another row's, or not at all
    """

    lacking: list[str] = field(default_factory=list)
    keyless: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def _compared(pipeline: Pipeline) -> _Compared:
    """Nothing where there is no database to ask, or it doesn't answer."""
    source = pipeline.database
    if pipeline.events.of_debezium and isinstance(source, SourceDatabase):
        with suppress(Unavailable), _catalog(source) as database:
            return _compared_with(pipeline, database)
    return _Compared()


def _catalog(source: SourceDatabase) -> AbstractContextManager[Catalog]:
    from connectors.postgres.catalog import catalog
    from connectors.postgres.login import login_of

    return catalog(source.dsn, SETTING, login_of(source))


def _compared_with(pipeline: Pipeline, database: Catalog) -> _Compared:
    found = _Compared()
    for table, places in references(pipeline).items():
        there, has_key = _columns(pipeline, database, table)
        if not there:
            near = alike(table, database.tables())
            found.lacking.append(f"{_place(database)} has no table {table} that this user sees{near}")
            continue
        found.lacking += unmet(places, [each.name for each in there], table)
        found.lost += never_carried(places, {each.name: each.lost for each in there}, table)
        found.wrong += _misidentified(pipeline, database, table)
        if not has_key and table not in pipeline.events.keys:
            found.keyless.append(database.table(table).keyless)
    return found


def _place(database: Catalog) -> str:
    return f"database {database.database} at {database.server}"


def _misidentified(pipeline: Pipeline, database: Catalog, table: str) -> list[str]:
    """What is wrong with the replica identities of a table, its partitions and its other tables: the first, in full."""
    faults = [each.fault for each in database.identities([table, *_others(pipeline, database, table)]) if each.fault]
    more = f". So have {len(faults) - 1} more of its partitions" if len(faults) > 1 else ""
    return [f"{faults[0]}{more}"] if faults else []


def _others(pipeline: Pipeline, database: Catalog, table: str) -> list[str]:
    patterns = pipeline.events.patterns.get(table, ())
    if not patterns:
        return []
    return [name for name in database.tables(partitions=True) if any(re.fullmatch(each, name) for each in patterns)]


def _columns(pipeline: Pipeline, database: Catalog, table: str) -> tuple[list[Column], bool]:
    there, has_key = database.columns(table)
    part = "" if there else next(iter(_others(pipeline, database, table)), "")
    return database.columns(part) if part else (there, has_key)


@dataclass(slots=True)
class Seen:
    """What events tell of one table: how many did, and the columns that any of them had."""

    events: int = 0
    columns: dict[str, None] = field(default_factory=dict)


def by_events(pipeline: Pipeline) -> str:
    """What was compared with the last events; "" where there are none to compare with.

    Raises ConfigError where they are of other tables, or have other columns. Unavailable.
    """
    if pipeline.format.objects is not None:
        return ""
    if isinstance(pipeline.format.chosen, Dynamodb):
        return ""  # items of one table have what attributes they like
    found = _last_seen(pipeline)
    if lines := differences(pipeline, found):
        raise ConfigError(lines)
    used = {table: each for table, each in found.items() if table in pipeline.job.used}
    return f"the last events are of {_listed(used)}, with all that the file names of them" if used else ""


def _last_seen(pipeline: Pipeline) -> dict[str, Seen]:
    """What the last events of the topics tell; nothing where only Java clients can log in. Raises Unavailable."""
    source = pipeline.kafka
    if kafka.client_options(source) is None:
        return {}
    messages: list[Message] = []
    with reading(source, group_of(pipeline)) as consumer:
        for topic in kafka.check(source):
            messages += tail(consumer, source, topic)
    return seen(pipeline, messages)


def differences(pipeline: Pipeline, found: Mapping[str, Seen]) -> list[str]:
    """A line for each table without events where others have some, and for each column that no event has."""
    others = [table for table in found if table not in pipeline.job.used]
    unseen = [table for table in references(pipeline) if table not in found]
    none_used = not any(each in found for each in pipeline.job.used)
    missed = [table for table in unseen if others and (nearest(table, others) or none_used)]
    return [
        *_lacking_columns(pipeline, found),
        *(f"no event of the topic's last is of {table}{alike(table, others)}" for table in missed),
    ]


def _lacking_columns(pipeline: Pipeline, found: Mapping[str, Seen]) -> list[str]:
    lines: list[str] = []
    for table, places in references(pipeline).items():
        if table in found and found[table].columns:
            lines += unmet(places, found[table].columns, f"{table}, in its last {found[table].events} events,")
    return lines


def seen(pipeline: Pipeline, messages: Iterable[Message]) -> dict[str, Seen]:
    """What messages tell of each table, by the name that the file has for it."""
    found: dict[str, Seen] = {}
    rows = _of_debezium if pipeline.events.of_debezium else _of_others
    counted: Counter[str] = Counter()
    for table, columns in rows(pipeline, messages):
        counted[table] += 1
        found.setdefault(table, Seen()).columns.update(dict.fromkeys(columns))
    for table, each in found.items():
        each.events = counted[table]
    return found


Rows = Iterable[tuple[str, Iterable[str]]]


def _of_debezium(pipeline: Pipeline, messages: Iterable[Message]) -> Rows:
    # not decoded: a value that can't be read has a column all the same
    tables = pipeline.events.tables
    for message in messages:
        table = table_of(source_block(message.value))
        if not table:
            continue
        envelope: Any = bare(message.value)
        row = envelope.get("after") if isinstance(envelope, dict) else None
        yield tables.of(table), _names(row) | _names(_key(message.key) if row else None)


def _key(raw: bytes | None) -> Any:
    try:
        return bare(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _names(row: Any) -> dict[str, None]:
    return dict.fromkeys(row) if isinstance(row, dict) else {}


def _of_others(pipeline: Pipeline, messages: Iterable[Message]) -> Rows:
    decode = decoder(pipeline.events)
    for message in messages:
        event = Event(
            message.topic, message.partition, message.offset, message.key, message.value, dict(message.headers)
        )
        try:
            changes = decode(event)
        except DecodeError:
            continue
        for change in changes:
            if isinstance(change, Change):
                whole = change.operation is Operation.UPSERT and not change.partial
                yield change.table, (*change.row, *change.key) if whole else ()


def _listed(tables: Iterable[str]) -> str:
    return ", ".join(tables)
