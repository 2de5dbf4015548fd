"""Whether the stores hold what the source says once the stream has passed, and what is known of what differs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote
from uuid import uuid4

import httpx
import psycopg
from psycopg import sql

from chaos.patience import Patience
from chaos.profiles import of_profiles
from chaos.talks import Talks
from chaos.world import World
from connectors.opening.dead_letters import letters
from connectors.opensearch.bodies import entry_id, mark_id
from core.config.store import OpenSearch, Pgvector
from core.errors import Unavailable
from core.letters import Letter
from core.plans import Plan
from core.stores.contract import VectorStore
from core.stores.verification import Difference, Kind, compare, table_of
from operations.servers import stores

_AT_ONCE = 200
_MARK_AGAIN_S = 2.0
_LOOK_EVERY_S = 0.3
_LAST_LOOK_S = 10.0
_GONE = "the source has no row that makes it"


@dataclass(frozen=True, slots=True)
class Found:
    """How a round ended: after how many seconds all was equal, or what differed when time was up, by store.

    late  time was up although the job still got on: what differs may come yet
    """

    seconds: float
    documents: int
    differences: tuple[tuple[str, Difference], ...] = ()
    waited_for: str = ""
    late: bool = False


def settle(
    world: World,
    patience: Patience,
    supervise: Callable[[], object] = lambda: None,
    read: Callable[[], int] = lambda: 0,
) -> Found:
    """Wait until the stream has passed all that the source has committed by now, and the stores are equal to it.

    Markers are written on and on: a table is swept after a snapshot when later events came in every partition.
    `supervise` is called meanwhile: it starts the job again where it has ended. `read` says how much the job has read.
    Raises Unavailable where a server is away for long.
    """
    began = time.monotonic()
    waited_for = _passed(world, patience, supervise, read)
    while True:
        rows, differences = _differences(world)
        patience.see("differences", len(differences))
        if not differences or patience.is_over():
            late = bool(differences or waited_for) and patience.is_late()
            return Found(time.monotonic() - began, rows, tuple(differences), waited_for, late)
        world.feed.mark(uuid4().hex)
        time.sleep(_MARK_AGAIN_S)
        patience.at_least(_LAST_LOOK_S)
        # what is read from now on are the new markers
        waited_for = _passed(world, patience, supervise, lambda: 0)


def _passed(world: World, patience: Patience, supervise: Callable[[], object], read: Callable[[], int]) -> str:
    """Mark, and wait for the markers in every store and for the job's commit; what was waited for in vain, or ""."""
    text = uuid4().hex
    world.feed.mark(text)
    while missing := _unmarked(world, text):
        if patience.is_over():
            return missing
        supervise()
        patience.see("unread", -read())
        time.sleep(_LOOK_EVERY_S)

    def waiting(left: int | None) -> bool:
        supervise()
        if left is not None:
            patience.see("uncommitted", left)
        return not patience.is_over()

    return world.feed.behind(world.pipeline, waiting)


def _unmarked(world: World, text: str) -> str:
    wanted = world.feed.markers
    opened = stores(world.pipeline)
    try:
        for name, store in opened.items():
            there = store.read(list(wanted))
            lacking = [each for each in wanted if each not in there or text not in there[each].chunks[0].text]
            if lacking:
                return f"{len(lacking)} of {len(wanted)} markers in {name}, {lacking[0]} for one"
    except Unavailable as error:
        return str(error)
    finally:
        for store in opened.values():
            store.close()
    return ""


def _differences(world: World) -> tuple[int, list[tuple[str, Difference]]]:
    plans = world.feed.plans(world.pipeline)
    found: list[tuple[str, Difference]] = []
    opened = stores(world.pipeline)
    try:
        for name, store in opened.items():
            found += [(name, difference) for difference in _of_store(store, plans)]
    finally:
        for store in opened.values():
            store.close()
    if isinstance(world.feed, Talks):
        rows, differing = world.feed.rows()
        return rows, [("postgres", each) for each in differing]
    return len(plans), found + of_profiles(world.feed, world.pipeline)


def _of_store(store: VectorStore, plans: Mapping[str, Plan]) -> Iterator[Difference]:
    ids = list(plans)
    for at in range(0, len(ids), _AT_ONCE):
        batch = ids[at : at + _AT_ONCE]
        there = store.read(batch)
        for identity in batch:
            if (difference := compare(plans[identity], there.get(identity))) is not None:
                yield difference
    for identity in store.document_ids():
        if identity not in plans:
            yield Difference(identity, Kind.GHOST, _GONE)


def dead_letters(world: World) -> list[Letter]:
    """All of them."""
    with letters(world.pipeline) as found:
        return list(found.read())


@dataclass(frozen=True, slots=True)
class Details:
    """What is known of a document: each store's ledger, and the source's events of it, in order."""

    ledgers: Mapping[str, str] = field(default_factory=dict)
    events: tuple[str, ...] = ()


def details(world: World, document: str) -> Details:
    """Look a document up."""
    ledgers = {}
    if world.pipeline.store.pgvector is not None:
        ledgers["pgvector"] = _pgvector_ledger(world, document)
    if world.pipeline.store.opensearch is not None:
        ledgers["opensearch"] = _opensearch_ledger(world, document)
    return Details(ledgers, tuple(world.feed.events(document)))


def _pgvector_ledger(world: World, document: str) -> str:
    ledger = sql.Identifier(f"{world.pipeline.store.of(Pgvector).table}_ledger")
    asked = sql.SQL("SELECT document_id, position, deleted_at FROM {} WHERE document_id IN (%s, %s)").format(ledger)
    with psycopg.connect(world.place.dsn) as connection:
        rows = connection.execute(asked, (document, table_of(document))).fetchall()
    return "; ".join(f"{identity} at {position}, deleted {deleted}" for identity, position, deleted in rows)


def _opensearch_ledger(world: World, document: str) -> str:
    target = world.pipeline.store.of(OpenSearch)
    url = f"{target.hosts[0]}/{target.index}-ledger/_doc"
    ids = (entry_id(document), mark_id(table_of(document)))
    found = [httpx.get(f"{url}/{quote(each, safe='')}", timeout=30).text for each in ids]
    return "; ".join(text[:600] for text in found)
