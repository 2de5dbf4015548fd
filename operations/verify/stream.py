"""Has what was committed by now reached the stores? Asked of the connector's slot, then of the job's consumer group.

Where the source can't be asked, as a DynamoDB table, time passes instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from confluent_kafka import Consumer

from connectors.kafka import source as kafka
from connectors.kafka.feed import behind, goals, group_of
from connectors.postgres.rows import Reselect
from core.config.first_pipeline import slot_of
from core.config.pipeline import Pipeline

_LSN = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END::text"
_SLOTS = """
    SELECT s.slot_name, s.active, s.confirmed_flush_lsn >= %s::pg_lsn, coalesce(r.write_lsn >= %s::pg_lsn, false),
        (%s::pg_lsn - greatest(s.confirmed_flush_lsn, r.write_lsn))::bigint
    FROM pg_replication_slots s LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid
    WHERE s.slot_type = 'logical' AND s.database = current_database()"""
_POLL_S = 0.25
_TICK_S = 1.0
# What an asynchronous commit wrote is on disk after three turns of the WAL writer, 200 ms each.
_WRITTEN_S = 0.7
# A connector confirms what Kafka has only when its next event comes; what it has received, it sends within moments.
_SENT_S = 2.0


class Progress(Protocol):
    """The way from the source to the stores, as a pass of `freshet verify` asks of it.

    note  what can't be asked
    lag   why the last `passed` gave up, "" where it didn't
    """

    note: str
    lag: str

    def passed(self) -> bool:
        """Wait until whatever the source has committed by now has been applied by the job; whether it has."""
        ...


@dataclass(slots=True)
class Waiting:
    """Progress where nobody can be asked how much of the source is on its way: `wait_s` seconds are given to it.

    So a row that differs at the end has been the same all that time, and the job has had it to apply it. The first
    call doesn't wait: nothing was read before it. `consumer` as in `Stream`; None too where the source isn't Kafka.
    """

    pipeline: Pipeline
    consumer: Consumer | None
    wait_s: float
    report: Callable[[str], object]
    note: str = field(init=False)
    lag: str = ""
    _begun: bool = False

    def __post_init__(self) -> None:
        """Say how it will judge."""
        self.note = (
            "the way from the source can't be asked how far it is: what differs has been the same in the source for "
            f"{self.wait_s:,.0f} s (--wait); where the job takes longer, it may be on its way"
        )

    def passed(self) -> bool:
        """Let the time pass, then ask for the job's consumer group where there is one."""
        until = time.monotonic() + (self.wait_s if self._begun else 0)
        self._begun = True
        while (left := until - time.monotonic()) > 0:
            self.report(f"waiting: {left:,.0f} s")
            time.sleep(min(left, _TICK_S))
        deadline = time.monotonic() + (0 if self.lag else self.wait_s)
        self.lag = _until_committed(self.pipeline, self.consumer, deadline, self.report)
        return not self.lag


@dataclass(slots=True)
class Stream:
    """The way from the source to the stores. `consumer` is of the job's group; None where it can't be asked.

    wait_s  how long `passed` waits; after it has waited in vain once, it only looks
    report  is called with what is waited for
    note    what can't be asked
    lag     why the last `passed` gave up, "" where it didn't
    """

    pipeline: Pipeline
    source: Reselect
    consumer: Consumer | None
    wait_s: float
    report: Callable[[str], object]
    note: str = ""
    lag: str = ""

    def passed(self) -> bool:
        """Wait until whatever the source has committed by now has been applied by the job; whether it has."""
        deadline = time.monotonic() + (0 if self.lag else self.wait_s)
        if not self.lag:
            time.sleep(_WRITTEN_S)
        lsn = str(self.source.execute(_LSN)[0][0])
        self.lag = _until(lambda: self._slot(lsn), deadline, self.report) or _until_committed(
            self.pipeline, self.consumer, deadline, self.report
        )
        return not self.lag

    def _slot(self, lsn: str) -> str:
        """What the slot has not sent of the log up to `lsn`; "" where it has, or nobody can tell."""
        slots = self.source.execute(_SLOTS, (lsn, lsn, lsn))
        ours = slots if len(slots) == 1 else self._of_topics(slots)
        if not ours:
            names = ", ".join(str(name) for name, *_ in slots) or "none"
            self.note = f"the source's logical replication slots are {names}: which one the stream has isn't known"
            return ""
        return next((lag for each in ours if (lag := _behind(*each))), "")

    def _of_topics(self, slots: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """The slots of connectors that are called as the pipeline's topics; none unless each topic has one."""
        topics = (self.pipeline.kafka.topic or "").split(";")
        named = {slot_of(topic) for topic in topics if topic}
        found = [each for each in slots if each[0] in named]
        return found if len(found) == len(topics) else []


def _behind(name: str, active: bool, confirmed: bool, received: bool, distance: int) -> str:
    """What a slot has not sent yet; "" where it has."""
    if confirmed:
        return ""
    if received:
        time.sleep(_SENT_S)
        return ""
    read = "" if active else ", and no connector reads it now"
    return f"the connector's slot {name} is {distance:,} bytes behind the source{read}"


def _until(lag: Callable[[], str], deadline: float, report: Callable[[str], object]) -> str:
    while (found := lag()) and time.monotonic() < deadline:
        report(f"waiting: {found}")
        time.sleep(_POLL_S)
    return found


def _until_committed(
    pipeline: Pipeline, consumer: Consumer | None, deadline: float, report: Callable[[str], object]
) -> str:
    if consumer is None:
        return ""
    source = pipeline.kafka
    topics = kafka.check(source)
    if not topics:
        return f"there is no topic {source.topic or source.topic_pattern}"
    goal = goals(consumer, source, topics)

    def lag() -> str:
        group, events = group_of(pipeline), behind(consumer, source, goal).events
        if events is None:
            return f"the job has committed nothing yet of some partition (consumer group {group}), or doesn't run"
        return f"the job is {events:,} events behind its topics (consumer group {group})" if events else ""

    return _until(lag, deadline, report)
