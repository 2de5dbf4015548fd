"""How a run of a pipeline begins: its folder, its logs, and the state that it goes on from."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from connectors.opening.log_identity import Asked, ask
from core.config.log_identity import LogChange, LogIdentity, accepted, changes, grown, merged, refusal
from core.config.pipeline import Pipeline
from core.documents.sources import two_databases
from core.errors import ConfigError, OtherLog
from core.stores.fingerprint import Owner
from core.stores.owning import RUN, How
from flink_jobs.engine.environment import LOG4J
from flink_jobs.running.jobs import forget_checkpoints, newest_state
from operations import log_record
from operations.events import events
from operations.job_file import home
from operations.owning import is_untouched, since_ns, take
from operations.reporting import Line, Say, Tone


def log_to(pipeline: Pipeline) -> None:
    """Have Flink log into the pipeline's folder; its JVM reads that when it starts."""
    folder = home(pipeline) / "log"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["FLINK_LOG_DIR"] = str(folder.resolve())
    os.environ.setdefault("LOG4J_PROPERTIES", str(LOG4J))


_KNOWN_AFTER_S = 3.0


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a run is to begin, as its options say.

    without_state  from nothing, as if there were no checkpoint or savepoint
    same_log       though topic or database seem others than the state's
    how            what becomes of documents that were made otherwise
    command        what starts such a run, without these options
    """

    without_state: bool = False
    same_log: bool = False
    how: How = How.REFUSE
    command: str = RUN


@dataclass(frozen=True, slots=True)
class Resumed:
    """Where a job goes on.

    state  as a URI; None: from nothing
    log    what it reads, as far as that is known
    owner  the run that the stores are of from now on; None where nobody claimed them
    """

    state: str | None
    log: LogIdentity
    owner: Owner | None = None


def begun(pipeline: Pipeline, say: Say, beginning: Beginning) -> Resumed:
    """Where a run goes on, with the stores its own. Raises what `resumed` and `operations.owning.take` do."""

    def claim() -> Owner:
        return take(pipeline, say, beginning.how, beginning.without_state, beginning.command)

    anew = beginning.without_state or beginning.how is How.REBUILD
    return resumed(pipeline, say, anew, beginning.same_log, claim)


def resumed(
    pipeline: Pipeline,
    say: Say,
    without_state: bool,
    same_log: bool = False,
    claim: Callable[[], Owner | None] = lambda: None,
) -> Resumed:
    """Where the newest state is, if there is one and it is wanted. It is shown, and written down.

    What earlier runs left beside it is deleted. Raises OtherLog where the state is of another log than the one that is
    there now, unless `same_log`; ConfigError where two databases tell of one table. `claim` makes the stores this
    run's: once the log is known to be right, and before anything is written down.
    """
    state = None if without_state else newest_state(home(pipeline), since_ns(pipeline))
    found, log = identified(pipeline, say, state, same_log), events(pipeline)
    owner = claim()
    log_record.begin(pipeline, found)
    if state is None:
        log.tell("start")
        say(Line(f"{pipeline.name}: starting without earlier state"))
        return Resumed(None, found, owner)
    forget_checkpoints(home(pipeline), state)
    log.tell("resume", state=state.name)
    say(Line(f"{pipeline.name}: resuming from {state.name}"))
    return Resumed(state.resolve().as_uri(), found, owner)


def identified(pipeline: Pipeline, say: Say, state: Path | None, same_log: bool = False) -> LogIdentity:
    """The log that is read from now on, held against the one that the state belongs to. Raises as `resumed`."""
    asked = _asked(pipeline, state)
    for each in asked.unknown:
        say(Line(f"{each} isn't known", tone=Tone.WARNING))
    before = log_record.last_log(pipeline) if state is None else log_record.log_of(pipeline, state)
    found = _differences(pipeline, before, asked, state)
    if state is None:
        _warn(pipeline, found, say)
        known = merged(_with_first(pipeline, LogIdentity(), asked), asked.identity)
        _tell_others(pipeline, known, asked, say)
        return known
    if found and not same_log:
        raise OtherLog(refusal(found, pipeline.name, is_untouched(pipeline)))
    for line in grown(before, asked.identity, state.name):
        say(Line(pipeline.name, f": {line}", Tone.WARNING))
    # where nobody wrote it down, the newest events say whose a table is: the state stands at their end
    newest = {table: name for table, name in asked.identity.sources.items() if table not in before.sources}
    before = _with_first(pipeline, replace(before, sources={**before.sources, **newest}), asked)
    known = (accepted if same_log else merged)(before, asked.identity)
    _tell_others(pipeline, known, asked, say)
    return known


def goes_on_from(pipeline: Pipeline) -> str:
    """The name of the state that a run would go on from; "" where there is none.

    Raises OtherLog where it is of another log than the one that is there now, as the run would.
    """
    state = newest_state(home(pipeline), since_ns(pipeline))
    if state is None:
        return ""
    before = log_record.log_of(pipeline, state)
    if found := _differences(pipeline, before, _asked(pipeline, state), state):
        raise OtherLog(refusal(found, pipeline.name, is_untouched(pipeline)))
    return state.name


def _asked(pipeline: Pipeline, state: Path | None) -> Asked:
    asked = ask(pipeline)
    if state is not None and "" in asked.identity.logs.values():
        # a broker that just started may not know all its topics yet
        time.sleep(_KNOWN_AFTER_S)
        asked = ask(pipeline)
    return asked


def _differences(pipeline: Pipeline, before: LogIdentity, asked: Asked, state: Path | None) -> tuple[LogChange, ...]:
    found = changes(before, asked.identity, "the last run" if state is None else state.name)
    if state is None or not pipeline.source.chosen.is_bounded:
        return found
    # what a bounded run reads it reads from the start
    return tuple(each for each in found if each.positions)


def _warn(pipeline: Pipeline, found: tuple[LogChange, ...], say: Say) -> None:
    for each in found:
        if each.positions:
            why = (
                f": {each.what}. A store that holds positions of before refuses what comes as older: it should be "
                "another table or index, or an empty one"
            )
            say(Line(pipeline.name, why, Tone.WARNING))


def _with_first(pipeline: Pipeline, before: LogIdentity, asked: Asked) -> LogIdentity:
    """As it was, and of tables whose database isn't known yet that of the first events. Raises ConfigError."""
    first = {table: asked.first[table] for table in pipeline.job.of_one_source if table in asked.first}
    new = {table: names for table, names in first.items() if table not in before.sources}
    if problems := two_databases(new):
        raise ConfigError(problems)
    return replace(before, sources={**before.sources, **{table: next(iter(names)) for table, names in new.items()}})


def _tell_others(pipeline: Pipeline, known: LogIdentity, asked: Asked, say: Say) -> None:
    for table, names in asked.first.items():
        owner = known.sources.get(table, "")
        newest = {asked.identity.sources[table]} if table in asked.identity.sources else set()
        if table in pipeline.job.of_one_source and (others := (names | newest) - {owner}):
            warning = f": {table} is {owner}'s: events of {' and '.join(sorted(others))} will be dead letters"
            say(Line(pipeline.name, warning, Tone.WARNING))
