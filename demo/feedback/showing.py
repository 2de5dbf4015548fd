"""`freshet demo feedback`: a job counts what people think of answers, while they change their minds."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
from rich.console import Console

from core.config.file import load
from core.errors import Unavailable
from demo import screen
from demo.feedback import talk
from demo.feedback.claims import CLAIMS, Scene, rate
from demo.feedback.talk import Talk
from demo.stage import Evidence, NotSeen
from flink_jobs.running.jobs import Job
from operations import run
from operations.job_file import home
from operations.resuming import Beginning
from stack import local as stack
from terminal.lines import printer
from terminal.plain import shown


def play(console: Console, folder: Path, leave: bool) -> int:
    """Run the demo; the command's exit code, 0 only where every claim held. Raises as `demo.showing.demo` does."""
    screen.section(console, "PostgreSQL and Kafka, on this machine")
    with console.status("starting the servers"):
        servers = stack.up(Path.cwd(), lambda line: console.print(f"  [dim]{shown(line)}[/]"))
        talking = talk.make(servers, folder)
    with closing(talking):
        screen.section(console, "The pipeline")
        screen.pipeline_file(console, talking.world.file)
        truth = talking.begin()
        with _running(console, talking) as job:
            claims = _perform(Scene(console, talking, truth), leave)
            if failure := job.progress().failure:
                raise Unavailable(f"the job failed meanwhile: {failure}")
    if leave:
        screen.ended(console, claims, [("in all", time.time() - psutil.Process().create_time())])
    for command in (f"freshet run {shown(str(talking.world.file))}", "freshet stack down"):
        console.print(f"  [bold]{command}[/]")
    return 0 if screen.held(claims) else 1


@contextmanager
def _running(console: Console, talking: Talk) -> Iterator[Job]:
    pipeline = load(talking.world.file)
    shutil.rmtree(home(pipeline), ignore_errors=True)
    with console.status("starting Flink"):
        run.prepare(pipeline, printer(console))
        job = run.start(pipeline, printer(console), Beginning(without_state=True))
    try:
        yield job
    finally:
        if not job.ended():
            savepoint = job.stop_with_savepoint(home(pipeline) / "savepoints")
            console.print(f"\nThe job stopped with {Path(savepoint).name}; the servers go on.")


def _perform(scene: Scene, leave: bool) -> list[tuple[str, Evidence]]:
    claims = screen.claims(scene.console, CLAIMS, scene)
    if not leave:
        _prompt(scene)
    return claims


def _prompt(scene: Scene) -> None:
    screen.section(scene.console, "Say it yourself")
    where = shown(scene.talk.world.dsn_of_schema)
    scene.console.print(
        f'Begin with + or - and say what you think of an answer: "+ just what I was after". The rows are at {where}, '
        'in "demo-feedback_satisfaction". Ctrl-C, or an empty line, ends it.',
        soft_wrap=True,
    )
    try:
        while said := scene.console.input("[bold cyan]rate ›[/] ").strip():
            liked, comment = not said.startswith("-"), said.lstrip("+-").strip()
            try:
                row, took = rate(scene, liked, comment)
            except NotSeen as error:
                scene.console.print(shown(str(error)))
                continue
            feels = "" if row.comment_sentiment is None else f"; comments sound {row.comment_sentiment:+.2f}"
            counts = row.counts
            scene.console.print(
                f"{row.at:%H}:00 UTC: {counts.turns} answers, {counts.good} of {counts.rated} liked{feels} "
                f"[dim]{took:.0f} ms[/]"
            )
    except (EOFError, KeyboardInterrupt):
        scene.console.print()
