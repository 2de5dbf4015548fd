"""For `freshet run`, `check`, `search`, `verify`: were the stores' documents made by this pipeline file?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from core.config.pipeline import Pipeline
from core.errors import ConfigError, Unavailable
from core.stores.contract import VectorStore
from core.stores.fingerprint import Owner, changes, displaced, owner_from_text, owner_to_text
from core.stores.owning import RUN, How, obstacles, owner_of, refusal, stands
from flink_jobs.running.jobs import newest_state
from flink_jobs.running.owning import adopted, claim, look, made_by, owners, untouched
from operations.folder_lock import runs_as
from operations.job_file import home
from operations.reporting import Line, Say, Tone

_EVERY_S = 15.0


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a folder remembers: the last run's owner, as JSON, and since when state counts, in ns since 1970, or 0."""

    owner: str
    since_ns: int = 0


def how_of(mixed: bool, rebuild: bool) -> How:
    """What the options say. Raises ConfigError where they say both."""
    if mixed and rebuild:
        raise ConfigError(["--mixed and --rebuild: one keeps what is there, the other makes it anew; give one of them"])
    return How.MIXED if mixed else How.REBUILD if rebuild else How.REFUSE


def since_ns(pipeline: Pipeline) -> int:
    """When the last run that read all anew began, in ns since 1970: state from before is of what it replaces."""
    kept = _kept(pipeline)
    return 0 if kept is None else kept.since_ns


def take(pipeline: Pipeline, say: Say, how: How, without_state: bool, command: str = RUN) -> Owner:
    """Make the stores this run's, and write down what it makes.

    Raises ConfigError, with the ways on, where it would mix what was made in two ways, or take a store from another
    pipeline, and `how` doesn't say to; or where --rebuild can't read the source from its beginning.
    """
    now, kept = made_by(pipeline), _kept(pipeline)
    resumes = not without_state and how is not How.REBUILD and has_state(pipeline)
    found = look(pipeline, now)
    why = obstacles(found, pipeline.name, now, _run(kept), resumes)
    if stands(why, how):
        raise ConfigError(refusal(pipeline.name, found, why, now, command))
    if how is How.REBUILD and (misfit := pipeline.source.chosen.no_beginning()):
        raise ConfigError([f"--rebuild reads the source from its beginning, and {misfit}"])

    def warn(line: str) -> None:
        say(Line(line, tone=Tone.WARNING))

    for line in (*adopted(found, now), *(f"{how}: {each}" for each in why)):
        warn(line)
    owner = owner_of(pipeline.name, found, why, now, how, time.time_ns() // 1_000_000)
    claim(pipeline, owner, warn)
    # a run that reads all anew replaces the state of before, also where it dies without a checkpoint of its own
    began = time.time_ns() if how is How.REBUILD or without_state else since_ns(pipeline)
    _keep(pipeline, _Kept(owner_to_text(owner), began))
    return owner


def forsake(pipeline: Pipeline) -> None:
    """Have the next run begin anew, where the source has a beginning: the last one's state is worth nothing."""
    kept = _kept(pipeline)
    if kept is not None and not pipeline.source.chosen.no_beginning():
        _keep(pipeline, _Kept(kept.owner, time.time_ns()))


def refused(pipeline: Pipeline, name: str, command: str = RUN) -> list[str]:
    """What `command` would refuse of a store, for `freshet check`; nothing where it would go on."""
    now, kept = made_by(pipeline), _kept(pipeline)
    found = look(pipeline, now, name)
    why = obstacles(found, pipeline.name, now, _run(kept), has_state(pipeline))
    return refusal(pipeline.name, found, why, now, command) if why else []


def is_made_otherwise(pipeline: Pipeline) -> bool:
    """Whether the pipeline file makes other documents than the last run here made. Raises as `made_by`."""
    run = _run(_kept(pipeline))
    return run is not None and bool(changes(run.made, made_by(pipeline)))


def otherwise(pipeline: Pipeline, stores: Mapping[str, VectorStore]) -> list[str]:
    """How the stores' documents were made otherwise than the pipeline file says, for `search` and `verify`."""
    now, differences = made_by(pipeline), []
    for name, store in stores.items():
        owner, place = store.owner(), f"store.{name}: {pipeline.place(name)}"
        if owner is None:
            continue
        differences += [f"{place}: {each}" for each in changes(owner.made, now)]
        differences += [f"what hasn't changed since is as before (--mixed): {each}" for each in owner.mixed]
    return differences


def nothing_found(pipeline: Pipeline, name: str, store: VectorStore, asked: Sequence[str]) -> str:
    """Why a search has found nothing, for the person who searched.

    Raises ConfigError where it can't have found anything, as every chunk is of another model.
    """
    models, place = store.models(), pipeline.place(name)
    if why := _no_such_model(pipeline, name, models):
        raise ConfigError([why])
    if models:
        return f"{place}: none of its {sum(models.values()):,} chunks has {' and '.join(asked)}" if asked else ""
    running = "no job of it runs in this folder" if runs_as(pipeline) is None else f"its job runs{_left(pipeline)}"
    return f"{place} is empty; {running}: see `freshet status`"


def unfound(pipeline: Pipeline, name: str, store: VectorStore) -> str:
    """What a search that filters says of chunks that no filter finds; "" where there are none."""
    count = store.unindexed()
    if not count:
        return ""
    return (
        f"store.{name}: {pipeline.place(name)}: no filter finds {count:,} of its chunks, as an earlier release wrote "
        "them: `freshet run pipeline.yaml --rebuild` makes them findable, and embeds nothing"
    )


def _left(pipeline: Pipeline) -> str:
    # imported late: it loads Kafka's client
    from connectors.kafka.feed import uncommitted

    left = uncommitted(pipeline) if pipeline.reads_kafka else None
    return f", and has {left:,} events to read yet" if left else ""


def _no_such_model(pipeline: Pipeline, name: str, models: Mapping[str, int]) -> str:
    wanted = pipeline.embedding.model
    if not models or wanted in models:
        return ""
    there = " and ".join(f"{count:,} chunks of {model}" for model, count in models.items())
    return (
        f"store.{name}: {pipeline.place(name)} holds {there}, none of {wanted}: have embedding.model name the "
        "model that made them, or `freshet run pipeline.yaml --rebuild`"
    )


def is_untouched(pipeline: Pipeline) -> bool:
    """Whether nobody has written to the pipeline's stores yet; False where one doesn't answer."""
    try:
        return untouched(pipeline)
    except (Unavailable, ConfigError):
        return False


class OwnerWatch:
    """Asks the stores now and then whose they are: a run that writes nothing would never learn it."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Asks nothing yet."""
        self._pipeline = pipeline
        self._looked = 0.0

    def look(self, now: float) -> str:
        """As `displaced_by`; `now` in seconds of a clock that only rises."""
        if now < self._looked + _EVERY_S:
            return ""
        self._looked = now
        return displaced_by(self._pipeline)


def displaced_by(pipeline: Pipeline) -> str:
    """Why the last run here must stop: a later one has a store of its. "" where none has, or none answers."""
    mine = _run(_kept(pipeline))
    if mine is None:
        return ""
    try:
        found = owners(pipeline)
    except (Unavailable, ConfigError):
        return ""
    return next((displaced(place, mine, theirs) for place, theirs in found if theirs.epoch > mine.epoch), "")


def has_state(pipeline: Pipeline) -> bool:
    """Whether there is a checkpoint or savepoint from which a run would go on."""
    return newest_state(home(pipeline), since_ns(pipeline)) is not None


def _run(kept: _Kept | None) -> Owner | None:
    return None if kept is None else owner_from_text(kept.owner)


def _kept(pipeline: Pipeline) -> _Kept | None:
    try:
        return msgspec.json.decode(_place(pipeline).read_bytes(), type=_Kept)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _keep(pipeline: Pipeline, kept: _Kept) -> None:
    _place(pipeline).parent.mkdir(parents=True, exist_ok=True)
    new = _place(pipeline).with_suffix(".new")
    new.write_bytes(msgspec.json.encode(kept))
    new.replace(_place(pipeline))


def _place(pipeline: Pipeline) -> Path:
    return home(pipeline) / "made.json"
