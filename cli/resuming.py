"""How a run of a pipeline begins: its folder, its logs, and the state that it goes on from."""

from __future__ import annotations

import os

from rich.console import Console

from cli.events import events
from cli.job_file import home
from cli.owning import since_ns
from core.config import Pipeline
from flink_jobs.running import forget_checkpoints, newest_state


def log_to(pipeline: Pipeline) -> None:
    """Have Flink log into the pipeline's folder; its JVM reads that when it starts."""
    folder = home(pipeline) / "log"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["FLINK_LOG_DIR"] = str(folder.resolve())


def resumed(pipeline: Pipeline, console: Console, without_state: bool) -> str | None:
    """Where the newest state is, as a URI; None where there is none, or none is wanted. It is told, and written down.

    What earlier runs left beside it is deleted.
    """
    state, log = None if without_state else newest_state(home(pipeline), since_ns(pipeline)), events(pipeline)
    if state is None:
        log.tell("start")
        console.print(f"{pipeline.name}: starting without earlier state")
        return None
    forget_checkpoints(home(pipeline), state)
    log.tell("resume", state=state.name)
    console.print(f"{pipeline.name}: resuming from {state.name}")
    return state.resolve().as_uri()
