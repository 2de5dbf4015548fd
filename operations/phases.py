"""What a run does before there are counters: a line for each phase as it begins, in a log file as in a terminal."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from core.config.pipeline import Pipeline
from flink_jobs.engine.model_load import Load, loads
from flink_jobs.running.jobs import Progress
from operations.reporting import Line, Say
from udfs.embedding.languages import languages
from udfs.embedding.model_files import HASH

_REMIND_S = 20.0


@dataclass
class Phases:
    """The phases of one run, shown in order; each is shown once."""

    pipeline: Pipeline
    say: Say
    clock: Callable[[], float] = time.monotonic
    remind_s: float = _REMIND_S
    _begun: float = field(init=False)
    _reads: bool = field(default=False, init=False)
    _kept: bool = field(default=False, init=False)
    _tasks: tuple[int, int] | None = field(default=None, init=False)
    _loads: dict[str, Load] = field(default_factory=dict, init=False)
    _opened: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._begun = self.clock()
        self._loads = loads()

    @contextmanager
    def during(self, what: str, more: str = "") -> Iterator[None]:
        """Tell of a phase as it begins, and now and then while it lasts, with how long it has; `more` beside that."""
        begun, ended = self.clock(), threading.Event()

        def remind() -> None:
            while not ended.wait(self.remind_s):
                self._say(f"still {what} after {self.clock() - begun:.0f} s{more}")

        self._say(f"{what} …")
        # as in the demo: what the collector lets go of in another thread would be let go of in another one of the JVM
        collects = gc.isenabled()
        gc.disable()
        threading.Thread(target=remind, name="phases", daemon=True).start()
        try:
            yield
        finally:
            ended.set()
            if collects:
                gc.enable()

    def begin(self, what: str) -> None:
        """Show a phase that begins, without waiting for its end."""
        self._say(f"{what} …")

    def look(self, progress: Progress) -> None:
        """Tell what has begun since the last look at the job: its tasks, reading, the model, the first checkpoint."""
        running, tasks = progress.tasks
        if not self._reads and tasks:
            if running == tasks or any(progress.counts.values()):
                self._reads = True
                self._say(f"reading, {self._since()} after the start")
            elif progress.tasks != self._tasks:
                self._tasks = progress.tasks
                self._say(f"starting its tasks, {running} of {tasks} run …")
        self._look_at_the_model()
        if not self._kept and progress.checkpoints:
            self._kept = True
            self._say(f"the first checkpoint is there, {self._since()} after the start")

    def _look_at_the_model(self) -> None:
        model = self.pipeline.embedding
        if model.remote or model.model == HASH:
            return
        now, before = loads(), self._loads
        self._loads = now
        if any(load.seconds is None and worker not in before for worker, load in now.items()):
            made_for = languages(model.model)
            self._say(f"loading the model {model.model}{made_for and f', {made_for}'} …")
        done = {
            load.what: load.seconds
            for worker, load in now.items()
            if load.seconds is not None and (worker not in before or before[worker].seconds is None)
        }
        for what, seconds in done.items():
            if what not in self._opened:
                self._opened.add(what)
                self._say(f"{what}, is loaded, which took {seconds:.0f} s")

    def _since(self) -> str:
        return f"{self.clock() - self._begun:.0f} s"

    def _say(self, what: str) -> None:
        self.say(Line(f"{self.pipeline.name}: {what}"))
