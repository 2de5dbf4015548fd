"""`freshet verify`: is every store equal to the source?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer

from connectors.kafka import source as kafka
from connectors.kafka.feed import group_of, has_schemas, tail
from connectors.kafka.topics import reading
from connectors.postgres.rows import Reselect
from core.config.pipeline import Pipeline
from core.config.source import Kafka
from core.errors import ConfigError
from core.stores.contract import VectorStore
from core.stores.verification import Difference, Kind, least_cosine
from operations.log_watch import refuse_in_another_log
from operations.owning import otherwise
from operations.reporting import Bar
from operations.servers import stores
from operations.verify.one_pass import Findings, Pass, Suspect, watched
from operations.verify.profiles import NO_REPAIR, ProfilesPass
from operations.verify.repair import Mender
from operations.verify.source import Opened, check, end_of, is_repairable, opened, progress_of
from operations.verify.stream import Progress
from udfs.embedding.embedder import embedder
from udfs.embedding.tokenizing import document_chunker

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


@dataclass(frozen=True, slots=True)
class Compared:
    """The result of a comparison.

    findings  what differs; its tables are those of `tallies`
    unasked   whether nobody could ask how far the job is, as only Java clients can log in to its Kafka
    note      what else isn't known of the stream, "" where nothing
    left      why some of what differs wasn't mended
    sent      how many documents were sent events that mend them
    """

    findings: Findings
    unasked: bool = False
    note: str = ""
    left: tuple[str, ...] = ()
    sent: int = 0

    @property
    def equal(self) -> bool:
        """Whether every store equals its source, and something was compared of each table that has rows."""
        return not (self.findings.kinds or fruitless(self.findings))


@dataclass(frozen=True, slots=True)
class Tally:
    """A table in a store: how many rows it has, how many of them are right there, and its differences by kind.

    `wrong` where there are any, or nothing was compared.
    """

    table: str
    store: str
    rows: int
    ok: int
    kinds: dict[str, int]
    wrong: bool


def sample_of(text: str) -> int | None:
    """What --sample says: a number, or `all`, which is None. Raises ConfigError."""
    if text == "all":
        return None
    if not text.isdecimal():
        raise ConfigError([f"--sample is {text!r}: it must be a number of documents, or all"])
    return int(text)


def verify(pipeline: Pipeline, options: Options, bar: Bar) -> Iterator[Compared]:
    """Compare, and mend if asked: then compare again. What the last one found is written as JSON where that is asked.

    Raises ConfigError where the pipeline names no source that can be read, the source lacks a table, or what it has
    can't be mended, Unavailable where a server is away.
    """
    check(pipeline)
    if options.repair and (misfit := COMPARISONS[pipeline.kind].no_repair):
        raise ConfigError([misfit])
    if options.repair and not is_repairable(pipeline):
        raise ConfigError([_NO_REPAIR])
    if options.repair:
        refuse_in_another_log(pipeline, "--repair would mend nothing")
    with _asked(pipeline) as (consumer, schemas):
        found = _pass(pipeline, options, consumer, schemas, bar)
        yield replace(found, unasked=consumer is None and pipeline.reads_kafka)
        if found.sent:
            found = _pass(pipeline, replace(options, repair=False), consumer, schemas, bar)
            yield found
    if options.json_file is not None:
        options.json_file.write_text(json.dumps(as_json(found.findings), indent=2) + "\n", encoding="utf-8")


@contextmanager
def _asked(pipeline: Pipeline) -> Iterator[tuple[Consumer | None, bool]]:
    """A consumer of the job's group, and whether events tell their values' types, as Debezium's with a schema do.

    None where the source isn't Kafka, or only Java clients can log in. Other formats' values are as people write them.
    """
    of_debezium, source = pipeline.events.of_debezium, pipeline.source.chosen
    if not isinstance(source, Kafka) or kafka.client_options(source) is None:
        yield None, not of_debezium
        return
    with reading(source, group_of(pipeline)) as consumer:
        yield (
            consumer,
            not of_debezium or any(has_schemas(tail(consumer, source, topic)) for topic in kafka.check(source)),
        )


@dataclass(frozen=True, slots=True)
class Sides:
    """What a comparison has at hand, connected when first asked.

    fresh     the source, for rows as they are at each look
    frozen    the source, for one state of all of it
    of_vectors  the pipeline's stores of vectors
    consumer  of the job's group; None where nobody can ask how far the job is
    stream    who says when the job has passed what a look saw
    step      how far the comparison is: what it is at, how many of how many
    """

    pipeline: Pipeline
    fresh: Opened
    frozen: Opened
    of_vectors: Mapping[str, VectorStore]
    consumer: Consumer | None
    stream: Progress
    step: Callable[[str, int, int], object]


def _pass(pipeline: Pipeline, options: Options, consumer: Consumer | None, schemas: bool, bar: Bar) -> Compared:
    fresh, frozen = (opened(pipeline, schemas) for _ in range(2))
    of_vectors = stores(pipeline)
    try:
        fresh.reach()
        with bar() as step:
            stream = progress_of(pipeline, fresh, consumer, options.wait_s, lambda what: step(what, 0, 0))
            sides = Sides(pipeline, fresh, frozen, of_vectors, consumer, stream, step)
            return COMPARISONS[pipeline.kind].run(sides, options)
    finally:
        for store in of_vectors.values():
            store.close()
        fresh.close()
        frozen.close()


def _documents(sides: Sides, options: Options) -> Compared:
    pipeline, fresh, stream, embedding = sides.pipeline, sides.fresh, sides.stream, sides.pipeline.embedding
    mender = None
    if options.repair and sides.consumer is not None and isinstance(fresh, Reselect):
        mender = Mender(pipeline, fresh, sides.consumer, stream, sides.of_vectors)
    chunkers = {table: document_chunker(embedding, chunk) for table, chunk in pipeline.job.chunks.items()}
    tables = {each.spec.table: each for each in watched(pipeline, fresh, chunkers)}
    sides.step(f"loading the model {embedding.model}", 0, 0)
    ask, least = partial(end_of, pipeline, fresh), least_cosine(embedding.rounded)
    forgetful = frozenset(name for name, each in pipeline.store.targets.items() if each.forgets)
    given = (fresh, sides.of_vectors, embedder(embedding), stream, sides.step, mender or _leave, ask, least)
    run = Pass(tables, *given, forgetful)
    findings = run.run(sides.frozen, options.sample)
    findings.made = otherwise(pipeline, sides.of_vectors)
    if mender is None:
        return Compared(findings, note=stream.note)
    left = tuple(dict.fromkeys((*mender.notes, *_beyond(findings))))
    return Compared(findings, note=stream.note, left=left, sent=mender.sent)


def _profiles(sides: Sides, options: Options) -> Compared:
    findings = ProfilesPass(sides.pipeline, sides.frozen, sides.stream, sides.step).run(options.sample)
    return Compared(findings, note=sides.stream.note)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the stores of a kind of job are compared with its source.

    no_repair  why none of what differs can be mended; "" where it can
    """

    run: Callable[[Sides, Options], Compared]
    no_repair: str = ""


COMPARISONS: Mapping[str, Comparison] = {
    "documents": Comparison(_documents),
    "profiles": Comparison(_profiles, NO_REPAIR),
}
"""By the names of the pipeline file's parts, as `core.config.jobs.KINDS`."""


def _beyond(findings: Findings) -> Iterator[str]:
    """What no repair mends."""
    for (table, store, kind), count in sorted(findings.kinds.items()):
        if kind is Kind.FOREIGN:
            yield (
                f"{count:,} foreign in {store}, of {table}: the pipeline names no such table, so nothing tells what is "
                "right: name it below documents, or delete them by hand"
            )


def _leave(stand: Sequence[tuple[Suspect, Difference]]) -> None:
    """Mend nothing."""


def fruitless(findings: Findings) -> list[str]:
    """The tables that have rows, none of which makes a document: of them nothing was compared."""
    return [table for table, count in findings.rows.items() if count and findings.barren[table] == count]


def tallies(findings: Findings) -> list[Tally]:
    """One a table and store; those of foreign tables last."""
    named = dict.fromkeys([*findings.compared, *((table, store) for table, store, _ in sorted(findings.kinds))])
    return [_tally(findings, table, store) for table, store in named]


def _tally(findings: Findings, table: str, store: str) -> Tally:
    kinds = {kind.value: findings.kinds[table, store, kind] for kind in Kind}
    rows = findings.rows[table]
    lost = kinds[Kind.MISSING] + kinds[Kind.STALE] + findings.barren[table] + findings.let_go[table, store]
    wrong = any(kinds.values()) or table in fruitless(findings)
    return Tally(table, store, rows, max(0, rows - lost), kinds, wrong)


def as_json(findings: Findings) -> dict[str, Any]:
    """What was found, for programs; at most the first 1,000 differences."""
    return {
        "equal": Compared(findings).equal,
        "tables": [
            {"table": each.table, "store": each.store, "rows": each.rows, "ok": each.ok, **each.kinds}
            for each in tallies(findings)
        ],
        "differences": [
            {"store": store, "document": each.document_id, "kind": each.kind.value, "what": each.what}
            for store, each in findings.listed
        ],
        "sampled": findings.sampled,
        "vectored": findings.vectored,
        "moving": findings.moving,
        "without_document": dict(findings.barren),
        "lag": findings.lag,
        "let_go": [{"table": table, "store": store, "rows": rows} for (table, store), rows in findings.let_go.items()],
        "made_otherwise": findings.made,
    }
