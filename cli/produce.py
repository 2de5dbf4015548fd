"""`freshet produce`: change events into Kafka topics, from a recording or made up."""

from __future__ import annotations

import gzip
import re
import time
from collections.abc import Iterator
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli.texts import texts
from connectors import kafka_producer
from connectors.kafka_producer import Sent, ensure_topics
from core.errors import ConfigError
from core.recordings import Record, read_recording
from core.workload import Article, Step, history, source_of, told, truth_csv

PARTITIONS = 3
"""Of a topic made for generated events."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(duration: str) -> float:
    """The seconds of a duration such as 500ms, 30s, 5m or 1h. Raises typer.BadParameter where it is none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", duration.strip())
    if not match or not float(match[1]):
        raise typer.BadParameter(f"{duration!r} is no duration: write 500ms, 30s, 5m or 1h")
    return float(match[1]) * _UNITS[match[2]]


def produce(
    bootstrap_servers: Annotated[str, typer.Option(help="Kafka servers to write to, HOST:PORT[,HOST:PORT].")],
    recording: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A recording to replay: .jsonl or .jsonl.gz.")
    ] = None,
    topic: Annotated[
        str | None, typer.Option(help="Generate events for this topic, named prefix.schema.table.")
    ] = None,
    events: Annotated[int | None, typer.Option(min=1, help="How many changes to generate.")] = None,
    duration: Annotated[
        float | None, typer.Option(parser=seconds_of, metavar="TIME", help="How long to generate: 500ms, 30s, 5m, 1h.")
    ] = None,
    rate: Annotated[float, typer.Option(min=0, help="Changes a second to generate; 0: as fast as possible.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed makes the same changes.")] = 0,
    truth: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Where to write the generated table's final rows, as CSV.")
    ] = None,
) -> None:
    """Write change events to Kafka: a recording as it was, or generated inserts, edits and deletes of real texts."""
    if (recording is None) == (topic is None):
        raise typer.BadParameter("give either --recording FILE or --topic NAME")
    if recording is not None:
        generating = {"--events": events, "--duration": duration, "--truth": truth, "--rate": rate or None}
        unused = [option for option, value in generating.items() if value is not None]
        if unused:
            raise typer.BadParameter(f"{', '.join(unused)} only go with --topic: a recording says itself what it holds")
        sent = replay(bootstrap_servers, recording)
    else:
        if events is None and duration is None:
            raise typer.BadParameter("say how much to generate: --events N, --duration TIME, or both")
        rows: dict[int, Article] = {}
        assert topic is not None
        sent = generate(bootstrap_servers, topic, rows, seed, rate, events, duration)
        if truth is not None:
            truth.write_text(truth_csv(rows), encoding="utf-8", newline="")
            typer.echo(f"{len(rows):,} rows are the truth, in {truth}")
    typer.echo(_summary(sent))


def replay(bootstrap_servers: str, recording: Path) -> Sent:
    """Write a recording's messages to their topics, made where they are missing.

    Nothing is sent unless every line is good.
    Raises DecodeError for a malformed line, Unavailable and ConfigError as `connectors.kafka_producer` does.
    """
    highest: dict[str, int] = {}
    total = 0
    for record in _recorded(recording):
        highest[record.topic] = max(highest.get(record.topic, 0), record.partition or 0)
        total += 1
    if not total:
        raise ConfigError([f"--recording {recording} holds no events"])
    # a topic's highest partition may have had no event: one connector gives all its topics as many
    partitions = max(highest.values()) + 1
    ensure_topics(bootstrap_servers, dict.fromkeys(highest, partitions))
    return _send(bootstrap_servers, _recorded(recording), total)


def _recorded(recording: Path) -> Iterator[Record]:
    with _open(recording) as lines:
        try:
            yield from read_recording(lines, str(recording))
        except (gzip.BadGzipFile, EOFError) as error:
            raise ConfigError(
                [f"--recording {recording} is no whole gzip file ({error}): record or copy it again"]
            ) from error


def _open(recording: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(recording, "rb") if recording.suffix == ".gz" else recording.open("rb")


def generate(
    bootstrap_servers: str,
    topic: str,
    rows: dict[int, Article],
    seed: int = 0,
    rate: float = 0,
    events: int | None = None,
    duration: float | None = None,
) -> Sent:
    """Write generated changes until there are `events` of them or `duration` seconds have passed.

    `rate` is in changes a second, 0 as fast as possible. `rows` ends as the table's truth. A delete is two messages.
    Raises Unavailable and ConfigError as `connectors.kafka_producer` does, ConfigError for a topic that is not
    prefix.schema.table.
    """
    source_of(topic, seed)
    ensure_topics(bootstrap_servers, {topic: PARTITIONS})
    articles = [(text.title, text.paragraphs) for text in texts()]
    steps = islice(_paced(history(articles, topic, seed, time.time_ns), rate, duration), events)
    return _send(bootstrap_servers, told(steps, rows), events)


def _paced(steps: Iterator[Step], rate: float, duration: float | None) -> Iterator[Step]:
    # each step is due at a fixed time from the start, so that a late one doesn't slow the rate
    start = time.monotonic()
    number = 0
    while True:
        due = number / rate if rate else 0.0
        elapsed = time.monotonic() - start
        if duration is not None and max(due, elapsed) >= duration:
            return
        if due > elapsed:
            time.sleep(due - elapsed)
        yield next(steps)
        number += 1


def _send(bootstrap_servers: str, records: Iterator[Record], total: int | None) -> Sent:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("events", total=total)
        return kafka_producer.produce(bootstrap_servers, records, lambda record: progress.advance(task))


def _summary(sent: Sent) -> str:
    speed = sent.events / sent.seconds if sent.seconds else 0.0
    return (
        f"{sent.events:,} events into {sent.topics:,} {'topic' if sent.topics == 1 else 'topics'}, "
        f"{sent.bytes:,} bytes, {speed:,.0f} events/s"
    )
