"""The machinery alone: changes a second from the topic into the store, where embedding costs next to nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import psycopg

from bench.events import ChangeRecords, generated, recorded, recorded_tables, with_schemas
from bench.rig import TABLE, Rig, positions, running, until
from bench.shares import Shares, sampled
from connectors.kafka.producer import ensure_topics, produce
from core.config.pipeline import Pipeline

PARALLELISM = 2
"""As many subtasks as a user of two cores would give the job."""

_IN_A_ROW = 8
_MARKS = 8
_WARM_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Throughput:
    """Of the changes after the warm-up.

    changes   how many they are
    segments  changes a second of each eighth of the backlog but the first, the warm-up's too
    shares    who was busy meanwhile
    """

    changes_per_second: float
    changes: int
    segments: tuple[int, ...]
    shares: Shares


def of_recording(rig: Rig, changes: int) -> Throughput:
    """Of the recorded workload, replayed under other tables' names until there are so many changes."""
    topic = rig.topic("recorded")
    pipeline = rig.pipeline("recorded", "hash", topic, recorded_tables(changes), PARALLELISM)
    return _measure(rig, pipeline, topic, recorded(topic, pipeline, changes))


def of_history(rig: Rig, changes: int, schemas: bool = False) -> Throughput:
    """Of generated inserts (30 %), edits (60 %) and deletes (10 %) of real articles of some 2 chunks.

    schemas  whether each event has its schema around it, as `value.converter.schemas.enable` makes them
    """
    name = "schemas" if schemas else "generated"
    topic = rig.topic(name)
    pipeline = rig.pipeline(name, "hash", topic, (TABLE,), PARALLELISM)
    backlog = generated(topic, pipeline, changes)
    return _measure(rig, pipeline, topic, with_schemas(backlog) if schemas else backlog)


def _measure(rig: Rig, pipeline: Pipeline, topic: str, backlog: Sequence[ChangeRecords]) -> Throughput:
    """The backlog is in the topic, in one partition, when the job starts, and is read in order by PARALLELISM subtasks.

    So what the store shows of some changes in a row, each the first of its document, it shows of all before them: they
    went to every subtask. The clock runs from such a place a quarter into the backlog, when all is warm, to the last.
    """
    servers = rig.stack.kafka.bootstrap_servers
    ensure_topics(servers, {topic: 1})
    produce(servers, (record for change in backlog for record in change.records))
    marks = _marks(backlog)
    firsts = [_firsts_until(backlog, mark) for mark in marks]
    warm = int(len(marks) * _WARM_SHARE)
    times: list[float] = []
    with psycopg.connect(rig.dsn, autocommit=True) as connection, running(pipeline) as job:
        for number, (mark, first) in enumerate(zip(marks, firsts, strict=True)):
            there = partial(_all_there, connection, pipeline, first)
            # it shares two processors with the job: one look takes a millisecond of them
            until(there, job, f"change {mark}", every=0.1)
            times.append(time.perf_counter())
            if number == warm:
                sample = sampled(rig.stack, job)
            if number == len(marks) - 2:
                shares = sample(mark - marks[warm])
    counts = [later - earlier for earlier, later in pairwise(marks)]
    segments = [round(count / (now - then)) for count, (then, now) in zip(counts, pairwise(times), strict=True)]
    changes = marks[-1] - marks[warm]
    return Throughput(changes / (times[-1] - times[warm]), changes, tuple(segments), shares)


def _all_there(connection: psycopg.Connection[Any], pipeline: Pipeline, documents: list[str]) -> bool:
    return len(positions(connection, pipeline, documents)) == len(documents)


def _firsts_until(backlog: Sequence[ChangeRecords], mark: int) -> list[str]:
    """The documents of the last changes up to the mark that were the first of theirs."""
    seen = list(dict.fromkeys(change.document for change in backlog[: mark + 1]))
    return seen[-_IN_A_ROW:]


def _marks(backlog: Sequence[ChangeRecords]) -> list[int]:
    """About eight places in the backlog, evenly apart, where a document has its first change; the last such too."""
    seen: set[str] = set()
    firsts = []
    for at, change in enumerate(backlog):
        if change.document not in seen:
            seen.add(change.document)
            firsts.append(at)
    every = max(1, len(backlog) // _MARKS)
    marks = [next((at for at in firsts if at >= start), firsts[-1]) for start in range(every, firsts[-1], every)]
    return list(dict.fromkeys([*(mark for mark in marks if mark < firsts[-1] - every // 2), firsts[-1]]))
