"""Random histories of a table, as its connector writes them, spread over the partitions of a topic."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from core.change import Change, Operation, Position, Truncate
from tests.core.wire import from_mysql, from_postgresql

TABLE = "public.t"
COLUMNS = ("body", "note")

Values = dict[str, str]
Rows = dict[int, Values]


@dataclass(frozen=True)
class Course:
    """What may happen in a history.

    actions     each as often as it is to be drawn
    grows       the topic is given more partitions on the way, so that a key's changes come by two
    compressed  the source is MySQL with compressed transactions: whole rows, and all that happens in one transaction
                has one position but for its arrival. Else it is PostgreSQL: long unchanged values don't travel
    mysql       the source is MySQL: whole rows, ordered by file and place in the binlog
    repeats     the connector is killed now and then, and sends again what it sent since it last wrote down its place
    crashes     the job goes back to a checkpoint now and then
    reselects   the source can be asked
    """

    actions: tuple[str, ...]
    grows: bool = False
    compressed: bool = False
    mysql: bool = False
    repeats: bool = False
    crashes: bool = False
    reselects: bool = False
    keys: int = 6
    most: int = 60


@dataclass(frozen=True)
class Produced:
    """What the connector sends. `place`: of MySQL, the transaction's place in the binlog."""

    change: Change | Truncate
    place: int = 0


@dataclass
class Source:
    """A table. `history` has its rows after each of the events `produced`."""

    chance: random.Random
    course: Course
    rows: Rows = field(default_factory=dict)
    produced: list[Produced] = field(default_factory=list)
    history: list[Rows] = field(default_factory=list)
    lsn: int = 10
    commit: int = 0
    number: int = 0

    def go_on(self) -> None:
        """One action, and perhaps its transaction's end."""
        self.number += 1
        key, action = self.chance.randrange(self.course.keys), self.chance.choice(self.course.actions)
        if action == "lose":
            self._lose_place()
            return
        if action == "truncate":
            self.end_transaction()  # as MySQL does, where it is a statement that commits
            self.rows.clear()
            self._tell(Truncate(TABLE, self._position()))
            self.end_transaction()
        elif action == "put" and key not in self.rows:
            self.rows[key] = self._values(COLUMNS)
            self._tell_row(key, self._position(), COLUMNS)
        elif action != "put" and key in self.rows:
            getattr(self, f"_{action}")(key)
        if self.chance.random() < 0.5:
            self.end_transaction()

    def end_transaction(self) -> None:
        self.lsn += 1
        self.commit = self.lsn

    def _update(self, key: int) -> None:
        changed = self._some(0.5)
        self.rows[key] = {**self.rows[key], **self._values(changed)}
        self._tell_row(key, self._position(), changed)

    def _delete(self, key: int) -> None:
        del self.rows[key]
        self._tell(Change(TABLE, {"id": key}, Operation.DELETE, self._position()))

    def _move(self, key: int) -> None:
        new = self.chance.randrange(self.course.keys)
        if new in self.rows:
            return
        at, changed = self._position(), self._some(0.15)
        self._tell(Change(TABLE, {"id": key}, Operation.DELETE, at, moves=True))
        self.rows[new] = {**self.rows.pop(key), **self._values(changed)}
        self._tell_row(new, at, changed, moves=True)

    def _lose_place(self) -> None:
        """The events that follow are lost, perhaps but for the first ones; then the connector makes a snapshot."""
        self.end_transaction()
        mark, course = len(self.produced), self.course
        self.course = replace(course, actions=tuple(action for action in course.actions if action != "lose"))
        for _ in range(self.chance.randrange(1, 12)):
            self.go_on()
        self.end_transaction()
        self.course = course
        some = mark + self.chance.randrange(3)
        del self.produced[some:], self.history[some:]
        if not self.rows:  # an empty table's snapshot shows nothing: only `freshet verify` finds its ghosts
            self.rows[0] = self._values(COLUMNS)
        keys = self.chance.sample(list(self.rows), len(self.rows))
        at = Position(f"{self.lsn:016x}.{0:016x}")
        for key in keys:
            self._tell_row(key, at, COLUMNS, ends_snapshot=key == keys[-1])
        self.commit = 0

    def _some(self, chance: float) -> list[str]:
        return [name for name in COLUMNS if self.chance.random() < chance]

    def _values(self, names: Iterable[str]) -> Values:
        return {name: f"{self.chance.choice(['short', 'long'])} {name[0]}{self.number}" for name in names}

    def _position(self) -> Position:
        self.lsn += 1
        return Position(f"{self.commit or self.lsn:016x}.{self.lsn:016x}")

    def _tell_row(
        self, key: int, at: Position, changed: Iterable[str], moves: bool = False, ends_snapshot: bool = False
    ) -> None:
        row = self.rows[key]
        long = (
            []
            if self.course.compressed or self.course.mysql
            else [name for name in row if row[name].startswith("long")]
        )
        left_out = frozenset(long).difference(changed)
        values = {name: "marker" if name in left_out else value for name, value in row.items()}
        self._tell(
            Change(TABLE, {"id": key}, Operation.UPSERT, at, values, left_out, moves=moves, ends_snapshot=ends_snapshot)
        )

    def _tell(self, change: Change | Truncate) -> None:
        self.produced.append(Produced(change, self.commit))
        self.history.append({key: dict(row) for key, row in self.rows.items()})


def history(chance: random.Random, course: Course) -> Source:
    """A table after some actions, each with its events."""
    source = Source(chance, course)
    for _ in range(chance.randrange(5, course.most)):
        source.go_on()
    source.end_transaction()
    return source


@dataclass(frozen=True)
class Sent:
    """An event of a partition; `number`: which of all the source's it is, `again`: that it was sent before."""

    number: int
    change: Change | Truncate
    again: bool = False


def topic(source: Source) -> list[list[Sent]]:
    """The partitions of a topic, as they are in the end; each key's changes in one of those that there were."""
    chance, count = source.chance, source.chance.randrange(1, 4)
    grows_at = [_between_transactions(source) for _ in range(chance.randrange(1, 3))] if source.course.grows else []
    partitions: list[list[Sent]] = [[] for _ in range(count)]
    sent: set[int] = set()
    for number, event in _sent(source):
        for _ in range(grows_at.count(number) * chance.randrange(1, 3)):
            partitions.append([])
        key = chance.randrange(count) if isinstance(event.change, Truncate) else int(event.change.key["id"])
        partition = partitions[key % len(partitions)]
        change = _on_the_wire(source, number, len(partition))
        partition.append(Sent(number, change, again=number in sent))
        sent.add(number)
    return partitions


def _between_transactions(source: Source) -> int:
    """An event before which a topic may grow: arrivals in two partitions order nothing, where there is nothing else."""
    events, near = source.produced, source.chance.randrange(len(source.produced) + 1)
    whole = not source.course.compressed
    between = (at for at in range(near, len(events)) if whole or events[at].place != events[at - 1].place)
    return next(between, len(events))


def _sent(source: Source) -> Iterator[tuple[int, Produced]]:
    """Each event by its number, some of them twice or three times."""
    chance, since = source.chance, 0
    for number, event in enumerate(source.produced):
        yield number, event
        if chance.random() < 0.1:
            if source.course.repeats:
                yield from ((each, source.produced[each]) for each in range(since, number + 1))
            since = chance.randrange(since, number + 1)


def _on_the_wire(source: Source, number: int, offset: int) -> Change | Truncate:
    """An event as the connector writes it and the decoder reads it; of a compressed transaction all have its place."""
    event = source.produced[number]
    before = source.history[number - 1] if number else {}
    row = None if isinstance(event.change, Truncate) else before.get(event.change.key["id"])
    if source.course.compressed:
        return from_mysql(event.change, row, event.place, offset)
    if source.course.mysql:
        return from_mysql(event.change, row, int(event.change.position[17:], 16), offset)
    # the replica identity is the primary key
    return from_postgresql(event.change, {} if row else None)


def all_of(partitions: list[list[Sent]]) -> Iterator[Sent]:
    """Every event, partition by partition."""
    for partition in partitions:
        yield from partition
