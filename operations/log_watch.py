"""What a run looks at while its job runs: whether the topics are still those that it began with, and alarms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from connectors.kafka.identity import of_topics
from connectors.opening.log_identity import ask
from core.config.log_identity import LogIdentity, changes, grown, merged, refusal
from core.config.pipeline import Pipeline
from core.config.source import Kafka
from core.errors import ConfigError, OtherLog, Unavailable
from operations import log_record
from operations.job_file import recall

_EVERY_S = 15.0
_MANY = 100
_KIN = "skipped_kin_of_a_table"


def refuse_in_another_log(pipeline: Pipeline, what: str) -> None:
    """Raise OtherLog where the log isn't the one that the last run here read, and its positions mean nothing in it.

    Events of a repair or a backfill are sent at positions of the log that is there: state and store would refuse them
    as older. `what` they would do in vain, as in "--repair would mend nothing".
    """
    found = changes(log_record.last_log(pipeline), ask(pipeline).identity, "the last run")
    if reasons := [each.what for each in found if each.positions]:
        raise OtherLog(
            "\n".join(f"{pipeline.name}: {each}" for each in reasons)
            + f"\n{what}: what it sends has positions of this log, which state and store refuse as "
            "older. Start anew: freshet run pipeline.yaml --without-state, with another table or index below store"
        )


class LogWatch:
    """Asks Kafka now and then; tells of each alarm once."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Of the job that was submitted last. Asks nothing yet."""
        self._pipeline = pipeline
        self._looked = 0.0
        self._alarmed = False
        self._has_said = False
        self._grown: list[str] = []

    def look(self, now: float) -> str:
        """Why the job must stop: a topic is gone or was made anew under it. "" where all is as it was, or isn't known.

        now  in seconds of a clock that only rises
        """
        source = self._pipeline.source.chosen
        if not isinstance(source, Kafka) or now < self._looked + _EVERY_S:
            return ""
        self._looked = now
        try:
            there = of_topics(self._pipeline.format.order(self._pipeline.source), source)
            # one that is gone may be a broker's that just starts, and loses nothing; made again it has another id
            there = replace(there, logs={name: known for name, known in there.logs.items() if known})
        except (Unavailable, ConfigError):
            return ""
        known = log_record.last_log(self._pipeline)
        if found := changes(LogIdentity(known.order, known.logs), there, "the job began"):
            return refusal(found, self._pipeline.name)
        self._amend(known, there)
        return ""

    def _amend(self, known: LogIdentity, there: LogIdentity) -> None:
        job = recall(self._pipeline)
        if job is not None and (more := merged(known, there)) != known:
            self._grown += grown(known, there, datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))
            log_record.amend(self._pipeline, job.job, more)

    def grown(self) -> list[str]:
        """What to tell of topics that have more partitions by now; each once, also by a later run."""
        lines, self._grown = self._grown, []
        return lines

    def news(self, alarm: str) -> str:
        """An alarm that wasn't there at the last look; else ""."""
        before, self._alarmed = self._alarmed, bool(alarm)
        return "" if before else alarm

    def skipped(self, counts: Mapping[str, int]) -> str:
        """An alarm, given once, where many events were skipped that seem to be partitions' of a named table; else "".

        counts  the job's counters, by name
        """
        if self._has_said or (many := counts.get(_KIN, 0)) < _MANY:
            return ""
        self._has_said = True
        return (
            f"{many:,} events were skipped of tables that look like partitions of a named one; Flink's log names them. "
            "Set publish_via_partition_root on the publication, or documents.….tables"
        )
