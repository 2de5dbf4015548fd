"""Conversations in a topic, the pipeline that counts them, and the rows that they come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from connectors.kafka.producer import Sender, ensure_topics
from core.formats.conversations import Event, Feedback, Latency, Turn, message
from core.formats.recordings import Record
from demo import world as worlds
from demo.stage import Done, sent_now
from demo.world import World
from stack.local import Stack
from workloads.conversations import MODELS, Truth, conversations

NAME = "demo-feedback"
WATERMARK = timedelta(seconds=1)
WINDOW = timedelta(seconds=5)
EVENTS = 600
SPAN = timedelta(hours=2)
_SEED = 7
_ROWS = sql.SQL(
    "SELECT window_start, tenant, model, turns, rated, good, comment_sentiment, xmin::text FROM {} ORDER BY 1, 2, 3"
)
_WINDOWS = sql.SQL("SELECT window_start, turns, xmin::text FROM {}")
_KPIS = """\
  kpis:
    satisfaction: {to: [postgres]}  # comes with Freshet: corrected as ratings come
    by_5_seconds:  # written once, when its time is over
      sql: |
        SELECT window_start, COUNT(*) AS turns
        FROM TABLE(TUMBLE(TABLE turns, DESCRIPTOR(asked_at), INTERVAL '5' SECOND))
        GROUP BY window_start, window_end
      key: [window_start]
      to: [postgres]
"""

Group = tuple[str, str]
"""A tenant and a model."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Of a group's answers: all, the rated ones, those of them that are liked."""

    turns: int
    rated: int
    good: int


@dataclass(frozen=True, slots=True)
class Row:
    """A row of `satisfaction`. `version` is another one whenever it is written (PostgreSQL's xmin)."""

    at: datetime
    group: Group
    counts: Counts
    comment_sentiment: float | None
    version: str


class Talk:
    """The topic of conversations, and the KPIs' tables."""

    def __init__(self, world: World) -> None:
        """The topic must be there."""
        self.world = world
        self.topic = topic(world)
        self._sender = Sender(world.bootstrap_servers)
        self._database: psycopg.Connection[Any] = psycopg.connect(world.dsn, autocommit=True)
        self._number = 0

    def begin(self) -> dict[Group, Counts]:
        """Send the conversations of the last two hours; what their groups come to, counted apart from the job."""
        truth: Truth = {}
        apart_ns = int(SPAN.total_seconds() * 1e9) // EVENTS
        times = iter(range(_ns(now() - SPAN), _ns(now() + SPAN), apart_ns))
        made = conversations(self.topic, EVENTS // 2, _SEED, lambda: next(times), truth)
        for records in islice(made, EVENTS):
            self._put(records)
        self._sender.flush()
        return counted(truth)

    def turn(self, at: datetime) -> Turn:
        """An answer that nobody has rated yet."""
        self._number += 1
        return Turn(
            f"demo-{self._number}", "demo", self._number, at.isoformat(), "acme", None, "Where is my order?",
            "On its way.", [*MODELS][-1], 40, 4, "stop", Latency(5.0, 90.0, 400.0), (), {},
        )  # fmt: skip

    def send(self, *events: Event) -> Done:
        """Write events to the topic."""
        sent = sent_now()
        self._put(Record(self.topic, *message(each)) for each in events)
        self._sender.flush()
        return Done(sent, "event", message(events[-1])[1].decode())

    def poison(self, value: bytes) -> Done:
        """Write bytes to the topic."""
        sent = sent_now()
        self._put([Record(self.topic, b"poison", value)])
        self._sender.flush()
        return Done(sent, "bytes", value.decode(errors="replace"))

    def rows(self) -> list[Row]:
        """Of `satisfaction`, the earliest first; none before the table is there."""
        query = _ROWS.format(self._table("satisfaction"))
        return [
            Row(at, (tenant, model), Counts(turns, rated, good), feels, version)
            for at, tenant, model, turns, rated, good, feels, version in self._found(query)
        ]

    def row(self, event: Turn) -> Row | None:
        """That of a turn's hour and group."""
        hour = datetime.fromisoformat(event.at).replace(minute=0, second=0, microsecond=0)
        return next((row for row in self.rows() if (row.at, row.group) == (hour, (event.tenant, event.model))), None)

    def windows(self) -> dict[datetime, tuple[int, str]]:
        """The windows of five seconds: when each began, its turns, and the version of its row."""
        found = self._found(_WINDOWS.format(self._table("by_5_seconds")))
        return {at: (turns, version) for at, turns, version in found}

    def _found(self, query: sql.Composed) -> list[tuple[Any, ...]]:
        try:
            return self._database.execute(query).fetchall()
        except psycopg.errors.UndefinedTable:
            return []

    def _table(self, kpi: str) -> sql.Identifier:
        return sql.Identifier(self.world.schema, f"{NAME}_{kpi}")

    def _put(self, records: Iterable[Record]) -> None:
        for record in records:
            self._sender.put(record)

    def close(self) -> None:
        """Give connections back."""
        self._database.close()


def rating(of: Turn, liked: bool, at: datetime, comment: str | None = None) -> Feedback:
    """A thumb for an answer, up or down."""
    return Feedback(of.id, of.conversation, at.isoformat(), of.tenant, 1 if liked else -1, "thumbs", comment)


def now() -> datetime:
    """The present, UTC."""
    return datetime.now(UTC)


def counted(truth: Truth) -> dict[Group, Counts]:
    """What answers come to, by group."""
    turns, rated, good = Counter[Group](), Counter[Group](), Counter[Group]()
    for each in truth.values():
        group = (each.tenant, each.model)
        turns[group] += 1
        if each.rating is not None:
            rated[group] += 1
            good[group] += each.rating == 1 if each.scale == "thumbs" else each.rating >= 4
    return {group: Counts(turns[group], rated[group], good[group]) for group in turns}


def summed(rows: Iterable[Row]) -> dict[Group, Counts]:
    """Rows of all hours, by group."""
    found: dict[Group, Counts] = {}
    for row in rows:
        before, counts = found.get(row.group, Counts(0, 0, 0)), row.counts
        found[row.group] = Counts(before.turns + counts.turns, before.rated + counts.rated, before.good + counts.good)
    return found


def make(stack: Stack, folder: Path) -> Talk:
    """Make a new demo's topics and pipeline file; what an earlier demo left is removed."""
    world = worlds.world(NAME, stack, folder / "feedback.yaml", "rating")
    ensure_topics(world.bootstrap_servers, dict.fromkeys((topic(world), world.dead_letters), 1))
    world.file.write_text(pipeline(world), encoding="utf-8")
    return Talk(world)


def topic(world: World) -> str:
    """That of the conversations."""
    return f"{world.prefix}.conversations"


def pipeline(world: World) -> str:
    """The demo's pipeline file."""
    return f"""\
name: {NAME}
source:
  kafka:
    topic: {topic(world)}
    properties.bootstrap.servers: {world.bootstrap_servers}
    scan.startup.mode: earliest-offset
format: conversations
feedback:
  sentiment: {{model: vader}}
  watermark: {WATERMARK.seconds} s
  late: 4 h  # the demo's first conversations are two hours old when it sends them
{_KPIS}store:
  postgres: {{dsn: "{world.dsn_of_schema}"}}
dead_letters:
  kafka: {{topic: {world.dead_letters}}}
flink:
  metrics.fetcher.update-interval: 500
"""


def _ns(at: datetime) -> int:
    return int(at.timestamp() * 1e9)
