"""The job of feedback: turns a second from the topic into KPIs, and how soon a final row is written.

`python -m bench.feedback [TURNS [SECONDS]]`, on servers of its own. What `freshet produce --scenario conversations`
makes up, turns and ratings, is read from a topic of two partitions.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from bench.figures import Percentiles, percentiles
from bench.rig import Rig, notified, own_rig, running, until
from bench.shares import Shares, sampled
from connectors.kafka import clients as kafka_clients
from connectors.kafka.producer import ensure_topics
from core.config.pipeline import Pipeline
from core.formats import conversations as events
from workloads.conversations import Truth, conversations

RATE = 5_000
"""Turns a second that the backlog was written at, as its events tell: so a minute's groups are as large as live."""

STEADY = 200.0
"""Events a second, where a final row's time is measured."""

WINDOW_S = 3.7
"""That of the final rows, as their SQL has it. No whole number: the job's own clock ticks each second, and so each
window ends at another place between two.
"""

WATERMARK_MS = 5_000
PARTITIONS = 2

_WARM_SHARE = 0.25
_CHANNEL = "freshet_bench"
_FINAL = """
SELECT window_start, tenant, COUNT(*) AS turns
FROM TABLE(TUMBLE(TABLE turns, DESCRIPTOR(asked_at), INTERVAL '3.7' SECOND))
GROUP BY window_start, window_end, tenant
"""
KPIS: dict[str, Any] = {
    "satisfaction": {"to": ["postgres"]},
    "latency": {"to": ["postgres"]},
    "closed": {"sql": _FINAL, "key": ["window_start", "tenant"], "to": ["postgres"]},
}
"""Two that come with Freshet, which ratings correct, and one of windows that are final."""

_TRIGGER = """
CREATE FUNCTION bench_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_notify({channel}, EXTRACT(EPOCH FROM NEW.window_start)::text); RETURN NULL; END $$;
CREATE TRIGGER bench_notify AFTER INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION bench_notify()
"""


@dataclass(frozen=True, slots=True)
class Message:
    """An event as it lies in the topic: its key and its value, and when it happened, in ms since 1970."""

    key: bytes
    value: bytes
    at_ms: int


@dataclass(frozen=True, slots=True)
class Throughput:
    """Of the turns after the first quarter; their ratings are counted and corrected beside them.

    segments  turns a second of each tenth of the backlog behind the first quarter
    shares    who was busy meanwhile; a change of it is an event, turn or rating
    """

    turns_per_second: float
    events_per_second: float
    turns: int
    segments: tuple[int, ...]
    shares: Shares


def messages(count: int, begin_ns: int, apart_ns: int) -> Iterator[Message]:
    """So many turns and their ratings, `apart_ns` from one event to the next. No question is asked twice, so that each
    is judged: what was judged before is remembered.
    """
    truth: Truth = {}
    now = begin_ns

    def clock() -> int:
        nonlocal now
        now += apart_ns
        return now

    turns = 0
    for (record,) in conversations("", count, 0, clock, truth):
        said = events.event(record.value or b"")
        if isinstance(said, events.Turn):
            if turns == count:
                return
            turns += 1
            said = msgspec.structs.replace(said, question=f"{said.question} ({turns})")
        yield Message(*events.message(said), now // 1_000_000)


def pipeline(rig: Rig, what: str, parallelism: int) -> Pipeline:
    """From the rig's topic of that name to tables named after it."""
    servers = {"properties.bootstrap.servers": rig.stack.kafka.bootstrap_servers}
    return Pipeline.model_validate(
        {
            "name": f"{rig.prefix}_{what}",
            "source": {"kafka": {"topic": rig.topic(what), **servers, "scan.startup.mode": "earliest-offset"}},
            "format": "conversations",
            "feedback": {"kpis": KPIS, "watermark": f"{WATERMARK_MS // 1000} s"},
            "store": {"postgres": {"dsn": rig.dsn}},
            "dead_letters": {"kafka": {"topic": f"{rig.topic(what)}.dead-letters"}},
            "parallelism": parallelism,
        }
    )


def throughput(rig: Rig, turns: int, parallelism: int = 2) -> Throughput:
    """A backlog of so many turns is in the topic when the job starts. The clock runs from a quarter of it on."""
    followed, topic = pipeline(rig, "backlog", parallelism), rig.topic("backlog")
    share = 0.62  # of events that are turns, here: how far apart they are needs no more
    apart_ns = int(1_000_000_000 * share / RATE)
    backlog = list(messages(turns, time.time_ns() - int(turns / share * apart_ns), apart_ns))
    ensure_topics(rig.stack.kafka.bootstrap_servers, {topic: PARTITIONS})
    with _sending(rig, topic) as send:
        for each in backlog:
            send(each)
    counted = sql.SQL("SELECT coalesce(sum(turns), 0) FROM {}").format(_table(followed, "satisfaction"))
    seen: list[tuple[float, int]] = []
    with psycopg.connect(rig.dsn, autocommit=True) as connection, running(followed) as job:

        def reached(wanted: float) -> bool:
            (row,) = connection.execute(counted).fetchall()
            seen.append((time.perf_counter(), int(row[0])))
            return seen[-1][1] >= wanted

        until(lambda: reached(turns * _WARM_SHARE), job, "the first quarter", every=0.1)
        (began, first), sample = seen[-1], sampled(rig.stack, job)
        until(lambda: reached(turns), job, "the last turn", every=0.1)
        ended, last = seen[-1]
        shares = sample(round((last - first) * len(backlog) / turns))
    rate = (last - first) / (ended - began)
    return Throughput(rate, rate * len(backlog) / turns, last - first, _segments(seen, began, first, last), shares)


def _segments(seen: Sequence[tuple[float, int]], began: float, first: int, last: int) -> tuple[int, ...]:
    found, since, count = [], began, first
    for at, now in seen:
        if now >= count + (last - first) / 10 and at > since:
            found.append(round((now - count) / (at - since)))
            since, count = at, now
    return tuple(found)


def after_watermark(rig: Rig, seconds: float) -> Percentiles:
    """From when each partition has been sent an event of a window's end and `watermark` on top, to its rows' commit.

    That is the earliest at which the watermark can pass. Every partition is sent events all the time, 200 a second.
    """
    followed, topic = pipeline(rig, "steady", 1), rig.topic("steady")
    ensure_topics(rig.stack.kafka.bootstrap_servers, {topic: PARTITIONS})
    windows = int(seconds / WINDOW_S)
    passed: list[tuple[float, tuple[int, ...]]] = []
    with (
        running(followed) as job,
        _listening(rig.dsn, _table(followed, "closed")) as seen,
        _sending(rig, topic) as send,
    ):
        over = threading.Event()
        paced = threading.Thread(target=_steadily, args=(send, passed, over), daemon=True)
        paced.start()
        until(lambda: len(seen) > windows + 1, job, "the last window")
        over.set()
        paced.join()
    # of the first window what the job's start took is the most of it
    ends = sorted(seen)[1:]
    return percentiles([seen[end] - passed_at(passed, end) for end in ends])


def passed_at(passed: Sequence[tuple[float, tuple[int, ...]]], start_s: float) -> float:
    """When every partition had been sent what is past a window and the watermark on top."""
    due_ms = (start_s + WINDOW_S) * 1000 + WATERMARK_MS
    return next(at for at, reached in passed if min(reached) > due_ms)


def _steadily(send: Any, passed: list[tuple[float, tuple[int, ...]]], over: threading.Event) -> None:
    """Send events as they happen, and note how far each partition is."""
    reached = [0] * PARTITIONS
    began = time.time_ns()
    for number, each in enumerate(messages(1_000_000, began, int(1e9 / STEADY))):
        if over.wait(max(0.0, (began + (number + 1) * 1e9 / STEADY - time.time_ns()) / 1e9)):
            return
        reached[number % PARTITIONS] = each.at_ms
        passed.append((time.perf_counter(), tuple(reached)))
        send(each, number % PARTITIONS)


@contextmanager
def _sending(rig: Rig, topic: str) -> Iterator[Any]:
    """Sends a message, with its own time as that of the record."""
    producer = kafka_clients.producer({"bootstrap.servers": rig.stack.kafka.bootstrap_servers, "linger.ms": 0})
    sent = 0

    def send(message: Message, partition: int = -1) -> None:
        nonlocal sent
        sent += 1
        if sent % 10_000 == 0:
            producer.flush()
        where = {} if partition < 0 else {"partition": partition}
        producer.produce(topic, key=message.key, value=message.value, timestamp=message.at_ms, **where)
        producer.poll(0)

    try:
        yield send
    finally:
        producer.flush()


@contextmanager
def _listening(dsn: str, table: sql.Identifier) -> Iterator[dict[float, float]]:
    """When the last row of each window was committed, by `time.perf_counter`; windows by their begin, s since 1970."""
    seen: dict[float, float] = {}
    trigger = sql.SQL(_TRIGGER).format(channel=sql.Literal(_CHANNEL), table=table)
    with notified(dsn, _CHANNEL, trigger, lambda begin, at: seen.update({float(begin): at})):
        yield seen


def _table(pipeline: Pipeline, kpi: str) -> sql.Identifier:
    return sql.Identifier(f"{pipeline.name}_{kpi}")


def main(turns: int = 60_000, seconds: float = 30.0) -> None:
    """Measures both, and prints them as JSON."""
    with own_rig() as rig:
        found: Mapping[str, Any] = {
            **({"turns": asdict(throughput(rig, turns))} if turns else {}),
            **({"kpi_after_watermark_ms": asdict(after_watermark(rig, seconds))} if seconds else {}),
            "load_average": os.getloadavg(),
            "at": datetime.now(UTC).isoformat(timespec="minutes"),
        }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 60_000, float(sys.argv[2]) if sys.argv[2:] else 30.0)
