"""A change history of an articles table, as Debezium's Postgres connector would tell it, and its final truth."""

from __future__ import annotations

import csv
import random
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import msgspec

from core.errors import ConfigError
from core.formats.recordings import Record

COLUMNS = ("id", "title", "body", "lang", "updated_at")
"""Of `articles (id bigint primary key, title text not null, body text, lang text not null, updated_at timestamptz)`."""

INSERT_SHARE, EDIT_SHARE = 0.3, 0.6
"""Of all changes; the rest are deletes. An empty table has inserts alone."""

CONCURRENT_SHARE = 0.2
"""Of all changes: those of transactions that wrote early and committed late, so that `source.lsn` goes back."""

_BLOCK = 8  # an lsn is a multiple of it
_VERSION = "3.7.0.Final"
_EPOCH = "1970-01-01T00:00:00.000000Z"


@dataclass(frozen=True, slots=True)
class Article:
    """A row. `updated_at` is UTC in ISO 8601, as Debezium writes a timestamptz."""

    id: int
    title: str
    paragraphs: tuple[str, ...]
    lang: str
    updated_at: str

    @property
    def body(self) -> str:
        """The paragraphs with a blank line between."""
        return "\n\n".join(self.paragraphs)

    def row(self) -> dict[str, Any]:
        """Column to value, in the order of COLUMNS."""
        return {name: getattr(self, name) for name in COLUMNS}


@dataclass(frozen=True, slots=True)
class Step:
    """One change: the row `id` stands as `article` after it (None: deleted).

    records      Debezium's messages that tell of it; other feeds': `workloads.feeds`
    is_new       an insert
    transaction  the database's number of it; rises
    time_ns      when it was, since 1970; rises by a microsecond at least
    """

    id: int
    article: Article | None
    records: tuple[Record, ...]
    is_new: bool
    transaction: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class Source:
    """Where the changes seem to come from: a topic `prefix.schema.table` of a connector run."""

    topic: str
    prefix: str
    schema: str
    table: str
    run_id: str


@dataclass(slots=True)
class _Log:
    """The write-ahead log, which gives each change its place. Positions count bytes."""

    committed: int = 0x1B00000
    transaction: int = 750
    written: dict[int, int] = field(default_factory=dict)

    def append(self, key: int, chance: random.Random) -> tuple[int, int]:
        """The last commit before a change of this row, and the change's own lsn, which rises for one row alone."""
        self.transaction += 1
        self.committed += chance.randrange(8 * _BLOCK, 2048 * _BLOCK, _BLOCK)
        back = chance.randrange(0, 4096 * _BLOCK, _BLOCK) if chance.random() < CONCURRENT_SHARE else 0
        lsn = max(self.committed - back, self.written.get(key, 0) + _BLOCK)
        self.written[key] = lsn
        return self.committed, lsn


def source_of(topic: str, seed: int) -> Source:
    """The source that a topic's name tells.

    Raises ConfigError where the name is not `prefix.schema.table`.
    """
    parts = topic.split(".")
    if len(parts) != 3 or not all(parts):
        raise ConfigError([f"--topic {topic!r}: Debezium names topics prefix.schema.table, as in shop.public.articles"])
    prefix, schema, table = parts
    run_id = uuid.UUID(int=random.Random(seed).getrandbits(128), version=4)
    return Source(topic, prefix, schema, table, str(run_id))


def history(
    articles: Sequence[tuple[str, tuple[str, ...]]], topic: str, seed: int, clock: Callable[[], int]
) -> Iterator[Step]:
    """Inserts, edits and deletes without end, each made when it is asked for.

    `articles` are (title, paragraphs) to insert, in order and round again; an edit puts another of their paragraphs in
    the place of one. `clock` gives nanoseconds since 1970. The same seed and articles give the same changes, but for
    their times. A delete is followed by a tombstone. `source.sequence` never goes back; `source.lsn` goes back across
    rows but never for one row, as seen in Debezium's real output.
    Raises ConfigError where the topic's name is not `prefix.schema.table`.
    """
    source = source_of(topic, seed)
    chance = random.Random(seed)
    pool = list(dict.fromkeys(paragraph for _, paragraphs in articles for paragraph in paragraphs))
    rows: dict[int, Article] = {}
    living: list[int] = []
    log = _Log()
    inserted = now = 0
    while True:
        draw = chance.random()
        if not living or draw < INSERT_SHARE:
            title, paragraphs = articles[inserted % len(articles)]
            inserted += 1
            before, after = None, Article(inserted, title, paragraphs, "en", "")
            living.append(inserted)
        elif draw < INSERT_SHARE + EDIT_SHARE:
            before = rows[living[chance.randrange(len(living))]]
            after = _edited(before, pool, chance)
        else:
            before, after = rows.pop(_taken(living, chance)), None
        key = inserted if before is None else before.id
        place = log.append(key, chance)
        now = max(clock(), now + 1_000)  # the finest that feeds tell times in is a microsecond
        if after is not None:
            after = rows[key] = replace(after, updated_at=iso(now))
        records = _records(source, key, before, after, place, log.transaction, now)
        yield Step(key, after, records, before is None, log.transaction, now)


def _taken(living: list[int], chance: random.Random) -> int:
    index = chance.randrange(len(living))
    living[index], living[-1] = living[-1], living[index]
    return living.pop()


def _edited(article: Article, pool: Sequence[str], chance: random.Random) -> Article:
    index = chance.randrange(len(article.paragraphs))
    drawn = chance.randrange(len(pool))
    other = pool[drawn] if pool[drawn] != article.paragraphs[index] else pool[drawn - 1]
    return replace(article, paragraphs=(*article.paragraphs[:index], other, *article.paragraphs[index + 1 :]))


def iso(nanoseconds: int) -> str:
    """A time since 1970 in ISO 8601 and UTC, to the microsecond."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"


def _records(
    source: Source,
    key: int,
    before: Article | None,
    after: Article | None,
    place: tuple[int, int],
    transaction: int,
    now: int,
) -> tuple[Record, ...]:
    event = {
        # with the default replica identity an update tells nothing of the old row, and a delete its key alone
        "before": _old_key(key) if after is None else None,
        "after": None if after is None else after.row(),
        "source": _origin(source, place, transaction, now),
        "transaction": None,
        "op": "d" if after is None else "c" if before is None else "u",
        **_times(now),
    }
    raw_key = msgspec.json.encode({"id": key})
    headers = _headers(source)
    record = Record(source.topic, raw_key, msgspec.json.encode(event), headers)
    return (record,) if after is not None else (record, Record(source.topic, raw_key, None, headers))


def _old_key(key: int) -> dict[str, Any]:
    return {"id": key, "title": "", "body": None, "lang": "", "updated_at": _EPOCH}


def _origin(source: Source, place: tuple[int, int], transaction: int, now: int) -> dict[str, Any]:
    times = _times(now)
    committed, lsn = place
    return {
        "version": _VERSION,
        "connector": "postgresql",
        "name": source.prefix,
        "ts_ms": times["ts_ms"],
        "snapshot": "false",
        "db": source.prefix,
        "sequence": f'["{committed}","{lsn}"]',
        "ts_us": times["ts_us"],
        "ts_ns": times["ts_us"] * 1000,  # Postgres keeps microseconds
        "schema": source.schema,
        "table": source.table,
        "txId": transaction,
        "lsn": lsn,
        "xmin": None,
        "origin": None,
        "origin_lsn": None,
    }


def _times(now: int) -> dict[str, int]:
    return {"ts_ms": now // 1_000_000, "ts_us": now // 1000, "ts_ns": now}


def _headers(source: Source) -> tuple[tuple[str, bytes], ...]:
    return (
        ("__debezium.context.connectorLogicalName", source.prefix.encode()),
        ("__debezium.context.taskId", b"0"),
        ("__debezium.context.connectorName", b"postgresql"),
        ("__debezium.context.runId", source.run_id.encode()),
    )


def truth_csv(rows: Mapping[int, Article]) -> str:
    """The rows as CSV: a header of COLUMNS, then a line a row, sorted by id."""
    text = StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(tuple(rows[key].row().values()) for key in sorted(rows))
    return text.getvalue()


def followed(steps: Iterable[Step], rows: dict[int, Article]) -> Iterator[Step]:
    """The steps; `rows` is brought to where they leave the table as they go by."""
    for step in steps:
        if step.article is None:
            rows.pop(step.id, None)
        else:
            rows[step.id] = step.article
        yield step
