"""`freshet check`: is the pipeline file right, are its servers there, and does the source have what it names?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

from connectors.kafka import source as kafka
from connectors.kafka.letters.topic import OUTCOMES, room
from connectors.opening.dead_letters import LettersPlace, place_of_letters
from connectors.opening.kpis import kpi_places
from connectors.opening.stores import open_stores, profile_stores, stores_of
from core.config.embedding import Provider
from core.config.msf import refused as refused_by_msf
from core.config.pipeline import Pipeline, SourceDatabase
from core.config.source import Kafka
from core.errors import ConfigError, FreshetError, OtherLog, Unavailable
from core.stores.owning import RUN
from deploy.msf.bundle import misfits
from operations import clocks
from operations.addresses import nobody_at, of_dsn, of_outcomes, of_servers, of_source, of_store, setting_of_store
from operations.column_types import with_types
from operations.owning import has_state, refused
from operations.reporting import Loading
from operations.resuming import goes_on_from
from operations.servers import reach
from operations.source_columns import by_database, by_events
from operations.source_topics import refuse_missing, waits
from udfs.embedding.embedder import dimension, embedder
from udfs.embedding.languages import languages
from udfs.embedding.prompts import prompts_described
from udfs.embedding.tokenizing import document_chunker, tokenizer_of
from udfs.sentiment.judge import tried

_PATIENCE_S = 10.0
_PROBE = "freshet"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is tried. `addresses`, host:port, are of the servers that it needs, which `setting` names."""

    name: str
    attempt: Callable[[], str]
    setting: str = ""
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen of a step: `ok`, and the message."""

    step: str
    ok: bool
    message: str


def notes(pipeline: Pipeline) -> list[str]:
    """Notes on a pipeline all of whose steps went well."""
    try:
        return [*with_types(pipeline)[1], *filter(None, [clocks.warning(pipeline)])]
    except FreshetError as error:
        return [str(error)]


def check(
    pipeline: Pipeline, prepare: bool = False, command: str = RUN, loading: Loading = nullcontext
) -> Iterator[Finding]:
    """Try each part, and say what was seen of it.

    Writes nothing, but where `prepare` makes the stores' tables and the topics of dead letters and outcomes.
    `command` is what runs the pipeline.
    """
    away: dict[str, str] = {}
    mistakes: list[str] = []
    for step in _steps(pipeline, prepare, command, mistakes, loading):
        where = ", ".join(step.addresses)
        if step.addresses and away.keys() >= set(step.addresses):
            yield Finding(step.name, False, f"not asked: {where} doesn't answer, see {away[step.addresses[0]]}")
            continue
        try:
            if nobody := nobody_at(step.addresses, step.setting):
                away |= dict.fromkeys(step.addresses, step.name)
                raise Unavailable(nobody)
            yield Finding(step.name, True, step.attempt())
        except FreshetError as error:
            if isinstance(error, ConfigError | OtherLog):
                mistakes.append(step.name)
            yield Finding(step.name, False, str(error))


def _steps(
    pipeline: Pipeline, prepare: bool, command: str, mistakes: Sequence[str], loading: Loading
) -> Iterator[Step]:
    """What is tried, in order. `mistakes` are the steps so far that found one in the file."""
    seen = partial(_topics if isinstance(pipeline.source.chosen, Kafka) else reach, pipeline)
    yield Step(f"source.{pipeline.source.name}", seen, *of_source(pipeline))
    letters = place_of_letters(pipeline)
    tried = partial(_letters, letters, prepare)
    yield Step(f"dead_letters.{pipeline.dead_letters.name}", tried, letters.setting, of_servers(letters.servers))
    if pipeline.outcomes is not None:
        yield Step("outcomes.kafka", partial(_outcomes, pipeline, prepare), *of_outcomes(pipeline))
    if has_state(pipeline):
        yield Step("state", partial(_state, pipeline), *of_source(pipeline))
    if isinstance(pipeline.database, SourceDatabase):
        compare = partial(by_database, pipeline, pipeline.database)
        where = of_dsn(pipeline.database.dsn, "reselect.postgres")
        yield Step("reselect.postgres", compare, "reselect.postgres.dsn", where)
    if pipeline.makes_feedback:
        yield from _of_feedback(pipeline, prepare)
        return
    model = _Model(pipeline, loading)
    provider = pipeline.embedding.provider or Provider()
    setting = f"embedding.{pipeline.embedding.provided_by}.{provider.at}"
    yield Step("embedding", model.described, setting, of_servers(provider.servers))
    # a file that is to be corrected first makes what it won't make then, and a run looks at its log before its stores
    ask = partial(refused, pipeline, command=command) if not mistakes else None
    for name in pipeline.store.names:
        attempt = partial(_store, model, name, prepare, ask)
        yield Step(f"store.{name}", attempt, setting_of_store(pipeline, name), of_store(pipeline, name))
    for name in pipeline.store.of_profiles:
        attempt = partial(_profiles, pipeline, name, prepare)
        yield Step(f"store.{name}", attempt, setting_of_store(pipeline, name), of_store(pipeline, name))


def _of_feedback(pipeline: Pipeline, prepare: bool) -> Iterator[Step]:
    # imported late: Flink's planner is in a JVM
    from operations.kpis import Kpis

    sentiment = pipeline.feedback_job.feedback.sentiment
    servers = () if sentiment.elsewhere is None else sentiment.elsewhere.servers
    judged = partial(tried, sentiment, _PATIENCE_S)
    yield Step("feedback.sentiment", judged, "feedback.sentiment.openai.url", of_servers(servers))
    kpis = Kpis(pipeline)
    yield Step("feedback.kpis", kpis.described)
    for place in kpi_places(pipeline):
        where = setting_of_store(pipeline, place.name), of_store(pipeline, place.name)
        yield Step(f"store.{place.name}", partial(kpis.store, place, prepare), *where)


def refused_by_service(pipeline: Pipeline) -> list[str]:
    """What of a pipeline Managed Service for Apache Flink would refuse.

    Reaches no server: the service has other ways to them than this machine.
    """
    problems = [f"flink.{option}: {instead}" for option, instead in refused_by_msf(pipeline.flink_options).items()]
    try:
        return problems + misfits(pipeline)
    except ConfigError as error:
        return [*problems, *error.problems]


def _topics(pipeline: Pipeline) -> str:
    source = pipeline.kafka
    there = kafka.topics_there(source)
    if there is None:
        return f"{source.bootstrap_servers} isn't asked: only Java clients know its login"
    found = refuse_missing(pipeline, there)
    if not found:
        raise ConfigError([waits(source)])
    topics = f"{source.bootstrap_servers} has {', '.join(found)}"
    if pipeline.makes_feedback:
        return topics
    by_reselect = isinstance(pipeline.database, SourceDatabase)
    compared = "" if by_reselect and pipeline.events.of_debezium else by_events(pipeline)
    return f"{topics}; {compared}" if compared else topics


def _letters(letters: LettersPlace, prepare: bool) -> str:
    there = letters.look()
    room = letters.room(make=prepare)
    return (
        f"{letters.name} takes letters of {room:,} bytes"
        if prepare or there
        else f"{letters.name} isn't there yet: run makes it"
    )


def _outcomes(pipeline: Pipeline, prepare: bool) -> str:
    cluster, topic = pipeline.outcomes_topic
    most = room(cluster, topic, prepare, OUTCOMES)
    there = prepare or topic in (kafka.topics_there(cluster) or [topic])
    return f"{topic} takes outcomes of {most:,} bytes" if there else f"{topic} isn't there yet: run makes it"


def _state(pipeline: Pipeline) -> str:
    return f"a run goes on from {goes_on_from(pipeline)}, which is of the log that is there"


@dataclass(slots=True)
class _Model:
    """The pipeline's model, opened once: whether it answers decides what the stores can be asked."""

    pipeline: Pipeline
    loading: Loading
    known: int = 0
    _is_there: bool = False

    def described(self) -> str:
        description = self._described()
        self._is_there = True
        return description

    def _described(self) -> str:
        embedding = self.pipeline.embedding
        for document in self.pipeline.documents.values():
            document_chunker(embedding, document.chunk)
        if not embedding.remote:
            with self.loading(embedding.model):
                model = embedder(embedding)
            model.embed([_PROBE])
            self.known = model.dimension
            return "; ".join(filter(None, (model.describe(), languages(embedding.model), prompts_described(embedding))))
        from udfs.embedding.remote.embedder import opened

        brief = embedding.model_copy(update={"timeout": min(embedding.timeout, _PATIENCE_S)})
        endpoint = opened(brief, patience_s=_PATIENCE_S)
        try:
            endpoint.embed([_PROBE])
        finally:
            endpoint.close()
        self.known = endpoint.dimension
        counts = f"{tokenizer_of(embedding).name} counts a chunk's tokens"
        return "; ".join(filter(None, (endpoint.describe(), counts, prompts_described(embedding))))

    def dimension(self) -> int:
        embedding = self.pipeline.embedding
        if not self._is_there and not embedding.remote:
            raise ConfigError(["not asked: how long its vectors are, the model alone could say; see embedding"])
        if not self.known and embedding.remote and not (embedding.dimension or embedding.dimensions):
            raise ConfigError(["not asked: how long its vectors are, embedding alone could say"])
        return self.known or dimension(embedding)


def _store(model: _Model, name: str, prepare: bool, ask: Callable[[str], list[str]] | None) -> str:
    pipeline = model.pipeline
    target = open_stores(stores_of(pipeline), model.dimension())[name]
    try:
        there = target.look()
        if prepare and not there:
            target.prepare()
    finally:
        target.close()
    place = pipeline.place(name)
    # where nothing is there and nothing is gone on from, there is nothing to refuse
    if ask is not None and (there or prepare or has_state(pipeline)) and (would := ask(name)):
        raise ConfigError(would)
    if not there and not prepare:
        return f"{place} isn't there yet: run makes it"
    return f"{place} is ready"


def _profiles(pipeline: Pipeline, name: str, prepare: bool) -> str:
    target = profile_stores(stores_of(pipeline))[name]
    try:
        there = target.look()
        if prepare:
            target.prepare()
    finally:
        target.close()
    place = pipeline.place(name)
    are = "are" if place.startswith("tables") else "is"
    return f"{place} {are} ready" if there or prepare else f"{place} {are}n't there yet: run makes them"
