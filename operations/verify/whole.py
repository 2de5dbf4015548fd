"""`freshet verify`: is every store equal to the source?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid
from rich.text import Text

from connectors.kafka import source as kafka
from connectors.kafka.feed import group_of, has_schemas, tail
from connectors.kafka.topics import reading
from connectors.postgres.rows import Reselect
from core.config.pipeline import Pipeline
from core.errors import ConfigError, brief
from core.stores.verification import Difference, Kind
from operations.log_watch import refuse_in_another_log
from operations.owning import otherwise
from operations.plain import plain
from operations.servers import stores
from operations.verify.one_pass import Findings, Pass, Suspect, watched
from operations.verify.profiles import NO_REPAIR, ProfilesPass
from operations.verify.repair import Mender
from operations.verify.source import check, end_of, is_repairable, opened, progress_of
from operations.verify.stream import Progress as Way
from udfs.embedding.embedder import embedder
from udfs.embedding.tokenizing import document_chunker

_SHOWN = 20
_NO_REPAIR = (
    "--repair sends events as Debezium writes them: it needs source.kafka, format: debezium and reselect.postgres. "
    "A change of the row in the source mends its document too"
)


@dataclass(frozen=True, slots=True)
class Options:
    """How to verify: how many documents with their vectors (None: all), whether to mend, how long to wait."""

    sample: int | None = 200
    repair: bool = False
    wait_s: float = 60.0
    json_file: Path | None = None


def sample_of(text: str) -> int | None:
    """What --sample says: a number, or `all`, which is None. Raises ConfigError."""
    if text == "all":
        return None
    if not text.isdecimal():
        raise ConfigError([f"--sample is {text!r}: it must be a number of documents, or all"])
    return int(text)


def verify(pipeline: Pipeline, options: Options, console: Console) -> int:
    """Compare, show, and mend if asked; the exit code: 0 only where no difference is left.

    Raises ConfigError where the pipeline names no source that can be read, the source lacks a table, or what it has
    can't be mended, Unavailable where a server is away.
    """
    check(pipeline)
    if options.repair and pipeline.profiles is not None:
        raise ConfigError([NO_REPAIR])
    if options.repair and not is_repairable(pipeline):
        raise ConfigError([_NO_REPAIR])
    if options.repair:
        refuse_in_another_log(pipeline, "--repair would mend nothing")
    with _asked(pipeline, console) as (consumer, schemas):
        findings, sent = _pass(pipeline, options, consumer, schemas, console)
        show(findings, pipeline, console)
        if sent:
            console.print(f"\nsent what mends {sent:,} {'document' if sent == 1 else 'documents'}; verifying again")
            again = Options(options.sample, False, options.wait_s)
            findings, _ = _pass(pipeline, again, consumer, schemas, console)
            show(findings, pipeline, console)
    if options.json_file is not None:
        options.json_file.write_text(json.dumps(as_json(findings), indent=2) + "\n", encoding="utf-8")
    return 1 if findings.kinds or fruitless(findings) else 0


@contextmanager
def _asked(pipeline: Pipeline, console: Console) -> Iterator[tuple[Consumer | None, bool]]:
    """A consumer of the job's group, and whether events tell their values' types, as Debezium's with a schema do.

    None where the source isn't Kafka, or only Java clients can log in. Other formats' values are as people write them.
    """
    of_debezium = pipeline.format.debezium is not None
    source = pipeline.source.kafka
    if source is None:
        yield None, not of_debezium
        return
    if kafka.client_options(source) is None:
        console.print("[yellow]source.kafka: only Java clients can log in[/]; how far the job is can't be asked")
        yield None, not of_debezium
        return
    with reading(source, group_of(pipeline)) as consumer:
        yield (
            consumer,
            not of_debezium or any(has_schemas(tail(consumer, source, topic)) for topic in kafka.check(source)),
        )


def _pass(
    pipeline: Pipeline, options: Options, consumer: Consumer | None, schemas: bool, console: Console
) -> tuple[Findings, int]:
    embedding = pipeline.embedding
    fresh, frozen = (opened(pipeline, schemas) for _ in range(2))
    chunkers = {name: document_chunker(embedding, document.chunk) for name, document in pipeline.documents.items()}
    of_pipeline = stores(pipeline)
    try:
        fresh.reach()
        with _progress(console) as bar:
            stream = progress_of(pipeline, fresh, consumer, options.wait_s, bar.say)
            mender = None
            if options.repair and consumer is not None and isinstance(fresh, Reselect):
                mender = Mender(pipeline, fresh, consumer, stream, of_pipeline)
            if pipeline.profiles is not None:
                findings = ProfilesPass(pipeline, frozen, stream, bar.step).run(options.sample)
                return _noted(findings, stream, console), 0
            tables = {each.spec.table: each for each in watched(pipeline, fresh, chunkers)}
            ask = partial(end_of, pipeline, fresh)
            bar.say(f"Loading {embedding.model}")
            run = Pass(tables, fresh, of_pipeline, embedder(embedding), stream, bar.step, mender or _leave, ask)
            findings = run.run(frozen, options.sample)
            findings.made = otherwise(pipeline, of_pipeline)
    finally:
        for store in of_pipeline.values():
            store.close()
        fresh.close()
        frozen.close()
    _noted(findings, stream, console)
    for note in findings.made:
        console.print(Text(plain(note), "yellow"), soft_wrap=True)
    if mender is not None:
        mender.notes |= dict.fromkeys(_beyond(findings))
    for note in mender.notes if mender else ():
        console.print(Text(f"not mended: {plain(note)}", "yellow"))
    return findings, mender.sent if mender else 0


def _beyond(findings: Findings) -> Iterator[str]:
    """What no repair mends."""
    for (table, store, kind), count in sorted(findings.kinds.items()):
        if kind is Kind.FOREIGN:
            yield (
                f"{count:,} foreign in {store}, of {table}: the pipeline names no such table, so nothing tells what is "
                "right: name it below documents, or delete them by hand"
            )


def _noted(findings: Findings, stream: Way, console: Console) -> Findings:
    if stream.note:
        console.print(f"[yellow]{plain(stream.note)}[/]")
    return findings


def _leave(stand: Sequence[tuple[Suspect, Difference]]) -> None:
    """Mend nothing."""


class _Bar:
    """The one line of progress: what is done now."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None)

    def step(self, label: str, done: int, total: int) -> None:
        self._progress.update(self._task, description=plain(label), completed=done, total=max(total, done) or None)

    def say(self, what: str) -> None:
        self.step(what, 0, 0)


@contextmanager
def _progress(console: Console) -> Iterator[_Bar]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Bar(progress)


def show(findings: Findings, pipeline: Pipeline, console: Console) -> None:
    """The counts by table and store, the first differences, and what could not be known."""
    grid = Grid("table", "store", "rows", "ok", *Kind, box=None, header_style="bold")
    for line in _lines(findings):
        cells = [line["table"], line["store"], *(f"{line[name]:,}" for name in ("rows", "ok", *Kind))]
        grid.add_row(*(Text(plain(cell), "red" if line["wrong"] else "") for cell in cells))
    console.print(grid)
    for store, difference in findings.listed[:_SHOWN]:
        text = f"{difference.kind} in {store}: {plain(difference.document_id)}: {plain(difference.what)}"
        console.print(Text(brief(text, 500)), soft_wrap=True)
    total = findings.kinds.total()
    if total > _SHOWN:
        console.print(f"… and {total - _SHOWN:,} more")
    for table, count in findings.barren.items():
        why = f"{count:,} rows of {table} make no document: {findings.reason}"
        console.print(Text(plain(why), "yellow"), soft_wrap=True)
    if findings.moving:
        console.print(f"[yellow]{findings.moving:,} documents changed at each look[/]: verify again when it is quieter")
    if findings.lag:
        console.print(
            Text(f"the stream lags: {plain(findings.lag)}. What differs may be on its way", "yellow"), soft_wrap=True
        )
    if empty := fruitless(findings):
        none = " and ".join(f"none of the {findings.rows[table]:,} rows of {table}" for table in empty)
        why = f": {none} makes a document. Correct the pipeline file, as `freshet check` says"
        console.print(Text("nothing to compare", "red") + Text(plain(why), ""), soft_wrap=True)
    elif not total:
        names = sorted({store for _, store in findings.compared})
        equal = f"{' and '.join(names)} {'equals' if len(names) == 1 else 'equal'} the source"
        console.print(f"[green]no difference[/]: {equal}")
    if findings.vectored:
        console.print(_vectors(findings), soft_wrap=True)


def fruitless(findings: Findings) -> list[str]:
    """The tables that have rows, none of which makes a document: of them nothing was compared."""
    return [table for table, count in findings.rows.items() if count and findings.barren[table] == count]


def _vectors(findings: Findings) -> str:
    """How many vectors were compared, so that nobody takes a sample for all of them."""
    if findings.sampled >= findings.vectored:
        return f"vectors: all {findings.vectored:,} documents compared"
    return (
        f"vectors: a sample of {findings.sampled:,} of {findings.vectored:,} documents compared; "
        "--sample all compares every one"
    )


def _lines(findings: Findings) -> list[dict[str, Any]]:
    """A line a table and store; those of foreign tables last."""
    named = dict.fromkeys([*findings.compared, *((table, store) for table, store, _ in sorted(findings.kinds))])
    return [_line(findings, table, store) for table, store in named]


def _line(findings: Findings, table: str, store: str) -> dict[str, Any]:
    counts = {kind.value: findings.kinds[table, store, kind] for kind in Kind}
    rows = findings.rows[table]
    lost = counts[Kind.MISSING] + counts[Kind.STALE] + findings.barren[table]
    return {
        "table": table,
        "store": store,
        "rows": rows,
        "ok": max(0, rows - lost),
        **counts,
        "wrong": any(counts.values()) or table in fruitless(findings),
    }


def as_json(findings: Findings) -> dict[str, Any]:
    """What was found, for programs; at most the first 1,000 differences."""
    return {
        "equal": not (findings.kinds or fruitless(findings)),
        "tables": [{name: value for name, value in line.items() if name != "wrong"} for line in _lines(findings)],
        "differences": [
            {"store": store, "document": each.document_id, "kind": each.kind.value, "what": each.what}
            for store, each in findings.listed
        ],
        "sampled": findings.sampled,
        "vectored": findings.vectored,
        "moving": findings.moving,
        "without_document": dict(findings.barren),
        "lag": findings.lag,
        "made_otherwise": findings.made,
    }
