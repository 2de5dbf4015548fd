"""Has what was committed by now reached the stores? Asked of the connector's slot, then of the job's consumer group."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import Consumer

from connectors import kafka
from connectors.kafka_feed import behind, goals, group_of
from connectors.postgres_rows import Reselect
from core.config import Pipeline

_LSN = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END::text"
_SLOTS = """
    SELECT s.slot_name, s.active, s.confirmed_flush_lsn >= %s::pg_lsn, coalesce(r.write_lsn >= %s::pg_lsn, false),
        (%s::pg_lsn - greatest(s.confirmed_flush_lsn, r.write_lsn))::bigint
    FROM pg_replication_slots s LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid
    WHERE s.slot_type = 'logical' AND s.database = current_database()"""
_POLL_S = 0.25
# What an asynchronous commit wrote is on disk after three turns of the WAL writer, 200 ms each.
_WRITTEN_S = 0.7
# A connector confirms what Kafka has only when its next event comes; what it has received, it sends within moments.
_SENT_S = 2.0


@dataclass(slots=True)
class Stream:
    """The way from the source to the stores. `consumer` is of the job's group; None where it can't be asked.

    wait_s  how long `passed` waits; after it has waited in vain once, it only looks
    report  is told what is waited for
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
        self.lag = self._until(lambda: self._slot(lsn), deadline) or self._until_committed(deadline)
        return not self.lag

    def _until(self, lag: Callable[[], str], deadline: float) -> str:
        while (found := lag()) and time.monotonic() < deadline:
            self.report(f"waiting: {found}")
            time.sleep(_POLL_S)
        return found

    def _slot(self, lsn: str) -> str:
        """What the slot has not sent of the log up to `lsn`; "" where it has, or nobody can tell."""
        slots = self.source.execute(_SLOTS, (lsn, lsn, lsn))
        if len(slots) != 1:
            names = ", ".join(str(name) for name, *_ in slots) or "none"
            self.note = f"the source's logical replication slots are {names}: which one the stream has, can't be told"
            return ""
        name, active, confirmed, received, distance = slots[0]
        if confirmed:
            return ""
        if received:
            time.sleep(_SENT_S)
            return ""
        read = "" if active else ", and no connector reads it now"
        return f"the connector's slot {name} is {distance:,} bytes behind the source{read}"

    def _until_committed(self, deadline: float) -> str:
        if self.consumer is None:
            return ""
        consumer, source = self.consumer, self.pipeline.kafka
        topics = kafka.check(source)
        if not topics:
            return f"there is no topic {source.topic or source.topic_pattern}"
        goal = goals(consumer, source, topics)

        def lag() -> str:
            group, events = group_of(self.pipeline), behind(consumer, source, goal).events
            if events is None:
                return f"the job has committed nothing yet of some partition (consumer group {group}): does it run?"
            return f"the job is {events:,} events behind its topics (consumer group {group})" if events else ""

        return self._until(lag, deadline)
