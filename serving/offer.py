"""All that a server serves, opened: indexes, profiles, what embeds questions, and who is let in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from core.config.pipeline import Pipeline
from core.errors import ConfigError
from operations.index import Index
from operations.kpi_rows import KpiRows
from operations.people import People
from serving.access import Grant, LetIn, nobody, to_everyone
from serving.answers import conversations
from serving.answers.answering import Answering
from serving.answers.conversations import Conversations
from serving.answers.counting import Counting
from serving.answers.models import opening as models
from serving.answers.ranking import opening as ranking
from serving.batches import Batches
from serving.bodies import HERE
from serving.key_file import KeyFile
from serving.lanes import Lanes
from serving.settings import Served
from serving.shapes import Mode, Offered, OfferedIndex, OfferedProfiles
from serving.tokens import Jwks, by_tokens, check
from udfs.embedding.contract import Embedder

_TOKENS_A_CALL = 8_192
_FIRST = "Is anybody there?"


@dataclass(frozen=True, slots=True)
class OpenIndex:
    """An index, what embeds its questions, and the threads that ask its store. `pipeline`: what writes to it.

    lanes  the threads of searches, by what they may see
    """

    index: Index
    pipeline: Pipeline
    questions: Batches
    threads: ThreadPoolExecutor
    lanes: Lanes


@dataclass(frozen=True, slots=True)
class OpenPeople:
    """The profiles, and the threads that ask their store."""

    people: People
    threads: ThreadPoolExecutor


@dataclass(frozen=True, slots=True)
class OpenKpis:
    """The KPIs, and the threads that ask their store."""

    rows: KpiRows
    threads: ThreadPoolExecutor


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server serves.

    people  None: no profiles
    kpis    None: none are served
    keyed   whether a key is needed
    notes   on what is there: a sentence each
    listeners  to changes, the most at once
    answering  how questions are answered from what is found
    conversations  writes them; None: nobody asks for that
    """

    name: str
    indexes: Mapping[str, OpenIndex]
    people: OpenPeople | None
    kpis: OpenKpis | None
    let_in: LetIn
    keyed: bool
    notes: Sequence[str]
    listeners: int
    answering: Answering
    conversations: Conversations | None


def offered(offer: Offer, grant: Grant) -> Offered:
    """What is offered to one who asks."""
    people = None if offer.people is None or grant.people is None else offer.people.people
    model = offer.answering.settings.model
    return Offered(
        offer.name,
        [_offered(name, offer.indexes[name]) for name in grant.indexes],
        None if people is None else OfferedProfiles(list(people.types)),
        None if model is None else model.name,
        list(offer.kpis.rows.names) if offer.kpis is not None and grant.kpis else [],
    )


def _offered(name: str, index: OpenIndex) -> OfferedIndex:
    modes: list[Mode] = ["vector", "hybrid", "text"] if index.index.has_words else ["vector"]
    return OfferedIndex(name, modes, sorted(index.index.columns), index.pipeline.outcomes is not None)


def check_host(served: Served, host: str) -> None:
    """Raises ConfigError where other machines could ask, and no key is needed."""
    if served.is_open and host not in HERE:
        adding = "name a file of them (keys:), which `freshet serve-key add` makes, or tokens, or listen on 127.0.0.1"
        raise ConfigError([f"--host is {host!r}, where others reach it, and {served.path} has no keys: {adding}"])


@contextmanager
def opened(served: Served) -> Iterator[Offer]:
    """Open all of it, until the block ends: models are loaded, connections made, a first question embedded.

    Raises ConfigError where something isn't there or doesn't fit, Unavailable where a server doesn't answer.
    """
    with ExitStack() as stack:
        notes: list[str] = []
        embedding: dict[str, Batches] = {}
        indexes = {name: _index(served, name, embedding, notes, stack) for name in served.pipelines}
        people = _people(served, stack)
        let_in = _let_in(served, indexes, people, stack)
        settings = served.settings
        kpis = _kpis(served, stack)
        yield Offer(
            settings.name, indexes, people, kpis, let_in, not served.is_open, notes, settings.listeners,
            _answering(served),
            stack.enter_context(conversations.opened(settings.conversations)),
        )  # fmt: skip


def _answering(served: Served) -> Answering:
    settings = served.settings.answer
    overlapping = frozenset(
        name
        for name, each in served.pipelines.items()
        if not each.documents or any(document.chunk.overlap for document in each.documents.values())
    )
    return Answering(
        settings,
        served.template,
        Counting(settings),
        overlapping,
        models.opened(settings),
        ranking.opened(settings.rerank),
    )


def _index(served: Served, name: str, embedding: dict[str, Batches], notes: list[str], stack: ExitStack) -> OpenIndex:
    settings = served.settings.indexes[name]
    pipeline = served.pipelines[name]
    index = Index(pipeline, settings.store or pipeline.store.names[0], settings.connections)
    stack.callback(index.close)
    notes += [f"indexes.{name}: {each}" for each in index.connect()]
    threads = stack.enter_context(ThreadPoolExecutor(settings.connections, f"index-{name}"))
    lanes = Lanes(threads, settings.connections)
    return OpenIndex(index, pipeline, _questions(index.embedder, embedding, stack), threads, lanes)


def _questions(embedder: Embedder, embedding: dict[str, Batches], stack: ExitStack) -> Batches:
    """What gathers the questions of all indexes that have the model: one thread calls it, whatever their prompts."""
    if embedder.name not in embedding:
        embedding[embedder.name] = Batches(embedder, _TOKENS_A_CALL)
        stack.callback(embedding[embedder.name].close)
    # the first call of a model takes as long as hundreds of later ones
    embedding[embedder.name].submit([_FIRST], embedder).result()
    return embedding[embedder.name]


def _people(served: Served, stack: ExitStack) -> OpenPeople | None:
    settings = served.settings.profiles
    if served.people is None or settings is None:
        return None
    people = People(served.people, settings.connections)
    stack.callback(people.close)
    people.connect()
    return OpenPeople(people, stack.enter_context(ThreadPoolExecutor(settings.connections, "profiles")))


def _kpis(served: Served, stack: ExitStack) -> OpenKpis | None:
    settings = served.settings.feedback
    if served.feedback is None or settings is None:
        return None
    rows = KpiRows(served.feedback, settings.connections)
    stack.callback(rows.close)
    rows.check()
    return OpenKpis(rows, stack.enter_context(ThreadPoolExecutor(settings.connections, "kpis")))


def _let_in(served: Served, indexes: Mapping[str, OpenIndex], people: OpenPeople | None, stack: ExitStack) -> LetIn:
    if served.is_open:
        return to_everyone(list(indexes))
    columns = {name: each.index.columns for name, each in indexes.items()}
    of_people = frozenset() if people is None else people.people.columns
    keyed: LetIn = nobody
    if served.keys is not None:
        of_keys = KeyFile(served.keys, columns, of_people)
        stack.enter_context(of_keys.followed())
        keyed = of_keys.let_in
    if (tokens := served.settings.tokens) is None:
        return keyed
    if problems := check(tokens, columns, of_people):
        raise ConfigError([f"{served.path}: {each}" for each in problems])
    keys = Jwks(tokens.jwks, served.path.parent)
    stack.enter_context(keys.refreshed())
    return by_tokens(tokens, keys, columns, of_people, keyed)
