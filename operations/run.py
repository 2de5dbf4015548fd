"""`freshet run`: the job of a pipeline file, on this machine or a session cluster."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from connectors.kafka import source as kafka
from connectors.kafka.letters.topic import OUTCOMES, room
from connectors.opening import stores as opening
from connectors.opening.dead_letters import place_of_letters
from connectors.opening.kpis import empty_kpis
from core.config.pipeline import Pipeline
from core.errors import ConfigError, Displaced, OtherLog, StoreGone, Unavailable
from core.metrics.figures import in_words
from core.stores.owning import How
from deploy.msf.job_jars import job_jars
from flink_jobs.running.jobs import UNKNOWN, Job, Progress, submit
from flink_jobs.running.rest import Failure
from flink_jobs.running.target import TargetJob
from operations import clocks, log_record, resuming, temporary
from operations.column_types import with_types
from operations.events import Events, events
from operations.finishing import letters_so_far, outcome
from operations.first_changes import FirstChanges, most_frequent
from operations.folder_lock import locked
from operations.job_file import JobFile, bootstrap_of, forget, home, remember
from operations.log_watch import LogWatch
from operations.owning import OwnerWatch, displaced_by, forsake, has_state, is_made_otherwise
from operations.phases import Phases
from operations.reporting import Line, Say, Tone
from operations.resuming import Beginning, log_to
from operations.run_target import start as start_at
from operations.servers import reach, refuse_absent
from operations.signals import handlers_given_back
from operations.source_columns import lost_columns, refuse_lacking
from operations.source_topics import refuse_missing, waits
from stack.jars import fetch
from stack.layout import free_port
from udfs.embedding.embedder import dimension
from udfs.embedding.engines import wants_package
from udfs.embedding.graphs import LOCK

_WATCH_SECONDS = 2.0
_TOO_SOON = "its job wasn't there yet"


def run(pipeline: Pipeline, say: Say, beginning: Beginning, target: str | None = None) -> int:
    """Run the job until it ends or is asked to stop; the command's exit code. `target` is a cluster, as host:port.

    Raises Unavailable or ConfigError where a server that the pipeline names isn't there or doesn't fit, AlreadyRuns
    where another process runs the pipeline in this folder, Displaced where a later run takes a store over, and what
    `operations.resuming.begun` does.
    """
    with locked(pipeline, shared=target is not None):
        forget(pipeline)  # a run that was killed has left its address
        log = events(pipeline)
        before = log.last()
        try:
            with handlers_given_back():
                signal.signal(signal.SIGTERM, signal.default_int_handler)
                return _run(pipeline, say, beginning, target)
        except KeyboardInterrupt:
            log.tell("stop", without_savepoint=_TOO_SOON)
            why = f" ({_TOO_SOON}); the next run begins as this one did"
            say(Line("stopped without a savepoint", why, Tone.WARNING))
            return 1
        except Exception as error:
            log.close(str(error), before)
            raise
        finally:
            temporary.remove(pipeline)


def _run(pipeline: Pipeline, say: Say, beginning: Beginning, target: str | None) -> int:
    phases = Phases(pipeline, say)
    with phases.during("reaching the servers that the pipeline names"):
        refuse_absent(pipeline)
        # a source that changes under a run is no reason to keep it from going on, but a file that did may be wrong
        if _is_anew(pipeline, beginning) or beginning.how is How.MIXED or is_made_otherwise(pipeline):
            refuse_lacking(pipeline)
        prepare(pipeline, say)
    pipeline, unknown = with_types(pipeline)
    for line in (*unknown, *lost_columns(pipeline)):
        say(Line(line, tone=Tone.WARNING))
    if clock_warning := clocks.warning(pipeline) if _is_anew(pipeline, beginning) else "":
        say(Line(clock_warning, tone=Tone.WARNING))
    first, before = _first(pipeline, beginning), letters_so_far(pipeline)
    job: Job | TargetJob
    if target is None:
        job = start(pipeline, say, beginning, phases)
    else:
        with phases.during(f"submitting the job to {target}"):
            job = start_at(pipeline, target, say, beginning)
    log = events(pipeline)
    watch, owners = LogWatch(pipeline), OwnerWatch(pipeline)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _signal, _frame: stopped.set())
    last = None
    try:
        while not job.ended():
            if stopped.wait(_WATCH_SECONDS):
                return _stop(job, pipeline, say, log, phases)
            progress = job.progress()
            if progress.state != UNKNOWN:
                log.progress(progress, last)
                if progress.failure is not None and progress.failure.final:
                    job.cancel()
                    raise _final(progress.failure)
                phases.look(progress)
                last = _tell(progress, last, say)
                if why := first.refusal(progress.counts):
                    job.cancel()
                    forsake(pipeline)
                    raise ConfigError([f"{pipeline.name}: {why}"])
                _alarm(first.warning(progress.counts), say, log)
                _alarm(watch.news(progress.alarm), say, log)
                _alarm(watch.skipped(progress.counts), say, log)
            if taken := owners.look(time.monotonic()):
                job.cancel()
                raise Displaced(taken)
            if other := watch.look(time.monotonic()):
                log.tell("alarm", what=other)
                _stop(job, pipeline, say, log, phases)
                raise OtherLog(other)
            for line in watch.grown():
                log.tell("grown", what=line)
                say(Line(pipeline.name, f": {line}", Tone.WARNING))
    except (Displaced, ConfigError) as error:
        log.tell("fail", cause=str(error))
        raise
    except Unavailable as error:
        # as its last worker learned that, Flink may have broken down before it could say so
        if taken := displaced_by(pipeline):
            log.tell("fail", cause=taken)
            raise Displaced(taken) from None
        log.tell("fail", cause=str(error))
        logs = home(pipeline) / "log"
        raise Unavailable(f"{error}; see {logs}. The next run resumes from the last checkpoint") from None
    finally:
        forget(pipeline)
    _end(job, log)
    say(Line(f"{pipeline.name} finished", f": {outcome(pipeline, before)}", Tone.GOOD))
    return 0


def _final(failure: Failure) -> Displaced | StoreGone:
    return StoreGone([failure.cause]) if failure.final == StoreGone.__name__ else Displaced(failure.cause)


def _first(pipeline: Pipeline, beginning: Beginning) -> FirstChanges:
    now_ms = time.time_ns() // 1_000_000
    return FirstChanges(_is_anew(pipeline, beginning), lambda: most_frequent(pipeline, now_ms), beginning.command)


def _is_anew(pipeline: Pipeline, beginning: Beginning) -> bool:
    return beginning.without_state or beginning.how is How.REBUILD or not has_state(pipeline)


def prepare(pipeline: Pipeline, say: Say) -> None:
    """Reach every server that the pipeline names, and make the stores' tables and indexes.

    Raises Unavailable where one isn't there, ConfigError where one doesn't fit, or a topic isn't there.
    """
    if not pipeline.reads_kafka:
        reach(pipeline)
    elif (there := kafka.topics_there(pipeline.kafka)) is not None and not refuse_missing(pipeline, there):
        say(Line(f"source.kafka: {waits(pipeline.kafka)}", tone=Tone.WARNING))
    place_of_letters(pipeline).room()
    if pipeline.outcomes is not None:
        room(*pipeline.outcomes_topic, setting=OUTCOMES)
    opening.prepare(opening.stores_of(pipeline), partial(dimension, pipeline.embedding))


def start(pipeline: Pipeline, say: Say, beginning: Beginning, phases: Phases | None = None) -> Job:
    """Submit the job, which goes on from the newest checkpoint or savepoint. Raises what `resuming.begun` does.

    With `phases` it tells what takes its time.
    """
    during = nullcontext if phases is None else phases.during
    log_to(pipeline)
    jars = job_jars(pipeline)
    if wants_package(pipeline.embedding):
        fetch(LOCK)
    # Imported late: pyflink takes a second, and its JVM reads the settings above when it starts.
    from flink_jobs.engine.environment import local_environment, local_options
    from flink_jobs.engine.metrics import reporting
    from flink_jobs.engine.worker_deaths import watched
    from flink_jobs.job import build

    port = free_port()
    begun = resuming.begun(pipeline, say, beginning)
    own = temporary.make(pipeline)
    options = local_options(pipeline, home(pipeline), jars, begun.state, own)
    options["python.executable"] = watched(options["python.executable"], home(pipeline) / "workers")
    options["rest.port"] = options["rest.bind-port"] = str(port)
    figures = free_port()
    reporter = reporting(options, figures)
    options |= reporter
    with during("starting Flink"):
        with temporary.used_by_children(own):
            environment = local_environment(options, temporary.jvm_flag(own))
        build(pipeline, environment, begun.log.sources, begun.owner)
        if pipeline.makes_feedback and beginning.how is How.REBUILD:
            empty_kpis(pipeline)
    with during("submitting the job"):
        job = submit(environment, pipeline.name, f"http://127.0.0.1:{port}")
    metrics = f"http://127.0.0.1:{figures}/metrics" if reporter else ""
    identity = str(job.client.get_job_id())
    log_record.submitted(pipeline, identity)
    remember(pipeline, JobFile(job.rest, identity, metrics, bootstrap_of(pipeline)))
    return job


def _end(job: Job | TargetJob, log: Events) -> None:
    try:
        job.result()
    except Exception as error:
        log.tell("fail", cause=str(error))
        raise
    log.tell("finish")


def _stop(job: Job | TargetJob, pipeline: Pipeline, say: Say, log: Events, phases: Phases) -> int:
    begun = time.monotonic()
    try:
        with phases.during("stopping with a savepoint", ": what was read is written first"):
            savepoint = job.stop_with_savepoint(home(pipeline) / "savepoints")
    except Unavailable as error:
        log.tell("stop", without_savepoint=str(error))
        why = f" ({error}); the next run resumes from the last checkpoint"
        say(Line("stopped without a savepoint", why, Tone.WARNING))
        return 1
    log.tell("savepoint", path=savepoint)
    log.tell("stop")
    took = f"{time.monotonic() - begun:.0f} s"
    say(Line("stopped", f"; the next run resumes from {Path(savepoint).name} (took {took})", Tone.GOOD))
    if isinstance(job, Job):
        phases.begin("ending Flink")
    return 0


def _alarm(alarm: str, say: Say, log: Events) -> None:
    if alarm:
        log.tell("alarm", what=alarm)
        say(Line("alarm", f": {alarm}", Tone.BAD))


def _tell(progress: Progress, last: Progress | None, say: Say) -> Progress:
    if progress.failure and (last is None or progress.failure != last.failure):
        say(Line(progress.state.lower(), f": {progress.failure}", Tone.BAD))
    counted = in_words(progress.counts)
    if counted and (last is None or counted != in_words(last.counts)):
        say(Line(f"{progress.state.lower()}: {counted}"))
    return progress
