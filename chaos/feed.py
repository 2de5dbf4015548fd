"""What a chaos run needs of a feed: a source for a pipeline, which is written to, struck, and read for its truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from chaos.strikes import Strike
from connectors.aws.client import Aws
from connectors.kafka.feed import behind, goals
from connectors.kafka.topics import reading
from core.config.pipeline import Pipeline
from core.plans import Plan
from stack.local import Stack

WRITING_S = 4.0

_LOOK_EVERY_S = 0.3


@dataclass(frozen=True, slots=True)
class Place:
    """Where an act's things are. `name` starts the names of all of them; `dsn` is of a database of its own."""

    name: str
    stack: Stack
    dsn: str
    aws: Aws | None = None

    @property
    def at_aws(self) -> dict[str, str | None]:
        """The settings of a pipeline file that say where AWS is."""
        assert self.aws is not None
        return {"aws.region": self.aws.region, "aws.endpoint": self.aws.endpoint}

    @property
    def group(self) -> str:
        """The consumer group in which the job says how far it is."""
        return f"freshet-{self.name}"


Work = Callable[[float], int]
"""Does a round's writing, or as much as can be done by a time of the monotonic clock; how many changes were done."""


Waiting = Callable[[int | None], bool]
"""Whether to go on waiting, by how many events are left, None where that isn't known."""


class Feed(Protocol):
    """One feed of an act, with its source. Calls for the truth come when nothing writes."""

    @property
    def markers(self) -> Sequence[str]:
        """Documents that tell how far the job is: each partition or shard has one."""
        ...

    def settings(self) -> dict[str, Any]:
        """`source`, `format` and `documents` of the pipeline file."""
        ...

    def work(self, choices: Random) -> Work:
        """What the writers of a round do in about WRITING_S, decided by `choices` now."""
        ...

    def mark(self, text: str) -> None:
        """Write `text` into the markers' documents, after all that was written before."""
        ...

    def behind(self, pipeline: Pipeline, waiting: Waiting) -> str:
        """Wait until the job has committed what there is; what was waited for in vain, or ""."""
        ...

    def plans(self, pipeline: Pipeline) -> dict[str, Plan]:
        """The documents that the source makes now."""
        ...

    def events(self, document: str) -> Iterator[str]:
        """The source's events of a document, a line each, in order."""
        ...

    def strike(self, strike: Strike, choices: Random) -> None:
        """Do a fault that is the feed's own, and mend it."""
        ...

    def mend(self) -> None:
        """Let go on what a fault of a server has stopped."""
        ...

    def end(self) -> None:
        """Remove what takes room on the servers."""
        ...


def committed(pipeline: Pipeline, group: str, topics: Sequence[str], waiting: Waiting) -> str:
    """Wait for the job's commit of all that the topics hold; what was waited for in vain, or ""."""
    kafka = pipeline.kafka
    with reading(kafka, group) as consumer:
        goal = goals(consumer, kafka, topics)
        while (left := behind(consumer, kafka, goal).events) != 0:
            if not waiting(left):
                return f"the job has not committed {left or 'some'} events"
            time.sleep(_LOOK_EVERY_S)
    return ""


def short(value: Any) -> Any:
    """A value of a row, no longer than a line bears."""
    return value if not isinstance(value, str) or len(value) < 40 else f"{value[:24]}… ({len(value)})"
