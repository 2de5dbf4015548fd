"""The job of profiles: changes a second from the topic into the profile store, and how long one takes at a steady rate.

`python -m bench.profiles [CHANGES [alone,vectors,latency]]`, on the local stack of this folder. What `freshet produce
--scenario customers` makes up is read from one topic of one partition, in order.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from bench.figures import percentiles
from bench.rig import Rig, notified, rig, running, until
from bench.shares import sampled
from connectors.kafka.producer import ensure_topics, produce
from core.config.pipeline import Pipeline
from core.formats.recordings import Record
from stack import local as stack
from workloads.customers import RECORDS, Truth, customers

PROFILES: dict[str, Any] = {
    "identifiers": [
        {"type": "customer_id", "limit": 1},
        {"type": "email", "normalize": "email", "limit": 5},
        {"type": "device", "limit": 5},
        {"type": "phone", "normalize": {"phone": "NO"}, "limit": 2},
    ],
    "records": RECORDS,
    "survivorship": {"name": "most_trusted", "language": "most_frequent"},
}
TEXT = "{name}, {city}. {orders} orders, last {last_order}."
RATE = 50.0
"""Changes a second where latency is measured."""

_MARKS = 20
_WARM = 5
_WARM_UP_SECONDS = 10.0
_CHANNEL = "freshet_bench"
_TRIGGER = """
CREATE FUNCTION bench_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_notify({channel}, NEW.record); RETURN NULL; END $$;
CREATE TRIGGER bench_notify AFTER INSERT ON {members} FOR EACH ROW EXECUTE FUNCTION bench_notify()
"""


@dataclass(frozen=True, slots=True)
class Step:
    """A change's messages; `made` is the record that it is the first of, "" where it isn't."""

    records: tuple[Record, ...]
    made: str


def steps(topic: str, count: int) -> list[Step]:
    """So many changes, in one partition of the topic."""
    truth: Truth = {}
    found = (each for each in customers("bench", 0, time.time_ns, truth) if each)
    return [_step(each, topic) for each in islice(found, count)]


def _step(records: tuple[Record, ...], topic: str) -> Step:
    placed = tuple(replace(each, topic=topic, partition=0) for each in records)
    event = msgspec.json.decode(records[-1].value) if len(records) == 1 and records[-1].value else {}
    made = f"public.{event['source']['table']}/{event['after']['id']}" if event.get("op") == "c" else ""
    return Step(placed, made)


def pipeline(rig: Rig, what: str, vectors: bool) -> Pipeline:
    """From the rig's topic of that name to tables named after it; vectors, if any, are made of hashes."""
    name = f"{rig.prefix}_{what}"
    servers = {"properties.bootstrap.servers": rig.stack.kafka.bootstrap_servers}
    pgvector = {"pgvector": {"dsn": rig.dsn, "table": what}} if vectors else {}
    return Pipeline.model_validate(
        {
            "name": name,
            "source": {"kafka": {"topic": rig.topic(what), **servers, "scan.startup.mode": "earliest-offset"}},
            "format": "debezium",
            "profiles": PROFILES,
            "embedding": {"model": "hash", "text": TEXT},
            "store": {"postgres": {"dsn": rig.dsn}, **pgvector},
            "dead_letters": {"kafka": {"topic": f"{rig.topic(what)}.dead-letters"}},
            "parallelism": 1,
        }
    )


def throughput(rig: Rig, what: str, changes: int, vectors: bool) -> None:
    """Prints changes a second of a backlog after its first quarter, and who was busy meanwhile."""
    followed, topic = pipeline(rig, what, vectors), rig.topic(what)
    backlog = steps(topic, changes)
    servers = rig.stack.kafka.bootstrap_servers
    ensure_topics(servers, {topic: 1})
    produce(servers, (record for each in backlog for record in each.records))
    firsts = [at for at, each in enumerate(backlog) if each.made]
    marks = [firsts[len(firsts) * mark // _MARKS - 1] for mark in range(1, _MARKS + 1)]
    there = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE record = %s)").format(_members(followed))
    times = []
    with psycopg.connect(rig.dsn, autocommit=True) as connection, running(followed) as job:
        for number, mark in enumerate(marks):
            until(
                lambda mark=mark: bool(connection.execute(there, [backlog[mark].made]).fetchall()[0][0]),  # type: ignore[misc]
                job,
                f"change {mark}",
                every=0.03,
            )
            times.append(time.perf_counter())
            if number == _WARM:
                sample = sampled(rig.stack, job)
            if number == _MARKS - 2:
                print(sample(mark - marks[_WARM]))
    rates = [(b - a) / (then - now) for (a, b), (now, then) in zip(pairwise(marks), pairwise(times), strict=True)]
    rate = (marks[-1] - marks[_WARM]) / (times[-1] - times[_WARM])
    print(f"{what}: {rate:,.0f} changes/s; by twentieths {', '.join(f'{each:.0f}' for each in rates)}")


def latency(rig: Rig, seconds: float) -> None:
    """Prints how long a new row takes from the producer into its profile, at 50 changes a second."""
    followed, topic = pipeline(rig, "latency", vectors=True), rig.topic("latency")
    changes = steps(topic, int((seconds + _WARM_UP_SECONDS) * RATE))
    servers = rig.stack.kafka.bootstrap_servers
    ensure_topics(servers, {topic: 1})
    sent: dict[str, float] = {}
    with running(followed) as job, _listening(rig.dsn, followed) as seen:
        produce(servers, changes[0].records)
        until(lambda: bool(seen), job, "the first row")
        produce(servers, _paced(changes[1:], sent))
        until(lambda: len(seen.keys() & sent.keys()) == len(sent), job, "the last row")
    measured = list(sent)[int(len(sent) * _WARM_UP_SECONDS / (seconds + _WARM_UP_SECONDS)) :]
    print(f"event to profile: {percentiles([seen[each] - sent[each] for each in measured])}, of {len(measured):,}")


def _members(pipeline: Pipeline) -> sql.Identifier:
    return sql.Identifier(f"{pipeline.name}_members")


def _paced(changes: Sequence[Step], sent: dict[str, float]) -> Iterator[Record]:
    start = time.perf_counter()
    for number, each in enumerate(changes):
        time.sleep(max(0.0, start + number / RATE - time.perf_counter()))
        if each.made:
            sent[each.made] = time.perf_counter()
        yield from each.records


@contextmanager
def _listening(dsn: str, pipeline: Pipeline) -> Iterator[dict[str, float]]:
    """When each new record was committed, by `time.perf_counter`."""
    seen: dict[str, float] = {}
    trigger = sql.SQL(_TRIGGER).format(channel=sql.Literal(_CHANNEL), members=_members(pipeline))
    with notified(dsn, _CHANNEL, trigger, seen.setdefault):
        yield seen


def main(changes: int = 20_000, only: str = "alone,vectors,latency") -> None:
    """Measures without vectors, with them, and at a steady rate."""
    with rig(stack.up(Path())) as bench:
        for what in only.split(","):
            if what == "latency":
                latency(bench, 30.0)
            else:
                throughput(bench, what, changes, vectors=what == "vectors")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 20_000, *sys.argv[2:])
