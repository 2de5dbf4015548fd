"""Generated changes, at the pace that is asked for, into what a change can be written to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from math import ceil, inf
from typing import TypeVar

from connectors.kafka.producer import Sent, ensure_topics, produce
from core.formats.recordings import Record
from operations import reporting
from workloads import conversations
from workloads.articles import Article, Step, followed, history, source_of
from workloads.customers import TABLES, Truth, customers
from workloads.feeds import Feed
from workloads.texts import texts

PARTITIONS = 3
"""Of a topic made for generated events."""

TABLE = "made.public.articles"
"""What changes are of that aren't in a topic of such a name: the table `public.articles`."""

_AT_ONCE = 200
_HALF = 500
"""Where nobody knows how many events there will be, the model of conversations changes behind so many."""

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Amount:
    """How much to generate: until there are `events` changes or `duration` seconds have passed.

    rate  changes a second; 0: as fast as possible
    seed  the same makes the same changes
    """

    events: int | None = None
    duration: float | None = None
    rate: float = 0
    seed: int = 0


@contextmanager
def generated(
    amount: Amount, rows: dict[int, Article], bar: reporting.Bar, topic: str = TABLE
) -> Iterator[Iterator[list[Step]]]:
    """Changes of an empty table, each time as many as are due, shown on a bar; `rows` ends as its truth."""
    articles = [(text.title, text.paragraphs) for text in texts()]
    steps = followed(history(articles, topic, amount.seed, time.time_ns), rows)
    with bar() as step:
        yield _counted(_due(steps, amount), amount, step)


def _counted(batches: Iterator[list[Made]], amount: Amount, step: reporting.Step) -> Iterator[list[Made]]:
    done, total = 0, amount.events or 0
    step("changes", done, total)
    for batch in batches:
        yield batch
        done += len(batch)
        step("changes", done, total)


def _due(steps: Iterator[Made], amount: Amount) -> Iterator[list[Made]]:
    # each step is due at a fixed time from the start, so that a late one doesn't slow the rate
    start = time.monotonic()
    number = 0
    wanted = _wanted(amount)
    while number < wanted:
        elapsed = time.monotonic() - start
        due = number / amount.rate if amount.rate else 0.0
        over = amount.duration is not None and elapsed >= amount.duration
        if over and not amount.rate:
            return
        if due > elapsed:
            time.sleep(due - elapsed)
        ready = int(max(due, elapsed) * amount.rate) + 1 - number if amount.rate else _AT_ONCE
        batch = list(islice(steps, int(max(1, min(ready, wanted - number, _AT_ONCE)))))
        yield batch
        number += len(batch)
        if over:
            # what was due just before the end has come too; a rate that nobody can keep doesn't prolong it further
            return


def _wanted(amount: Amount) -> float:
    """How many steps there are at the most: those that are due before the duration is over."""
    most = inf if amount.events is None else amount.events
    if amount.duration is None or not amount.rate:
        return most
    return min(most, ceil(amount.duration * amount.rate - 1e-9))


def to_topic(
    bootstrap_servers: str, topic: str, feed: Feed, amount: Amount, rows: dict[int, Article], bar: reporting.Bar
) -> Sent:
    """Write changes to a topic, made where it is missing. Of Debezium's, a delete is two messages.

    Raises Unavailable and ConfigError as `connectors.kafka.producer` does, ConfigError for a topic that is not
    prefix.schema.table.
    """
    source_of(topic, amount.seed)
    ensure_topics(bootstrap_servers, {topic: PARTITIONS})
    with generated(amount, rows, bar, topic) as batches:
        return produce(bootstrap_servers, _records(feed, topic, batches))


def customers_to_topics(bootstrap_servers: str, prefix: str, amount: Amount, truth: Truth, bar: reporting.Bar) -> Sent:
    """Write what systems hear of made-up people to topics `prefix.public.TABLE`; `truth` ends as whose each row is.

    A key change is two messages, and a delete is followed by its tombstone. Raises as `to_topic` does.
    """
    ensure_topics(bootstrap_servers, {f"{prefix}.public.{table}": PARTITIONS for table in TABLES})
    steps = customers(prefix, amount.seed, time.time_ns, truth)
    with bar() as step:
        batches = _counted(_due(steps, amount), amount, step)
        return produce(bootstrap_servers, (record for batch in batches for records in batch for record in records))


def conversations_to_topic(
    bootstrap_servers: str, prefix: str, amount: Amount, truth: conversations.Truth, bar: reporting.Bar
) -> Sent:
    """Write made-up conversations and what is thought of them to the topic `prefix.conversations`.

    `truth` ends as what is thought of each answer in the end. The model changes half-way through what is asked for.
    Raises as `to_topic` does.
    """
    topic = f"{prefix}.conversations"
    ensure_topics(bootstrap_servers, {topic: PARTITIONS})
    wanted = _wanted(amount)
    half = _HALF if wanted == inf else int(wanted) // 2
    steps = conversations.conversations(topic, half, amount.seed, time.time_ns, truth)
    with bar() as step:
        batches = _counted(_due(steps, amount), amount, step)
        return produce(bootstrap_servers, (record for batch in batches for records in batch for record in records))


def _records(feed: Feed, topic: str, batches: Iterator[list[Step]]) -> Iterator[Record]:
    for batch in batches:
        yield from feed(topic, batch)
