"""What happened to a pipeline's job, one JSON object a line, in `.freshet/pipelines/NAME/log/events.jsonl`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from core.config.pipeline import Pipeline
from flink_jobs.running.jobs import Progress
from operations.job_file import home

_LOGIN = re.compile(r"(://[^\s:/@]*:)[^\s@/]+@")
_LETTERS = "dead_letters"

LARGEST = 5_000_000
"""Bytes of a log that goes on in another file; of the full ones the last stays, as events.jsonl.1."""


_ENDINGS = {"stop": "stopped", "finish": "finished", "fail": "failed"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the log. `at` is to the minute, as in `2026-01-31 12:00 UTC`; `cause` "" where it has none."""

    event: str
    at: str
    cause: str = ""

    @property
    def is_end(self) -> bool:
        """Whether a run that says this is over."""
        return self.event in _ENDINGS

    def __str__(self) -> str:
        """The line as people read it."""
        return ": ".join(filter(None, (f"{_ENDINGS.get(self.event, self.event)}, {self.at}", self.cause)))


@dataclass(frozen=True, slots=True)
class Events:
    """The log of one pipeline. Every line has `time` (UTC, ISO 8601), `pipeline` and `event`."""

    pipeline: str
    file: Path

    def tell(self, event: str, **details: object) -> None:
        """Add a line: start, resume, restart, restored, dead-letters, savepoint, grown, stop, finish or fail."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "pipeline": self.pipeline, "event": event, **details}, ensure_ascii=False)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        if self.file.exists() and self.file.stat().st_size > LARGEST:
            self.file.replace(self.file.with_name(self.file.name + ".1"))
        with self.file.open("a", encoding="utf-8") as log:
            # a driver's message may quote an address whole
            log.write(_LOGIN.sub(r"\1…@", line) + "\n")

    def last(self) -> Entry | None:
        """The last line; None where there is none, or it can't be read."""
        try:
            *_, line = self.file.read_text(encoding="utf-8").splitlines()
            said = json.loads(line)
            return Entry(said["event"], f"{said['time'][:16].replace('T', ' ')} UTC", str(said.get("cause") or ""))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def close(self, cause: str, before: Entry | None) -> None:
        """Add `fail` where the last run left no end: something was written since `before`, the last line then."""
        last = self.last()
        if last is not None and last != before and not last.is_end:
            self.tell("fail", cause=cause)

    def progress(self, now: Progress, last: Progress | None) -> None:
        """What is new since the last look: a failure that it restarts after, dead letters with their step."""
        failure, known = now.failure, None if last is None else last.failure
        if failure is not None and now.state != "FAILED":
            if known is None or (failure.cause, failure.at_ms) != (known.cause, known.at_ms):
                self.tell(
                    "restart", cause=failure.cause, state=now.state, **({"raw": failure.raw} if failure.raw else {})
                )
            if failure.restored and (known is None or known.restored != failure.restored):
                self.tell("restored", state=failure.restored)
        before = {} if last is None else _letters(last)
        letters = _letters(now)
        # counters begin anew with a restart, and are not there at all while it lasts
        if any(count > before.get(step, 0) for step, count in letters.items()):
            self.tell("dead-letters", **letters)


def events(pipeline: Pipeline) -> Events:
    """The log of a pipeline."""
    return events_at(home(pipeline))


def events_at(folder: Path) -> Events:
    """The log of the pipeline whose folder this is."""
    return Events(folder.name, folder / "log" / "events.jsonl")


def _letters(progress: Progress) -> dict[str, int]:
    return {
        name.removesuffix(f"_{_LETTERS}"): count
        for name, count in progress.counts.items()
        if name.endswith(_LETTERS) and count
    }
