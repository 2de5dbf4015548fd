"""What happens between two runs: the file changes, what is read is another, a store is gone; or two run at once.

The job must refuse or report each before it is done the right way; what it did otherwise is said, and fails the round.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from random import Random
from typing import Any
from uuid import uuid4

from chaos.job import Job
from chaos.strikes import Fault, Strike
from chaos.world import World, prepare_stores

_REFUSED = 2
"""The exit code of a run that isn't started."""

_BEGINS_S, _NOTICED_S = 90.0, 150.0
_AGAIN_S = 3.0
_OF_OPENSEARCH = 0.6
_NAMES = {"pgvector": "table", "opensearch": "index", "milvus": "collection", "kafka": "topic"}
"""The setting of each store that names what it has."""
_RESTORED = "_restored"
_TOKENS = (64, 96, 128, 256)

Between = Callable[[World, Job, Strike, Random], Iterator[str]]
"""Does it; each item is something that the job did otherwise than it must."""


def _file(world: World, job: Job, strike: Strike, choices: Random) -> Iterator[str]:
    """Other chunks: refused, then made anew."""
    job.stop()
    tokens = choices.choice([each for each in _TOKENS if each not in _tokens(world)])

    def change(settings: dict[str, Any]) -> None:
        for document in settings["documents"].values():
            document["chunk"] = {"tokens": tokens}

    world.rewrite(change)
    yield from _refused(job, strike, "was not started: its store would then hold")
    job.start("--rebuild")


def _tokens(world: World) -> set[int]:
    return {document.chunk.tokens for document in world.pipeline.documents.values()}


def _topic(world: World, job: Job, strike: Strike, choices: Random) -> Iterator[str]:
    """While the job runs, or while it doesn't. It is refused, and then reads the new topics from their start."""
    if choices.random() < 0.5:
        world.feed.strike(strike, choices)
        if (code := job.ended(_NOTICED_S)) != _REFUSED:
            yield _otherwise(job, strike, f"ended with {code}, must end with {_REFUSED}")
        elif "anew" not in job.said():
            yield _otherwise(job, strike, "didn't say that a topic was made anew")
        job.stop()
    else:
        job.stop()
        world.feed.strike(strike, choices)
        yield from _refused(job, strike, "was made anew")
    job.start("--without-state")


def _database(world: World, job: Job, strike: Strike, choices: Random) -> Iterator[str]:
    """An alarm, as the events don't say which database they are of; then new tables, indexes and topics.

    Once an act: a third log need not be behind the second.
    """
    if str(world.pipeline.store.pgvector and world.pipeline.store.pgvector.table).endswith(_RESTORED):
        return
    world.feed.strike(strike, choices)
    if not job.says("alarm: most rows of a snapshot", _NOTICED_S):
        yield _otherwise(job, strike, "didn't tell that what comes is older than what it knows")
    job.stop()

    def change(settings: dict[str, Any]) -> None:
        for store, name in _NAMES.items():
            if store in settings["store"]:
                settings["store"][store][name] += _RESTORED

    world.rewrite(change)
    world.feed.strike(replace(strike, fault=Fault.TOPIC), choices)
    job.start("--without-state")


def _index(world: World, job: Job, strike: Strike, choices: Random) -> Iterator[str]:
    """While the job runs, in whole or without its ledger: it ends, is refused, and then makes all anew."""
    name, whole = _one(world, choices), choices.random() < 0.5
    delete = {"opensearch": world.delete_index, "pgvector": world.drop_table, "milvus": world.drop_collection}[name]
    delete(whole)
    code = _ended_by_writing(world, job)
    if code is None:
        yield _otherwise(job, strike, "goes on though its store is gone")
    elif code == 0:
        yield _otherwise(job, strike, "ended as if all were well, though its store is gone")
    job.kill()
    if not whole and name != "pgvector":
        yield from _refused(job, strike, "is there without")
    delete(whole=True)
    yield from _refused(job, strike, "was not started")
    prepare_stores(world.pipeline)
    world.feed.strike(strike, choices)
    job.start("--rebuild")


def _one(world: World, choices: Random) -> str:
    """The store that is to be gone."""
    there = [name for name in world.pipeline.store.names if name != "kafka"]
    if "opensearch" in there and choices.random() < _OF_OPENSEARCH:
        return "opensearch"
    return choices.choice([name for name in there if name != "opensearch"] or there)


def _two_runs(world: World, job: Job, strike: Strike, choices: Random) -> Iterator[str]:
    """In one folder the second is refused; in another it takes the stores over, and the first stops and says so."""
    second = Job(world, job.folder, starts=job.starts + 1000)
    yield from _refused(second, strike, "already runs as")
    elsewhere = job.folder / "second"
    shutil.rmtree(elsewhere, ignore_errors=True)
    elsewhere.mkdir()
    shutil.copy(world.file, elsewhere)
    other = Job(world, elsewhere)
    try:
        other.start()
        if (code := _ended_by_writing(world, job)) is None:
            yield _otherwise(job, strike, "goes on though a later run has taken its stores over")
        elif code == 0 or "has taken it over" not in " ".join(job.said().split()):
            yield _otherwise(
                job, strike, f"ended with {code} and didn't say that a later run has taken its stores over"
            )
    finally:
        other.kill()
    job.kill()
    job.start()


def _ended_by_writing(world: World, job: Job) -> int | None:
    """The exit code of a run that learns with what it writes that it must end; None where it hasn't after long."""
    until = time.monotonic() + _NOTICED_S
    while time.monotonic() < until:
        world.feed.mark(uuid4().hex)
        if (code := job.ended(_AGAIN_S)) is not None:
            return code
    return None


def _refused(job: Job, strike: Strike, words: str) -> Iterator[str]:
    job.start()
    code = job.ended(_BEGINS_S)
    if code != _REFUSED or words not in " ".join(job.said().split()):
        did = "runs" if code is None else f"ended with {code}"
        yield _otherwise(job, strike, f"{did}, must end with {_REFUSED} and say {words!r}")
    job.kill()


def _otherwise(job: Job, strike: Strike, what: str) -> str:
    return f"{strike.fault}: the job {what}, see {job.log.name}"


BETWEEN: Mapping[Fault, Between] = {
    Fault.FILE: _file,
    Fault.TOPIC: _topic,
    Fault.DATABASE: _database,
    Fault.TWO_RUNS: _two_runs,
    Fault.INDEX: _index,
}
