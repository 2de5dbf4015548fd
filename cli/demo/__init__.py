"""`freshet demo`: the main job on real servers and real texts, each claim checked while one looks on."""

from __future__ import annotations

import shutil
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from rich.console import Console
from rich.markup import escape

from cli import run, stack
from cli.demo import screen, world
from cli.demo.claims import CLAIMS, Check, Evidence, Stage
from cli.search import show
from core.config import Pipeline, load
from core.errors import FreshetError, Unavailable
from flink_jobs.running import Job
from udfs.embedding import Embedder, embedder

_FOLDER = Path(".freshet") / "demo"
_SNAPSHOT_SECONDS = 240.0
_LOOK_EVERY_S = 0.1
_FIRST_QUESTION = "How do I catch an exception?"


@dataclass(slots=True)
class _Clock:
    """How long each part took, in seconds."""

    started: float = field(default_factory=time.perf_counter)
    lap_started: float = field(default_factory=time.perf_counter)
    laps: list[tuple[str, float]] = field(default_factory=list)

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps.append((name, now - self.lap_started))
        self.lap_started = now

    def all(self) -> list[tuple[str, float]]:
        return [*self.laps, ("all told", time.perf_counter() - self.started)]


def demo(console: Console, leave: bool) -> int:
    """Run the demo in the current folder; the command's exit code, 0 only where every claim held.

    `leave` ends it after the claims, with a summary; else it goes on with a prompt to search until Ctrl-C.
    Raises FreshetError where the stack, the connector or the job doesn't come up.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with world.alone(_FOLDER):
        return _play(console, leave)


def _play(console: Console, leave: bool) -> int:
    clock = _Clock()
    screen.section(console, "PostgreSQL, Kafka and Debezium, on this machine")
    with ThreadPoolExecutor(2) as threads:
        # Loading torch takes seconds; the servers' starts leave time for it.
        loading = threads.submit(embedder, world.MODEL)
        with console.status("starting the servers"):
            servers = stack.up(Path.cwd(), lambda line: console.print(f"  [dim]{escape(line)}[/]"))
        clock.lap("stack")
        here = world.make(servers, _FOLDER)
        capturing = threads.submit(world.capture, here)
        screen.section(console, "The pipeline")
        screen.pipeline_file(console, here.file)
        pipeline = load(here.file)
        job = _start(pipeline, console)
        try:
            capturing.result()
            return _watch(console, clock, job, pipeline, here, loading, leave)
        finally:
            _stop(job, pipeline, console)


def _start(pipeline: Pipeline, console: Console) -> Job:
    shutil.rmtree(run.home(pipeline), ignore_errors=True)
    with console.status("starting Flink"):
        run.prepare(pipeline, console)
        return run.start(pipeline, console, without_state=True)


def _watch(
    console: Console,
    clock: _Clock,
    job: Job,
    pipeline: Pipeline,
    here: world.World,
    loading: Future[Embedder],
    leave: bool,
) -> int:
    with psycopg.connect(here.dsn) as source:
        screen.section(console, "Snapshot: every row that is there already")
        clock.lap("Flink")
        _snapshot(console, job, source)
        clock.lap("snapshot")
        stage = Stage(here, job, source, run.store(pipeline), loading.result())
        stage.ask(stage.model.embed([_FIRST_QUESTION]))
        claims = [
            (title, _claim(console, f"{number}. {title}", check, stage))
            for number, (title, check) in enumerate(CLAIMS, start=1)
        ]
        clock.lap("claims")
        held = all(found.holds for _, found in claims)
        if leave:
            screen.section(console, "All of it held" if held else "Not all of it held")
            screen.summary(console, claims, clock.all())
        else:
            _prompt(console, stage, here)
        return 0 if held else 1


def _snapshot(console: Console, job: Job, source: psycopg.Connection[tuple[int, int]]) -> None:
    """Wait until every row is in the store; the speed is measured from the first chunk seen to the last."""
    total = len(world.articles()) + 1
    deadline = time.monotonic() + _SNAPSHOT_SECONDS
    first: tuple[float, int] | None = None
    with screen.embedding(console) as progress:
        task = progress.add_task("waiting for the first row", total=total, speed="")
        documents = chunks = 0
        while documents < total:
            _still(job, deadline, documents, total)
            documents, chunks = _count(source)
            if chunks and first is None:
                first = (time.perf_counter(), chunks)
            progress.update(task, completed=documents, speed=_speed(first, chunks))
            if chunks:
                progress.update(task, description="embedding")
            time.sleep(_LOOK_EVERY_S)
    console.print(f"  {documents} documents are {chunks} chunks in the store, embedded at {_speed(first, chunks)}")


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
    return f"{(chunks - first[1]) / (time.perf_counter() - first[0]):.0f} chunks a second"


def _claim(console: Console, title: str, check: Check, stage: Stage) -> Evidence:
    screen.section(console, title)
    try:
        with console.status("checking"):
            found = check(stage)
    except FreshetError as error:
        found = Evidence((), str(error), holds=False)
    screen.evidence(console, found)
    return found


def _prompt(console: Console, stage: Stage, here: world.World) -> None:
    screen.section(console, "Ask it yourself")
    console.print(
        f"Change rows with [bold]psql {escape(here.dsn)}[/] meanwhile (table {world.ARTICLES}); "
        "the job goes on. Ctrl-C, or nothing, ends it."
    )
    try:
        while question := console.input("[bold cyan]search ›[/] ").strip():
            started = time.perf_counter()
            hits = stage.ask(stage.model.embed([question]))
            took = (time.perf_counter() - started) * 1000
            show(hits, console)
            console.print(f"[dim]{took:.0f} ms[/]")
    except (EOFError, KeyboardInterrupt):
        console.print()


def _stop(job: Job, pipeline: Pipeline, console: Console) -> None:
    if not job.ended():
        with console.status("stopping the job with a savepoint"):
            savepoint = job.stop_with_savepoint(run.home(pipeline) / "savepoints")
        console.print(f"The job stopped; its savepoint is {Path(savepoint).name}.")
    console.print(
        f"Go on with [bold]freshet run {_FOLDER}/pipeline.yaml[/] and "
        f'[bold]freshet search {_FOLDER}/pipeline.yaml "…"[/]; stop the servers with [bold]freshet stack down[/].'
    )
