"""How the one writer of profiles commits to its DynamoDB table: what fits in a transaction, and what doesn't."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.dynamodb.profiles.items import (
    Item,
    Key,
    Space,
    Writes,
    ahead,
    beside,
    entries_of,
    log_items,
    number,
    size_of,
    text,
)
from connectors.dynamodb.profiles.table import ProfilesTable
from core.profiles.delivery import Delivery
from core.stores.batches import sized

STANDS, NEXT = "-", "next"

_ITEMS = 99  # of a transaction's 100; the writer's own is one
_BYTES = 3_500_000  # of its 4 MB
_SAME_WRITER = "epoch = :epoch AND version = :before"
_SAME_EPOCH = "epoch = :epoch"


@dataclass(frozen=True, slots=True)
class Writer:
    """The writer's item.

    generation  the epoch that forgot all before it
    open        the delivery, as epoch.version, that is committed and not brought to its items yet
    sweep       there is what earlier generations left behind
    """

    epoch: int = 0
    version: int = 0
    generation: int = 0
    open: str = ""
    sweep: bool = False


def writer_of(item: Item | None) -> Writer:
    """The writer that its item tells."""
    if item is None:
        return Writer()
    epoch, version, generation = (int(item.get(name, number(0))["N"]) for name in ("epoch", "version", "generation"))
    return Writer(epoch, version, generation, item.get("opened", text(""))["S"], "sweep" in item)


@dataclass(frozen=True, slots=True)
class Commits:
    """Writes what deliveries make of the table, each time as a whole. `remember_s`: how long the log is kept."""

    table: ProfilesTable
    name: str
    remember_s: float

    @property
    def key(self) -> Key:
        """Where the writer's item is."""
        return self.name, "writer"

    def writer(self) -> Writer:
        """The writer as it is now."""
        return writer_of(self.table.patiently(lambda: self.table.get(self.key)))

    def fence(self, was: Writer, epoch: int, version: int) -> bool:
        """Have nobody but this epoch write; False where another one began meanwhile."""
        values = {":epoch": number(epoch), ":was": number(was.epoch), ":version": number(version)}
        condition = "attribute_not_exists(epoch) OR epoch = :was"
        change = "SET epoch = :epoch, version = :version"
        if self.table.transact([self.table.update(self.key, change, condition, values)]):
            return True
        return self.writer().epoch == epoch  # of an answer that was lost

    def logged(self, space: Space, version: int) -> Iterator[Item]:
        """The log of what was written after a version, in order."""
        yield from self.table.query(space.pk("log"), f"{version + 1:016d}")

    def commit(self, writer: Writer, space: Space, run: Sequence[Delivery], made: Writes) -> bool:
        """Write what was made of a run; False where the writer is another by now: then readers see nothing of it."""
        versions = run[0].version, run[-1].version
        if not fits(made):
            return self._commit_large(writer, space, versions, made)
        log = self._log(space, writer.epoch, versions, made.log)
        requests = [
            self._step(writer, versions[1], space.generation, ""),
            *(self.table.put((pk, STANDS), item) for pk, item in made.items.items()),
            *(self.table.put(key, item) for key, item in {**made.history, **log}.items()),
        ]
        return self.table.transact(requests) or self._stands_at(writer.epoch, versions[1])

    def _log(
        self, space: Space, epoch: int, versions: tuple[int, int], entries: Sequence[list[str]], token: str = ""
    ) -> dict[Key, Item]:
        more = {"expires": number(int(time.time() + self.remember_s))} | ({"of": text(token)} if token else {})
        return {key: {**item, **more} for key, item in log_items(space, *versions, epoch, entries).items()}

    def _commit_large(self, writer: Writer, space: Space, versions: tuple[int, int], made: Writes) -> bool:
        token = f"{writer.epoch}.{versions[1]}"
        entries = [*made.log, *(["k", pk] for pk in made.items)]
        staged: dict[Key, Item | None] = {
            **self._log(space, writer.epoch, versions, entries, token),
            **made.history,
            **{(pk, NEXT): beside(item, token) for pk, item in made.items.items()},
        }
        guard = self.table.check(self.key, _SAME_WRITER, _values(writer))
        for chunk in chunks(staged):
            if not self.table.transact([guard, *(self.table.put(key, item) for key, item in chunk)]):
                return False
        step = self._step(writer, versions[1], space.generation, token)
        if not self.table.transact([step]) and not self._stands_at(writer.epoch, versions[1]):
            return False
        self.finish(space, writer.epoch, token)
        return True

    def _step(self, writer: Writer, version: int, generation: int, token: str) -> dict[str, Any]:
        """The request that commits: the version goes on, if the writer is the same still."""
        values = {**_values(writer), ":version": number(version), ":generation": number(generation)}
        change = "SET version = :version, generation = :generation"
        if token:
            change, values = f"{change}, opened = :opened", {**values, ":opened": text(token)}
        if generation != writer.generation:
            change, values = f"{change}, sweep = :sweep", {**values, ":sweep": {"BOOL": True}}
        return self.table.update(self.key, change, _SAME_WRITER, values)

    def _stands_at(self, epoch: int, version: int) -> bool:
        """Whether a transaction that was refused had been done before, and its answer lost."""
        found = self.writer()
        return (found.epoch, found.version) == (epoch, version)

    def finish(self, space: Space, epoch: int, token: str) -> None:
        """Bring the items of a large delivery, which is committed, to what it says. `epoch` is the writer's now."""
        version = int(token.partition(".")[2])
        logged = [item for item in self.logged(space, version - 1) if item.get("of") == text(token)]
        names = [name for kind, name, *_ in entries_of(logged) if kind == "k"]
        same, values = _SAME_EPOCH, {":epoch": number(epoch)}
        guard = self.table.check(self.key, same, values)
        for at in range(0, len(names), _ITEMS // 2):
            there = self.table.some((name, NEXT) for name in names[at : at + _ITEMS // 2])
            to_be = {key: ahead(item) for key, item in there.items() if item["of"] == text(token)}
            for chunk in chunks(to_be, _ITEMS // 2):
                puts = [self.table.put((pk, STANDS), item) for (pk, _), item in chunk]
                gone = [self.table.put(key, None) for key, _ in chunk]
                if not self.table.transact([guard, *puts, *gone]):
                    return  # whoever is the writer now sees to it
        self.table.transact([self.table.update(self.key, "REMOVE opened", same, values)])

    def abandon(self, logged: Iterable[Item], token: str) -> None:
        """Delete what large deliveries put beside what stands and never committed; `token` is the one that was."""
        for item in logged:
            of = item.get("of")
            if of is not None and of != text(token):
                names = [(name, NEXT) for kind, name, *_ in entries_of([item]) if kind == "k"]
                self.table.delete([key for key, there in self.table.some(names).items() if there["of"] == of])

    def swept(self, writer: Writer) -> None:
        """Note that nothing is left behind."""
        values = {":epoch": number(writer.epoch), ":generation": number(writer.generation)}
        condition = f"{_SAME_EPOCH} AND generation = :generation"
        self.table.transact([self.table.update(self.key, "REMOVE sweep", condition, values)])


def fits(made: Writes) -> bool:
    """Whether one transaction takes it all."""
    count = len(made.items) + len(made.history) + len(made.freed) + 1
    whole = (item for item in (*made.items.values(), *made.history.values()) if item is not None)
    log_size = sum(len(part) for entry in made.log for part in entry)
    return count <= _ITEMS and log_size < 50_000 and sum(map(size_of, whole)) <= _BYTES


def chunks(items: dict[Key, Item | None], most: int = _ITEMS) -> Iterator[list[tuple[Key, Item | None]]]:
    """Items in parts that a transaction takes each."""
    return sized(items.items(), lambda pair: 0 if pair[1] is None else size_of(pair[1]), _BYTES, most)


def _values(writer: Writer) -> dict[str, Any]:
    return {":epoch": number(writer.epoch), ":before": number(writer.version)}
