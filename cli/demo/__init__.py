"""`freshet demo`: the main job on real servers and real texts, each claim checked while one looks on."""

from __future__ import annotations

import shutil
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
from rich.console import Console
from rich.markup import escape

from cli import run, stack
from cli.demo import screen, world
from cli.demo.claims import CLAIMS, Check, Evidence, Stage
from cli.search import show
from core.config import Pipeline
from core.config_file import load
from core.errors import FreshetError, Unavailable
from flink_jobs.running import Job
from udfs.embedding import Embedder, embedder

_FOLDER = Path(".freshet") / "demo"
_SNAPSHOT_SECONDS = 240.0
_LOOK_EVERY_S = 0.1
_WARM_UP = "The first question takes longer than the next."


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
        return [*self.laps, ("all told", time.time() - psutil.Process().create_time())]


def demo(console: Console, leave: bool) -> int:
    """Run the demo in the current folder; the command's exit code, 0 only where every claim held.

    `leave` ends it after the claims, with a summary; else it goes on with a prompt to search until Ctrl-C.
    Raises FreshetError where the stack, the connector or the job doesn't come up.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with world.alone(_FOLDER):
        return _play(console, leave)


@dataclass(frozen=True, slots=True)
class _Play:
    """A demo whose job runs."""

    console: Console
    clock: _Clock
    here: world.World
    pipeline: Pipeline
    job: Job


def _play(console: Console, leave: bool) -> int:
    clock = _Clock()
    screen.section(console, "PostgreSQL, Kafka and Debezium, on this machine")
    with ThreadPoolExecutor(2) as threads:
        # Loading torch takes seconds; the servers' starts leave time for it.
        loading = threads.submit(embedder, world.MODEL)
        with console.status("starting the servers"):
            servers = stack.up(Path.cwd(), lambda line: console.print(f"  [dim]{escape(line)}[/]"))
            console.print(f"  run at {escape(servers.postgres.dsn)} and {servers.kafka.bootstrap_servers}")
            clock.lap("servers")
            here = world.make(servers, _FOLDER)
        capturing = threads.submit(world.capture, here)
        screen.section(console, "The pipeline")
        screen.pipeline_file(console, here.file)
        pipeline = load(here.file)
        play = _Play(console, clock, here, pipeline, _start(pipeline, console))
        try:
            capturing.result()
            clock.lap("tables, connector, job")
            claims = _perform(play, loading, leave)
        finally:
            _stop(play)
    held = all(found.holds for _, found in claims)
    if leave:
        screen.section(console, "Every claim held" if held else "Not every claim held")
        screen.summary(console, claims, clock.all())
    _tell_more(play)
    return 0 if held else 1


def _start(pipeline: Pipeline, console: Console) -> Job:
    shutil.rmtree(run.home(pipeline), ignore_errors=True)
    with console.status("starting Flink"):
        run.prepare(pipeline, console)
        return run.start(pipeline, console, without_state=True)


def _perform(play: _Play, loading: Future[Embedder], leave: bool) -> list[tuple[str, Evidence]]:
    console = play.console
    with psycopg.connect(play.here.dsn) as source, closing(run.stores(play.pipeline)["pgvector"]) as store:
        screen.section(console, "Snapshot: the rows that are there already")
        _snapshot(play, source)
        play.clock.lap("snapshot")
        stage = Stage(play.here, play.job, source, store, loading.result())
        console.print(f"  {stage.model.describe()}")
        stage.ask(stage.model.embed([_WARM_UP]))
        claims = [
            (title, _claim(console, f"{number}. {title}", check, stage))
            for number, (title, check) in enumerate(CLAIMS, start=1)
        ]
        play.clock.lap("claims")
        if not leave:
            _prompt(play, stage)
    return claims


def _snapshot(play: _Play, source: psycopg.Connection[tuple[int, int]]) -> None:
    """Wait until every row is in the store; the speed is measured from the first chunk seen to the last."""
    total = len(world.articles()) + 1
    deadline = time.monotonic() + _SNAPSHOT_SECONDS
    first: tuple[float, int] | None = None
    documents = chunks = 0
    with screen.embedding(play.console) as progress:
        task = progress.add_task("waiting for the first row", total=total, speed="")
        while documents < total:
            _still(play.job, deadline, documents, total)
            documents, chunks = _count(source)
            if chunks:
                first = first or (time.perf_counter(), chunks)
                progress.update(task, description="embedding", completed=documents, speed=_speed(first, chunks))
            time.sleep(_LOOK_EVERY_S)
    play.console.print(f"  {documents} documents are {chunks} chunks in the store{_speed(first, chunks)}")


def _still(job: Job, deadline: float, documents: int, total: int) -> None:
    if time.monotonic() > deadline or job.ended():
        why = job.progress().failure or "no failure is known"
        raise Unavailable(f"the job wrote {documents} of {total} documents, then no more ({why}); see {_FOLDER.parent}")


def _count(source: psycopg.Connection[tuple[int, int]]) -> tuple[int, int]:
    row = source.execute("SELECT count(DISTINCT document_id), count(*) FROM demo.chunks").fetchone()
    source.commit()
    return row or (0, 0)


def _speed(first: tuple[float, int] | None, chunks: int) -> str:
    if first is None or chunks == first[1]:
        return ""
    return f", {(chunks - first[1]) / (time.perf_counter() - first[0]):.0f} embeddings a second"


def _claim(console: Console, title: str, check: Check, stage: Stage) -> Evidence:
    screen.section(console, title)
    try:
        with console.status("checking"):
            found = check(stage)
    except FreshetError as error:
        found = Evidence((), str(error), holds=False)
    screen.evidence(console, found)
    return found


def _prompt(play: _Play, stage: Stage) -> None:
    console = play.console
    screen.section(console, "Ask it yourself")
    console.print(
        f"The job goes on: change rows of {world.ARTICLES} at {escape(play.here.dsn)} meanwhile. "
        "Ctrl-C, or an empty line, ends it."
    )
    try:
        while question := console.input("[bold cyan]search ›[/] ").strip():
            started = time.perf_counter()
            hits = stage.ask(stage.model.embed([question]))
            took = (time.perf_counter() - started) * 1000
            show(hits, console)
            console.print(f"[dim]{took:.0f} ms[/]\n")
    except (EOFError, KeyboardInterrupt):
        console.print()


def _stop(play: _Play) -> None:
    if play.job.ended():
        return
    with play.console.status("stopping the job with a savepoint"):
        savepoint = play.job.stop_with_savepoint(run.home(play.pipeline) / "savepoints")
    play.clock.lap("stop")
    play.console.print(f"\nThe job stopped with {Path(savepoint).name}; the servers go on.")


def _tell_more(play: _Play) -> None:
    file = escape(str(play.here.file))
    play.console.print()
    for what, command in (
        ("resume the job", f"freshet run {file}"),
        ("search", f'freshet search {file} "…"'),
        ("stop the servers", "freshet stack down"),
    ):
        play.console.print(f"  [dim]{what:>16}[/]  [bold]{command}[/]")
