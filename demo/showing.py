"""`freshet demo`: the main job on real servers and real texts, each claim checked while one looks on."""

from __future__ import annotations

import gc
import shutil
import signal
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql
from rich.console import Console

from core.config.file import load
from core.config.pipeline import Pipeline
from core.errors import ConfigError, Unavailable
from demo import debezium, screen, world
from demo.feed import DemoFeed
from demo.stage import Claims, Evidence, Stage, Texts
from flink_jobs.running.jobs import Job
from operations import run
from operations.folder_lock import alone
from operations.job_file import home
from operations.resuming import Beginning
from operations.servers import stores
from stack import local as stack
from stack.local import Extra, Stack
from stack.passfile import from_here
from terminal.hits import show
from terminal.lines import printer
from terminal.plain import shown
from udfs.embedding.contract import Embedder
from udfs.embedding.embedder import embedder

_FOLDER = Path(".freshet") / "demo"
_SNAPSHOT_SECONDS = 240.0
_LOOK_EVERY_S = 0.1
_WARM_UP = "The first question takes longer than the next."


@dataclass(frozen=True, slots=True)
class Show:
    """The demo of one feed.

    servers  that it needs, in words; `extra` those that not every stack has
    there    what the texts are before the job starts
    make     makes them anew, and their pipeline file, in a folder
    """

    servers: str
    extra: Collection[Extra]
    there: str
    make: Callable[[Stack, Path], Texts]
    claims: Claims[Any]


def show_of(feed: DemoFeed) -> Show:
    """The demo of a feed."""
    if feed is DemoFeed.DEBEZIUM:
        servers = "PostgreSQL, Kafka and Debezium, on this machine"
        return Show(servers, (), "the rows that are there already", debezium.make, debezium.CLAIMS)
    servers = "PostgreSQL, Kafka and what plays AWS, on this machine"
    from demo import (
        dynamodb,  # both need the extra `aws`
        s3,
    )

    if feed is DemoFeed.S3:
        return Show(servers, (Extra.AWS,), "the objects that are there already", s3.make, s3.CLAIMS)
    return Show(servers, (Extra.AWS,), "the items that are there already", dynamodb.make, dynamodb.CLAIMS)


@dataclass(slots=True)
class _Clock:
    """How long each part took, in seconds."""

    lap_started: float = field(default_factory=time.perf_counter)
    laps: list[tuple[str, float]] = field(default_factory=list)

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps.append((name, now - self.lap_started))
        self.lap_started = now

    def all(self) -> list[tuple[str, float]]:
        # since the process began: loading Python's modules is waited for too
        return [*self.laps, ("in all", time.time() - psutil.Process().create_time())]


def demo(console: Console, feed: DemoFeed, leave: bool, answering_model: str | None = None) -> int:
    """Run the demo in the current folder; the command's exit code, 0 only where every claim held.

    `leave` ends it after the claims, with a summary; else it goes on with a prompt to search until Ctrl-C.
    `answering_model` is the address of one, for the chat alone; None: a small one is installed.
    Raises FreshetError where the stack, the connector or the job doesn't come up, ConfigError where a demo
    answers nothing by a model.
    """
    if feed is not DemoFeed.CHAT and answering_model is not None:
        raise ConfigError([f"--answering-model is for freshet demo {DemoFeed.CHAT}, not for {feed}"])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    refusal = f"another demo runs in {_FOLDER}: end it first, or start from another folder"
    with alone(_FOLDER / "lock", refusal):
        if feed is DemoFeed.PROFILES:
            from demo import profiles  # needs the extra `profiles`

            return profiles.play(console, _FOLDER, leave)
        if feed is DemoFeed.FEEDBACK:
            from demo.feedback import showing as feedback

            return feedback.play(console, _FOLDER, leave)
        if feed is DemoFeed.CHAT:
            from demo.chat import showing as chat  # needs the extras `profiles` and `serve`

            return chat.play(console, _FOLDER, leave, answering_model)
        return _play(console, show_of(feed), leave)


@dataclass(frozen=True, slots=True)
class _Play:
    """A demo whose job runs."""

    console: Console
    show: Show
    clock: _Clock
    texts: Texts
    pipeline: Pipeline
    job: Job


def _play(console: Console, show: Show, leave: bool) -> int:
    clock = _Clock()
    screen.section(console, show.servers)
    with ThreadPoolExecutor(2) as threads:
        # Loading torch takes seconds; the servers' starts leave time for it.
        loading = threads.submit(embedder, world.MODEL)
        with console.status("starting the servers"):
            servers = stack.up(Path.cwd(), lambda line: console.print(f"  [dim]{shown(line)}[/]"), extra=show.extra)
            at = [from_here(servers.postgres.dsn), servers.kafka.bootstrap_servers]
            at += [servers.aws.endpoint] if show.extra and servers.aws is not None else []
            console.print(f"  run at {shown(', '.join(at[:-1]))} and {at[-1]}")
            clock.lap("servers")
            texts = show.make(servers, _FOLDER)
        with closing(texts):
            coming = threads.submit(texts.begin)
            screen.section(console, "The pipeline")
            screen.pipeline_file(console, texts.world.file)
            pipeline = load(texts.world.file)
            play = _Play(console, show, clock, texts, pipeline, _start(pipeline, console))
            try:
                coming.result()
                clock.lap("texts and job")
                claims = _perform(play, loading, leave)
            finally:
                _stop(play)
    if leave:
        screen.ended(console, claims, clock.all())
    _tell_more(play)
    return 0 if screen.held(claims) else 1


def _start(pipeline: Pipeline, console: Console) -> Job:
    shutil.rmtree(home(pipeline), ignore_errors=True)
    with console.status("starting Flink"):
        run.prepare(pipeline, printer(console))
        # Java's objects that another thread lets go of would open a second connection, and so a second thread of the
        # JVM's, in which Flink's planner knows nothing of the first.
        gc.disable()
        try:
            return run.start(pipeline, printer(console), Beginning(without_state=True))
        finally:
            gc.enable()


def _perform(play: _Play, loading: Future[Embedder], leave: bool) -> list[tuple[str, Evidence]]:
    console, dsn = play.console, play.texts.world.dsn
    with (
        psycopg.connect(dsn, autocommit=True) as chunks_at,
        closing(stores(play.pipeline)["pgvector"]) as store,
    ):
        screen.section(console, f"Snapshot: {play.show.there}")
        _snapshot(play, chunks_at)
        play.clock.lap("snapshot")
        stage = Stage(play.texts, play.job, chunks_at, store, loading.result())
        console.print(f"  {stage.model.describe()}")
        stage.ask(stage.model.embed([_WARM_UP]))
        claims = screen.claims(console, play.show.claims, stage, "checking")
        play.clock.lap("claims")
        if not leave:
            _prompt(play, stage)
    return claims


def _snapshot(play: _Play, chunks_at: psycopg.Connection[Any]) -> None:
    """Wait until every text is in the store; the speed is measured from the first chunk seen to the last."""
    total = len(world.articles()) + 1
    deadline = time.monotonic() + _SNAPSHOT_SECONDS
    first: tuple[float, int] | None = None
    documents = chunks = 0
    with screen.embedding(play.console) as progress:
        task = progress.add_task("waiting for the first one", total=total, speed="")
        while documents < total:
            _still(play.job, deadline, documents, total)
            documents, chunks = _count(chunks_at, play.texts.world.table)
            if chunks:
                first = first or (time.perf_counter(), chunks)
                progress.update(task, description="embedding", completed=documents, speed=_speed(first, chunks))
            time.sleep(_LOOK_EVERY_S)
    play.console.print(f"  {documents} documents are {chunks} chunks in the store{_speed(first, chunks)}")


def _still(job: Job, deadline: float, documents: int, total: int) -> None:
    if time.monotonic() > deadline or job.ended():
        why = job.progress().failure or "no failure is known"
        raise Unavailable(f"the job wrote {documents} of {total} documents, then no more ({why}); see {_FOLDER.parent}")


def _count(chunks_at: psycopg.Connection[Any], table: sql.Identifier) -> tuple[int, int]:
    query = sql.SQL("SELECT count(DISTINCT document_id), count(*) FROM {}").format(table)
    return chunks_at.execute(query).fetchone() or (0, 0)


def _speed(first: tuple[float, int] | None, chunks: int) -> str:
    if first is None or chunks == first[1]:
        return ""
    return f", {(chunks - first[1]) / (time.perf_counter() - first[0]):.0f} embeddings a second"


def _prompt(play: _Play, stage: Stage[Any]) -> None:
    console = play.console
    screen.section(console, "Ask it yourself")
    console.print(
        f"The job goes on: {shown(play.texts.invitation)} meanwhile. Ctrl-C, or an empty line, ends it.",
        soft_wrap=True,
    )
    try:
        while question := console.input("[bold cyan]search ›[/] ").strip():
            started = time.perf_counter()
            hits = stage.ask(stage.model.embed([question]))
            took = (time.perf_counter() - started) * 1000
            show(hits, (), console)
            console.print(f"[dim]{took:.0f} ms[/]\n")
    except (EOFError, KeyboardInterrupt):
        console.print()


def _stop(play: _Play) -> None:
    if play.job.ended():
        return
    with play.console.status("stopping the job with a savepoint"):
        savepoint = play.job.stop_with_savepoint(home(play.pipeline) / "savepoints")
    play.clock.lap("stop")
    play.console.print(f"\nThe job stopped with {Path(savepoint).name}; the servers go on.")


def _tell_more(play: _Play) -> None:
    file = shown(str(play.texts.world.file))
    play.console.print()
    for what, command in (
        *((("first", play.texts.before_commands),) if play.texts.before_commands else ()),
        ("resume the job", f"freshet run {file}"),
        ("search", f'freshet search {file} "…"'),
        ("stop the servers", "freshet stack down"),
    ):
        play.console.print(f"  [dim]{what:>16}[/]  [bold]{command}[/]")
