"""The changes that measurements send: generated histories, and the recorded workload under other tables' names."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from core.change import Change, Event, Position
from core.config.pipeline import Pipeline
from core.documents.step import document_id
from core.formats.debezium import decoding as debezium
from core.formats.recordings import Record, read_recording
from workloads.articles import history
from workloads.texts import Text, texts

RECORDING = Path(__file__).parents[1] / "tests" / "fixtures" / "debezium" / "workload.jsonl.gz"
"""Changes that four connections made to real tables; there in a checkout only."""

SCHEMAS = RECORDING.with_name("articles_schemas.json")
"""The schemas that Kafka Connect's JSON converter puts around the generated table's keys and values, from a topic."""

_RECORDED_TABLE = "documents"


@dataclass(frozen=True, slots=True)
class ChangeRecords:
    """A change's messages (a delete has a tombstone behind it), and the place it leaves its document at."""

    records: tuple[Record, ...]
    document: str
    position: Position


def generated(topic: str, pipeline: Pipeline, count: int, seed: int = 0) -> list[ChangeRecords]:
    """`count` inserts (30 %), edits (60 %) and deletes (10 %) of real articles, in order."""
    articles = [(text.title, text.paragraphs) for text in texts()]
    steps = islice(history(articles, topic, seed, time.time_ns), count)
    return [_change_records(step.records, pipeline) for step in steps]


def with_schemas(backlog: Sequence[ChangeRecords]) -> list[ChangeRecords]:
    """The same changes of the generated table, each key and value with its schema around it, as with schemas on."""
    schemas = json.loads(SCHEMAS.read_bytes())
    key, value = (json.dumps(schemas[name], separators=(",", ":")).encode() for name in ("key", "value"))
    return [
        replace(change, records=tuple(
            replace(each, key=_around(key, each.key), value=_around(value, each.value)) for each in change.records
        ))
        for change in backlog
    ]  # fmt: skip


def _around(schema: bytes, payload: bytes | None) -> bytes | None:
    return None if payload is None else b'{"schema":' + schema + b',"payload":' + payload + b"}"


def recorded(topic: str, pipeline: Pipeline, count: int) -> list[ChangeRecords]:
    """At least `count` changes: the recording's changes of documents, again and again, each time to a table of its own.

    The tables are those of `recorded_tables`; all go to one partition, in the order of the recording's lines.
    """
    with gzip.open(RECORDING, "rb") as lines:
        records = [record for record in read_recording(lines, RECORDING.name) if _of_documents(record)]
    return [
        _change_records(_renamed(group, topic, number), pipeline)
        for number in range(recorded_copies(count))
        for group in _with_tombstones(records)
    ]


def recorded_copies(count: int) -> int:
    """How often the recording must be replayed for `count` changes."""
    return -(-count // recorded_changes())


def recorded_changes() -> int:
    """The recording's changes of documents, tombstones not counted."""
    with gzip.open(RECORDING, "rb") as lines:
        return sum(_of_documents(record) and record.value is not None for record in read_recording(lines, ""))


def recorded_tables(count: int) -> tuple[str, ...]:
    """The tables that `recorded` names, as `schema.table`."""
    return tuple(f"public.{_RECORDED_TABLE}{number}" for number in range(recorded_copies(count)))


def _of_documents(record: Record) -> bool:
    return record.topic.endswith(f".{_RECORDED_TABLE}")


def _with_tombstones(records: Iterable[Record]) -> Iterator[list[Record]]:
    group: list[Record] = []
    for record in records:
        if record.value is not None and group:
            yield group
            group = []
        group.append(record)
    yield group


def _renamed(records: Iterable[Record], topic: str, number: int) -> tuple[Record, ...]:
    old, new = f'"table":"{_RECORDED_TABLE}"'.encode(), f'"table":"{_RECORDED_TABLE}{number}"'.encode()
    return tuple(
        replace(record, topic=topic, partition=0, value=record.value and record.value.replace(old, new))
        for record in records
    )


def _change_records(records: tuple[Record, ...], pipeline: Pipeline) -> ChangeRecords:
    change = change_of(records[0])
    document = document_id(pipeline.documents[change.table].spec(change.table), change)
    return ChangeRecords(records, document, change.position)


def change_of(record: Record) -> Change:
    """The change that a message tells. Raises ChangeError or ValueError where it tells none."""
    headers = {name: value for name, value in record.headers if value is not None}
    change = debezium.decode(Event(record.topic, record.partition or 0, 0, record.key, record.value, headers))
    if not isinstance(change, Change):
        raise ValueError(f"no change but {change}")
    return change


def inserts(topic: str, pipeline: Pipeline, articles: Sequence[Text], seed: int = 0) -> list[ChangeRecords]:
    """One insert of each article, in order."""
    seen: set[int] = set()
    inserted: list[ChangeRecords] = []
    for step in history([(text.title, text.paragraphs) for text in articles], topic, seed, time.time_ns):
        if step.id not in seen:
            seen.add(step.id)
            inserted.append(_change_records(step.records, pipeline))
        if len(inserted) == len(articles):
            return inserted
    raise AssertionError("a history has no end")
