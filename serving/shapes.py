"""What is asked and answered, as types: `/openapi.json` describes them, and requests are read by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from connectors.postgres.kpis.rows import Table
from core.formats.debezium.places import shown
from core.identity.identifiers import Identifier
from core.profiles.merging import Profile
from core.shards.progress import Standing
from core.stores import contract
from operations.people import Origin

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FURTHEST_MS = 60_000_000_000_000
MOST_HITS = 1_000
LONGEST_QUERY = 32_768
MOST_NEIGHBOURS = 1_000
MOST_ROWS = 10_000
EVENTS = "text/event-stream"

Mode = Literal["vector", "hybrid", "text"]
Cosine = Annotated[float, Meta(ge=-1, le=1)]


class WaitFor(msgspec.Struct, forbid_unknown_fields=True):
    """A change that must be there before the search: of one document, or all that was committed before `position`.

    `position`: an LSN as PostgreSQL prints it, or a file of MySQL's binlog and a place in it; of a document also its
    own, as hits have it.
    """

    position: Annotated[str, Meta(min_length=1, max_length=200)]
    document_id: Annotated[str, Meta(min_length=1, max_length=LONGEST_QUERY)] | None = None
    timeout_seconds: Annotated[float, Meta(gt=0, le=25)] = 10.0


class Search(msgspec.Struct, forbid_unknown_fields=True):
    """A search by a question, or by a vector of the index's model.

    `mode`: what orders the answers, vectors, words or both; by words only a `query` is looked for.
    `filter`, as docs/filters.md has it, lets through what is searched; `min_score` is the least cosine of a hit.
    """

    query: Annotated[str, Meta(min_length=1, max_length=LONGEST_QUERY)] | None = None
    vector: list[float] | None = None
    k: Annotated[int, Meta(ge=1, le=MOST_HITS)] = 10
    filter: msgspec.Raw | UnsetType = UNSET
    mode: Mode = "vector"
    min_score: Cosine | None = None
    wait_for: WaitFor | None = None


class AsOf(msgspec.Struct):
    """How fresh an answer is at the least: all that was committed before `position`, and `committed_at`, is in it.

    Null is what nobody can tell. `lag_seconds`: between `committed_at` and now. `stale`: no job writes any more, since
    `stale_since`.
    """

    position: str | None
    committed_at: str | None
    lag_seconds: float | None
    stale: bool
    stale_since: str | None


class Hit(msgspec.Struct):
    """A chunk that answers. `score` is what ordered the hits, `cosine` its similarity to the question.

    By text alone no question is embedded and `cosine` is null, unless there is a `min_score`. `position` and
    `committed_at` are those of the document's change that the chunk shows, where the store can tell.
    """

    score: float
    cosine: float | None
    document_id: str
    ordinal: int
    text: str
    metadata: dict[str, Any]
    position: str | None
    committed_at: str | None


class Hits(msgspec.Struct):
    """The answer to a search, best first."""

    hits: list[Hit]
    mode: Mode
    as_of: AsOf


class Chunk(msgspec.Struct):
    """A piece of a document's text; the first has the ordinal 0."""

    ordinal: int
    text: str


class Document(msgspec.Struct):
    """A document at the position of its last change, "" where the store doesn't know it."""

    document_id: str
    position: str
    committed_at: str | None
    metadata: dict[str, Any]
    chunks: list[Chunk]
    as_of: AsOf


class Named(msgspec.Struct):
    """An identifier: its type, and its value as it is compared."""

    type: str
    value: str


class Record(msgspec.Struct):
    """A record of a profile: its table and key, and its identifiers, whether they link it or not."""

    record: str
    table: str
    identifiers: list[Named]


class Happening(msgspec.Struct):
    """What happened to a profile, and by which record's change; `time_ms` is that one's, since 1970."""

    kind: str
    profile_id: str
    others: list[str]
    identifiers: list[Named]
    reason: str
    record: str
    position: str
    time_ms: int


class MadeOf(msgspec.Struct):
    """What made a profile, the newest happening first. A key with a filter sees no history: it names others."""

    records: list[Record]
    history: list[Happening]


class Person(msgspec.Struct, omit_defaults=True):
    """A profile: its identifiers, the strongest first, its values, and how many records it has of each table."""

    profile_id: str
    identifiers: list[Named]
    values: dict[str, Any]
    records: dict[str, int]
    made_of: MadeOf | None = None


class ChangedDocument(msgspec.Struct):
    """A document that changed, and is there; its metadata is all that is sent of it.

    `committed_ms` is when its source committed the change, since 1970; null where nobody knows.
    """

    document_id: str
    position: str
    committed_ms: int | None
    metadata: msgspec.Raw


class GoneDocument(msgspec.Struct):
    """A document that is no more among those that are listened to: it was deleted, or passes the filter no more."""

    document_id: str
    position: str
    committed_ms: int | None


class ClearedTable(msgspec.Struct):
    """All documents are gone whose id begins with `table` and a slash, and whose position is below `before`."""

    table: str
    before: str


class OfferedIndex(msgspec.Struct):
    """An index that may be asked: by which modes, its metadata's names, and whether its changes are listened to."""

    name: str
    modes: list[Mode]
    columns: list[str]
    changes: bool


class OfferedProfiles(msgspec.Struct):
    """Profiles that may be asked for, by identifiers of these types, the strongest first."""

    types: list[str]


class Kpi(msgspec.Struct):
    """A KPI's latest rows, the latest first: a value a column. `columns` are in the order of a row's values.

    `key` are those that tell rows apart, `time` is one of them; `numbers` are others, to be drawn.
    """

    name: str
    columns: list[str]
    key: list[str]
    time: str
    numbers: list[str]
    rows: list[list[Any]]


class Offered(msgspec.Struct):
    """What whoever asks may ask for. `model`: which answers; null where contexts alone are made. `kpis` by names."""

    name: str
    indexes: list[OfferedIndex]
    profiles: OfferedProfiles | None
    model: str | None
    kpis: list[str]


class State(msgspec.Struct):
    """How the server is."""

    status: Literal["alive", "ready"]


def hits_of(found: Sequence[contract.Hit], asked: Search, fresh: Standing) -> Hits:
    """The answer of hits, those from the least cosine on that is asked for."""
    return Hits([hit_of(each) for each in near(found, asked.min_score)], asked.mode, as_of(fresh))


def near(found: Sequence[contract.Hit], least: float | None) -> Sequence[contract.Hit]:
    """Those that were found whose cosine is the `least` at least; all where there is no such."""
    return found if least is None else [each for each in found if each.cosine is not None and each.cosine >= least]


def hit_of(hit: contract.Hit) -> Hit:
    """The answer of a hit."""
    cosine = None if hit.cosine is None else float(hit.cosine)
    position, at = (None, None) if (stood := hit.stood) is None else (str(stood.position), moment(stood.committed_ms))
    return Hit(float(hit.score), cosine, hit.document_id, hit.ordinal, hit.text, dict(hit.metadata), position, at)


def as_of(fresh: Standing) -> AsOf:
    """The answer of how fresh an index is."""
    lag_s = None if fresh.lag_ms is None else fresh.lag_ms / 1000
    stale = fresh.stale_ms is not None
    return AsOf(shown(fresh.place) or None, moment(fresh.committed_ms), lag_s, stale, moment(fresh.stale_ms or None))


def moment(ms: int | None) -> str | None:
    """A time in ms since 1970 as RFC 3339 has it; None where there is none, or none that it can write."""
    if ms is None or not -_FURTHEST_MS < ms < _FURTHEST_MS:
        return None
    return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def document_of(stored: contract.Stored, around: int | None, neighbours: int, fresh: Standing) -> Document:
    """The answer of a document, of all its chunks or of the one `around` with so many on each side."""
    chunks = [
        Chunk(each.ordinal, each.text)
        for each in stored.chunks
        if around is None or abs(each.ordinal - around) <= neighbours
    ]
    at = moment(stored.committed_ms)
    return Document(stored.document_id, str(stored.position), at, dict(stored.metadata), chunks, as_of(fresh))


def kpi_of(name: str, table: Table, rows: Sequence[Sequence[Any]]) -> Kpi:
    """The answer of a KPI. A time is as RFC 3339 has it, in UTC."""
    shown_rows = [[_value(each) for each in row] for row in rows]
    return Kpi(name, list(table.columns), list(table.key), table.time, list(table.numbers), shown_rows)


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value


def person_of(profile: Profile, origin: Origin | None) -> Person:
    """The answer of a profile, with what made it where that is given."""
    made_of = None if origin is None else _made_of(origin)
    records = dict(profile.records)
    return Person(profile.profile_id, _named(profile.identifiers), dict(profile.values), records, made_of)


def _made_of(origin: Origin) -> MadeOf:
    return MadeOf(
        [Record(each.record, each.table, _named(each.identifiers)) for each in origin.records],
        [
            Happening(
                each.kind.value,
                each.profile_id,
                list(each.others),
                _named(each.identifiers),
                each.reason,
                each.cause.record,
                str(each.cause.position),
                int(each.cause.time_ms),
            )
            for each in origin.history
        ],
    )


def _named(identifiers: Sequence[Identifier] | Mapping[str, str]) -> list[Named]:
    return [Named(*each) for each in identifiers]
