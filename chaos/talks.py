"""The feed of feedback: conversations in a topic, out of order and told twice, and the rows that they come to."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any

import psycopg
from msgspec.structs import replace
from psycopg import sql

from chaos.feed import WRITING_S, Place, Waiting, Work, committed
from chaos.kafka import PARTITIONS, Sender
from chaos.outbox import Outbox
from chaos.strikes import Fault, Strike
from chaos.writers import together
from connectors.kafka.producer import ensure_topics
from core.config.pipeline import Pipeline
from core.config.sentiment import Sentiment
from core.formats.conversations import Event, Feedback, Latency, Turn, message
from core.plans import Plan
from core.stores.verification import Difference, Kind
from udfs.sentiment.judge import judge
from workloads.articles import iso
from workloads.questions import QUESTIONS

FAULTS = {
    Fault.WORKER: 16,
    Fault.WORKER_IDLE: 5,
    Fault.JVM: 6,
    Fault.JOB: 8,
    Fault.JOB_WITHOUT_STATE: 8,
    Fault.RESTART: 6,
    Fault.KAFKA: 9,
    Fault.KAFKA_FROZEN: 6,
    Fault.POSTGRES: 12,
    Fault.POSTGRES_FROZEN: 6,
}
WATERMARK = timedelta(seconds=20)
"""Longer than Kafka is away: after ten seconds its partitions count as idle, and are waited for no more."""

WINDOW = timedelta(seconds=2)

_WRITERS = 3
_LATE_S, _REPEATS = 0.7, 0.2
_TENANTS, _MODELS = ("acme", "beta"), ("small-1", "small-2")
_COMMENTS = ("Great, thank you!", "Awful, wrong again.", "Too long.", None, None)
_MARKER = "marker"
_CLOSED = """
SELECT window_start, tenant, COUNT(*) AS turns
FROM TABLE(TUMBLE(TABLE turns, DESCRIPTOR(asked_at), INTERVAL '2' SECOND))
GROUP BY window_start, window_end, tenant
"""
_KPIS: dict[str, Any] = {
    "satisfaction": {"to": ["postgres"]},
    "closed": {"sql": _CLOSED, "key": ["window_start", "tenant"], "to": ["postgres"]},
}
_SELECT = {
    "satisfaction": "SELECT window_start, tenant, model, turns, rated, good, comment_sentiment FROM {}",
    "closed": "SELECT window_start, tenant, turns FROM {}",
}
_KEYS = {"satisfaction": 3, "closed": 2}
_NEAR = 1e-4

Rows = dict[tuple[str, ...], tuple[Any, ...]]
"""Rows by KPI and key, as text."""


@dataclass(frozen=True, slots=True)
class Act:
    """What a writer does next: a turn, or a rating of one that was asked before.

    which   of the turns so far, from 0.0, the first, to 1.0; None: a turn of its own
    wait_s  before it
    """

    id: int
    which: float | None
    tenant: str
    model: str
    rating: int
    comment: str | None
    question: str
    wait_s: float


@dataclass(slots=True)
class Said:
    """A turn or a rating on its way; its time and its bytes are those of when it was sent first."""

    event: Event
    value: bytes | None = None


@dataclass(slots=True)
class _Told:
    """What the topic has, and when the last markers were written."""

    turns: list[Turn] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    marked: datetime | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    last_us: int = 0


class Talks:
    """A `chaos.feed.Feed`; it makes no documents, but rows of KPIs."""

    markers: Sequence[str] = ()

    def __init__(self, place: Place, choices: Random) -> None:
        """A new topic."""
        self._place, self._told = place, _Told()
        servers = place.stack.kafka.bootstrap_servers
        ensure_topics(servers, {place.name: PARTITIONS})
        self._sender = Sender(servers, place.name, choices.getrandbits(64))
        self._outbox = Outbox[Said](self._send, Random(choices.getrandbits(64)), _LATE_S, _REPEATS)
        self._outbox.start()

    def settings(self) -> dict[str, Any]:
        """From the oldest event on."""
        kafka = {"topic": self._place.name, "properties.bootstrap.servers": self._place.stack.kafka.bootstrap_servers}
        return {
            "source": {"kafka": {**kafka, "scan.startup.mode": "earliest-offset"}},
            "format": "conversations",
            "feedback": {
                "sentiment": {"model": "vader"},
                "watermark": f"{WATERMARK.seconds} s",
                "late": "6 h",
                "kpis": _KPIS,
            },
        }

    def work(self, choices: Random) -> Work:
        """Some who ask and rate at once, and what tells of it."""
        plans = [acts(Random(choices.getrandbits(64)), WRITING_S) for _ in range(_WRITERS)]

        def run(until: float) -> int:
            together([partial(self._do, plan, until) for plan in plans])
            self._outbox.flush()
            return sum(map(len, plans))

        return run

    def _do(self, plan: list[Act], until: float) -> None:
        for act in plan:
            time.sleep(max(0.0, min(act.wait_s, until - time.monotonic())))
            with self._told.lock:
                event = self._next(act)
            self._outbox.add(Said(event))

    def _next(self, act: Act) -> Event:
        turns = self._told.turns
        if act.which is not None and turns:
            return _rating(act, turns[min(int(act.which * len(turns)), len(turns) - 1)])
        turns.append(turn := _turn(act))
        return turn

    def _send(self, batch: list[Said]) -> None:
        self._sender.send([(each.event.id, self._value(each)) for each in batch])

    def _value(self, said: Said) -> bytes:
        """Its bytes. A turn that was asked long before it is sent would miss its window, so it has its time here."""
        if said.value is None:
            with self._told.lock:
                said.event = _at(said.event, self._now())
                self._told.events.append(said.event)
            said.value = message(said.event)[1]
        return said.value

    def _now(self) -> str:
        """The present; no two are equal."""
        self._told.last_us = max(self._told.last_us + 1, time.time_ns() // 1000)
        return iso(self._told.last_us * 1000)

    def mark(self, text: str) -> None:
        """A turn in each partition: time passes there."""
        self._told.marked = datetime.now(UTC)
        for partition in range(self._sender.partitions):
            act = Act(0, None, _MARKER, _MARKER, 1, None, "?", 0.0)
            said = Said(_turn(act, f"{text}-{partition}"))
            self._sender.put(said.event.id, self._value(said), partition)
        self._sender.flush()

    def behind(self, pipeline: Pipeline, waiting: Waiting) -> str:
        """By the group's offsets."""
        return committed(pipeline, self._place.group, [self._place.name], waiting)

    def plans(self, pipeline: Pipeline) -> dict[str, Plan]:
        """None: nothing gets a vector."""
        return {}

    def rows(self) -> tuple[int, list[Difference]]:
        """How many rows there should be, and what is otherwise in PostgreSQL."""
        until = (self._told.marked or datetime.now(UTC)) - WATERMARK
        wanted = expected(self._told.events, until)
        found = {key: row for key, row in self._found() if key[0] != "closed" or _closed(key[1], until)}
        return len(wanted), [*_differences(wanted, found)]

    def _found(self) -> Iterator[tuple[tuple[str, ...], tuple[Any, ...]]]:
        with psycopg.connect(self._place.dsn, connect_timeout=5) as connection:
            for kpi, query in _SELECT.items():
                table = sql.Identifier(f"{self._place.name}_{kpi}")
                if connection.execute("SELECT to_regclass(%s)", (table.as_string(None),)).fetchall() == [(None,)]:
                    continue  # the job makes it
                for at, *row in connection.execute(sql.SQL(query).format(table)):
                    names = _KEYS[kpi] - 1
                    yield (kpi, at.astimezone(UTC).isoformat(), *row[:names]), tuple(row[names:])

    def events(self, document: str) -> Iterator[str]:
        """Those of the row's turns, as they were sent."""
        kpi, at, tenant, *_ = json.loads(document)
        begun = datetime.fromisoformat(at)
        ends = begun + (WINDOW if kpi == "closed" else timedelta(hours=1))
        of = {
            each.id
            for each in self._told.events
            if isinstance(each, Turn) and each.tenant == tenant and begun <= datetime.fromisoformat(each.at) < ends
        }
        return (message(each)[1].decode() for each in self._told.events if each.id in of)

    def strike(self, strike: Strike, choices: Random) -> None:
        """It has no faults of its own."""

    def mend(self) -> None:
        """Nothing is left stopped."""

    def end(self) -> None:
        """Its topic takes little room."""


def acts(choices: Random, seconds: float) -> list[Act]:
    """What a writer does within so many seconds, decided now."""
    found: list[Act] = []
    planned = 0.0
    while planned < seconds:
        wait_s = choices.expovariate(1 / 0.02)
        which = None if choices.random() < 0.4 else choices.random() ** choices.choice((0.1, 1.0))
        found.append(
            Act(
                choices.getrandbits(64), which, choices.choice(_TENANTS), choices.choice(_MODELS),
                choices.choice((-1, 1)), choices.choice(_COMMENTS), choices.choice(QUESTIONS), wait_s,
            )
        )  # fmt: skip
        planned += wait_s
    return found


def _turn(act: Act, name: str = "") -> Turn:
    return Turn(
        name or f"t-{act.id:016x}", f"c-{act.id % 100}", 1, "", act.tenant, None, act.question, "It is so.", act.model,
        40, 4, "stop", Latency(5.0, 90.0, 400.0), (), {},
    )  # fmt: skip


def _rating(act: Act, of: Turn) -> Feedback:
    return Feedback(of.id, of.conversation, "", of.tenant, act.rating, "thumbs", act.comment)


def _at(event: Event, at: str) -> Event:
    return replace(event, at=at)


def expected(events: Sequence[Event], until: datetime) -> Rows:
    """What events come to, all at once; of final rows those of windows that were over by `until`."""
    turns = [each for each in events if isinstance(each, Turn)]
    last: dict[str, Feedback] = {}
    for each in events:
        if isinstance(each, Feedback) and (each.id not in last or last[each.id].at < each.at):
            last[each.id] = each
    hours: defaultdict[tuple[str, ...], list[Turn]] = defaultdict(list)
    windows: defaultdict[tuple[str, ...], list[Turn]] = defaultdict(list)
    for turn in turns:
        hours["satisfaction", _begin(turn, timedelta(hours=1)), turn.tenant, turn.model].append(turn)
        windows["closed", _begin(turn, WINDOW), turn.tenant].append(turn)
    return {
        **{key: _satisfaction([(each, last.get(each.id)) for each in group]) for key, group in hours.items()},
        **{key: (len(group),) for key, group in windows.items() if _closed(key[1], until)},
    }


def _satisfaction(group: list[tuple[Turn, Feedback | None]]) -> tuple[Any, ...]:
    ratings = [rating for _, rating in group if rating is not None]
    feels = [_feels(each.comment) for each in ratings if each.comment is not None]
    mean = sum(feels) / len(feels) if feels else None
    return len(group), len(ratings), sum(each.rating == 1 for each in ratings), mean


def _feels(text: str) -> float:
    (score,) = judge(Sentiment()).judge([text])
    assert isinstance(score, float)
    return score


def _begin(turn: Turn, step: timedelta) -> str:
    seconds = step.total_seconds()
    return datetime.fromtimestamp(datetime.fromisoformat(turn.at).timestamp() // seconds * seconds, UTC).isoformat()


def _closed(at: str, until: datetime) -> bool:
    return datetime.fromisoformat(at) + WINDOW <= until


def _differences(wanted: Rows, found: Rows) -> Iterator[Difference]:
    for key in sorted(wanted.keys() | found.keys()):
        name = json.dumps(key)
        if key not in found:
            yield Difference(name, Kind.MISSING, f"it should be {wanted[key]}")
        elif key not in wanted:
            yield Difference(name, Kind.GHOST, f"{found[key]}, of no turn")
        elif not all(map(_equal, wanted[key], found[key])):
            yield Difference(name, Kind.STALE, f"{found[key]}, should be {wanted[key]}")


def _equal(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, float) and found is not None:
        return abs(wanted - float(found)) < _NEAR
    return bool(wanted == found)
