"""What the identity graph remembers, as bytes by key: any map can carry it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

import msgspec

from core.change import BEGINNING, Position
from core.errors import ConfigError
from core.identity.identifiers import Identifier
from core.identity.ids import Ids
from core.identity.rules import Rules

VERSION = b"\x01"


class Store(Protocol):
    """A map from text to bytes: a dict's, Flink's MapState, a file's."""

    def get(self, key: str) -> bytes | None:
        """The value, None where there is none."""
        ...

    def put(self, key: str, value: bytes) -> None:
        """Set the value."""
        ...

    def delete(self, key: str) -> None:
        """Remove the value, which is there."""
        ...

    def names(self) -> Iterable[str]:
        """The keys of all values; nothing is written while they are looked through."""
        ...


class Memory(dict[str, bytes]):
    """A dict as a Store."""

    put = dict.__setitem__
    delete = dict.__delitem__
    names = dict.keys


class Record(msgspec.Struct, frozen=True, array_like=True):
    """The last change of a source's record. `group` is b"" where it belongs to none, deleted ones for instance.

    name     the record's id as people know it, table/key
    due      the hour at which the graph will look at it, 0: none
    forget   when a deleted record may be forgotten, in hours since 1970; 0 for one that is there
    facts    what the record says beside identifiers: `core.profiles.merging`
    """

    name: str
    position: Position = BEGINNING
    time_ms: int = 0
    group: bytes = b""
    due: int = 0
    forget: int = 0
    facts: bytes = b""


class Group(msgspec.Struct, frozen=True, array_like=True):
    """Records of one table with the same identifiers: they are linked alike. Identifiers are in order."""

    table: str
    identifiers: tuple[Identifier, ...]
    records: Ids = Ids()
    cluster: int = 0


class Node(msgspec.Struct, frozen=True, array_like=True):
    """An identifier, and the groups that have it. `cluster` is 0 where no link of it stands."""

    identifier: Identifier
    groups: Ids = Ids()
    cluster: int = 0


class Cluster(msgspec.Struct, frozen=True, array_like=True):
    """One person's groups and identifiers, ids of 16 bytes on end.

    counts     identifiers by type, strongest first
    canonical  the id of the identifier that the profile is called by, or of the only group
    cuts       there may be links that were cut between this and others
    """

    groups: bytes
    identifiers: bytes
    counts: tuple[int, ...]
    canonical: bytes
    cuts: bool = False


class Meta(msgspec.Struct, frozen=True, array_like=True):
    """Of the graph as a whole: `hour` is its clock, `due` the hours at which records are to be looked at."""

    made_by: str
    last_cluster: int = 0
    hour: int = 0
    due: tuple[int, ...] = ()


class Due(msgspec.Struct, frozen=True, array_like=True):
    """The records to be looked at in an hour."""

    records: Ids = Ids()


class Alias(msgspec.Struct, frozen=True, array_like=True):
    """Where a profile went that is no more."""

    into: str


K = TypeVar("K")
T = TypeVar("T")
_encode = msgspec.msgpack.Encoder().encode


class Table(Generic[K, T]):
    """Values of one kind: read once a step, written at its end. `spell` makes the store's key of a name."""

    def __init__(self, store: Store, prefix: str, kind: type[T], spell: Callable[[K], str]) -> None:
        self._store = store
        self._prefix = prefix
        self._spell = spell
        self._decode = msgspec.msgpack.Decoder(kind).decode
        self._held: dict[K, T | None] = {}
        self._changed: set[K] = set()
        self._there: set[K] = set()

    def saved(self) -> Iterator[tuple[str, T]]:
        """Every value that was saved, with how its name is spelled. None is held, so it takes no memory."""
        for key in self._store.names():
            if key.startswith(self._prefix) and (raw := self._store.get(key)) is not None:
                yield key[len(self._prefix) :], self._decode(memoryview(raw)[1:])

    def get(self, name: K) -> T | None:
        """The value. Raises ValueError for one that a later release wrote."""
        if name in self._held:
            return self._held[name]
        raw = self._store.get(self._prefix + self._spell(name))
        if raw is not None:
            self._there.add(name)
            if raw[:1] != VERSION:
                seen = raw[:1].hex() or "none"
                raise ValueError(f"identity state has version {seen}, this release reads {VERSION.hex()}")
        value = None if raw is None else self._decode(memoryview(raw)[1:])
        self._held[name] = value
        return value

    def __getitem__(self, name: K) -> T:
        value = self.get(name)
        if value is None:
            raise KeyError(f"{self._prefix}{self._spell(name)}")
        return value

    def __setitem__(self, name: K, value: T | None) -> None:
        self.get(name)
        self._held[name] = value
        self._changed.add(name)

    def save(self) -> None:
        """Write what has changed, and hold nothing any longer."""
        for name in self._changed:
            value = self._held[name]
            key = self._prefix + self._spell(name)
            if value is not None:
                self._store.put(key, VERSION + _encode(value))
            elif name in self._there:
                self._store.delete(key)
        self.drop()

    def drop(self) -> None:
        """Hold nothing any longer, written or not."""
        if self._held:  # most tables have no part in a step
            self._held.clear()
            self._changed.clear()
            self._there.clear()


class Saved(Protocol):
    """What a table of any kind can do."""

    def save(self) -> None:
        """Write what has changed, and hold nothing any longer."""
        ...

    def drop(self) -> None:
        """Hold nothing any longer, written or not."""
        ...


class Graph:
    """The state of all persons, over a store. Nothing is written but by `save`.

    Raises ConfigError where the state was made by other rules.
    """

    def __init__(self, store: Store, rules: Rules) -> None:
        self.rules = rules
        self.records = Table(store, "r", Record, bytes.hex)
        self.groups = Table(store, "g", Group, bytes.hex)
        self.nodes = Table(store, "i", Node, bytes.hex)
        self.clusters = Table(store, "c", Cluster, str)
        self.aliases = Table(store, "a", Alias, str)
        self.due = Table(store, "d", Due, str)
        self.pages: Table[str, bytes] = Table(store, "p", bytes, str)
        self.marks: Table[str, str] = Table(store, "t", str, str)
        self._metas = Table(store, "m", Meta, str)
        self._tables: tuple[Saved, ...] = (
            self.records,
            self.groups,
            self.nodes,
            self.clusters,
            self.aliases,
            self.due,
            self.pages,
            self.marks,
            self._metas,
        )
        if self.meta.made_by != rules.made_by:
            raise ConfigError(["profiles: the state was made by other rules of identity; start without it"])

    @property
    def meta(self) -> Meta:
        """Of the graph as a whole."""
        return self._metas.get("") or Meta(self.rules.made_by)

    @meta.setter
    def meta(self, meta: Meta) -> None:
        self._metas[""] = meta

    def new_cluster(self) -> int:
        """A number that no cluster had."""
        self.meta = msgspec.structs.replace(self.meta, last_cluster=self.meta.last_cluster + 1)
        return self.meta.last_cluster

    def save(self) -> None:
        """Write what has changed."""
        for table in self._tables:
            table.save()

    def drop(self) -> None:
        """Forget what has changed since the last `save`."""
        for table in self._tables:
            table.drop()
