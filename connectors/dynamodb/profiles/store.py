"""DynamoDB as a profile store: one table, one writer, each delivery seen as a whole.

What fits one transaction (100 items, 4 MB) is one, which also takes the writer's version further: a writer of an
earlier epoch, or a version written before, fails its condition and changes nothing. A delivery that doesn't fit is
written beside what stands, in items called `next`; then the writer's item takes the version further and names the
delivery, and from that moment readers take `next` for what stands; last, each item is brought to it. Readers get an
item, its `next` and the writer's item in one transaction. Where the writer dies in between, the next one finishes what
was committed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice

from connectors.aws.client import Aws
from connectors.dynamodb.profiles.items import (
    Held,
    Item,
    Space,
    Unfit,
    Writes,
    ahead,
    audit_of,
    entries_of,
    identifiers_in,
    owner_of,
    placed_of,
    plain,
    profile_of,
    refuse_unfit,
    touched_by,
    touched_in,
    unfit,
    writes_of,
)
from connectors.dynamodb.profiles.table import ProfilesTable
from connectors.dynamodb.profiles.writer import NEXT, STANDS, Commits, Writer, fits, writer_of
from core.errors import ConfigError, Unavailable
from core.identity.audit import Audit
from core.identity.identifiers import Identifier
from core.plans import Outcome, Status, rejected
from core.profiles.delivery import Delivery, Opening, runs
from core.profiles.merging import Profile
from core.profiles.step import Placed
from core.stores.batches import halving

_STEPS = 1000  # of a chain of aliases
_LOOKS = 20
_SWEPT_AT_ONCE = 200


class DynamodbProfiles:
    """A `ProfileStore` in one table, which pipelines of several names may share. Not for several threads.

    Its user must be allowed, on the table and its index: dynamodb:DescribeTable, CreateTable, DescribeTimeToLive,
    UpdateTimeToLive, GetItem, BatchGetItem, Query, Scan, PutItem, UpdateItem, DeleteItem, BatchWriteItem and
    ConditionCheckItem; to read, GetItem, Query and Scan.
    """

    def __init__(
        self, table: str, name: str, aws: Aws, patience_s: float = 30.0, remember_s: float = 7 * 86_400.0
    ) -> None:
        """`patience_s`, `remember_s` as of `PostgresProfiles`. Raises ConfigError where no region is known."""
        self._table = ProfilesTable(table, aws, patience_s)
        self._commits = Commits(self._table, name, remember_s)
        self._name = name
        self._remember_s = remember_s
        self._generation = 0
        self._sweeps = False
        self._swept: Item | None = None

    def prepare(self) -> None:
        """Make the table where it is missing; see `ProfileStore.prepare`."""
        self._table.prepare()

    def look(self) -> bool:
        """Whether the table is there; see `ProfileStore.look`."""
        return self._table.look()

    def close(self) -> None:
        """Give the connections back."""
        self._table.close()

    def begin(self, version: int, least: int = 0) -> Opening:
        """Begin an epoch; see `ProfileStore.begin`."""
        while True:
            was = self._commits.writer()
            epoch = max(was.epoch + 1, least or time.time_ns() // 1_000_000)
            self._refuse_forgotten(was, version)
            if self._commits.fence(was, epoch, version):
                break
        space = Space(self._name, was.generation)
        if was.open:
            self._commits.finish(space, epoch, was.open)
        if not version:  # the first delivery forgets all there is
            return Opening(epoch)
        logged = list(self._commits.logged(space, version))
        self._commits.abandon(logged, was.open)
        return Opening(epoch, touched_in(entries_of(logged)))

    def _refuse_forgotten(self, was: Writer, version: int) -> None:
        """Raises ConfigError where the log doesn't reach back to a version, or nothing was ever written."""
        if version and not was.generation:
            raise ConfigError(
                [
                    f"{self._table.what} has nothing of what the job's state says was written: a table that is added, "
                    "or made anew, is filled by a start --without-state"
                ]
            )
        if not version or was.version <= version:
            return
        first = next(self._commits.logged(Space(self._name, was.generation), version), None)
        if first is None or int(first["first"]["N"]) > version + 1:
            raise ConfigError(
                [
                    f"{self._table.what} no longer knows what was written to it since the state that the job starts "
                    "from: the state is older than delete_retention. Start --without-state"
                ]
            )

    def apply(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """Follow deliveries, in as few transactions as take them; see `ProfileStore.apply`.

        One with an item of more than 400 KB is rejected, and what stood stays. Raises Unavailable, ConfigError.
        """
        outcomes = [outcome for run in runs(deliveries) for outcome in halving(run, self._attempt, _rejected, (Unfit,))]
        if self._sweeps:
            self._sweep()
        return outcomes

    def _attempt(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        writer = self._commits.writer()
        self._sweeps = writer.sweep
        fresh = [each for each in deliveries if each.epoch == writer.epoch and each.version > writer.version]
        applied = {id(each) for each in self._follow(writer, fresh)} if fresh else set()
        return [Outcome(each.record, Status.APPLIED if id(each) in applied else Status.STALE) for each in deliveries]

    def _follow(self, writer: Writer, run: list[Delivery]) -> list[Delivery]:
        """Write deliveries of one run; those that were written. Raises Unfit before anything is."""
        undone = run[0].undone
        space = Space(self._name, run[0].epoch if undone == 0 else writer.generation)
        held = self._held(space, run)
        made = writes_of(space, run, held, self._expires())
        if undone is None:
            refuse_unfit(made)
            return self._halves(writer, space, run, made, held)
        # what doesn't fit was refused before, and stays as it was
        made.items = {name: item for name, item in made.items.items() if unfit(name, item) is None}
        if undone:  # nothing happens in it, so it has no history of its own
            gone = [entry for entry in entries_of(self._commits.logged(space, undone)) if entry[0] == "h"]
            made.history = {**{(space.pk("h", name), place): None for _, name, place in gone}, **made.history}
        return run if self._commit(writer, space, run, made) else []

    def _held(self, space: Space, run: Sequence[Delivery]) -> Held:
        keys = {name: (space.pk("p", name), STANDS) for name in touched_by(run)}
        there = self._table.some(keys.values())
        return {
            name: identifiers_in(there[key]) for name, key in keys.items() if key in there and "values" in there[key]
        }

    def _expires(self) -> int:
        return int(time.time() + self._remember_s)

    def _halves(
        self, writer: Writer, space: Space, run: Sequence[Delivery], made: Writes, held: Held
    ) -> list[Delivery]:
        """Write in as many transactions as it takes, each of whole deliveries; those that were written."""
        if len(run) == 1 or fits(made):
            return list(run) if self._commit(writer, space, run, made) else []
        middle = len(run) // 2
        done: list[Delivery] = []
        for half in (run[:middle], run[middle:]):
            written = self._halves(writer, space, half, writes_of(space, half, held, self._expires()), held)
            done += written
            if len(written) < len(half):
                break
            writer = Writer(writer.epoch, half[-1].version, writer.generation)
            held = {**held, **_holding(half)}
        return done

    def _commit(self, writer: Writer, space: Space, run: Sequence[Delivery], made: Writes) -> bool:
        touched = touched_by(run)
        keys = [(space.pk("i", f"{each.type}={each.value}"), STANDS) for each in made.freed]
        for (pk, _), item in self._table.some(keys).items():
            if item["profile_id"]["S"] in touched:  # else it is another's by now
                made.items.setdefault(pk, None)
        return self._commits.commit(writer, space, run, made)

    def _sweep(self) -> None:
        """Delete some of what generations left behind that are forgotten."""
        writer = self._commits.writer()
        page, self._swept = self._table.page(self._swept, _SWEPT_AT_ONCE)
        before = f"{self._name}#{writer.generation:016d}#"
        self._table.delete([key for key in page if key[0].startswith(f"{self._name}#") and key[0] < before])
        if self._swept is None:
            self._commits.swept(writer)

    def get(self, profile_id: str) -> Profile | None:
        """The profile of this id or alias."""
        for _ in range(_STEPS):
            item = self._now("p", profile_id)
            if item is None or ("into" not in item and "values" not in item):
                return None
            if "values" in item:
                return profile_of(item)
            profile_id = item["into"]["S"]
        return None

    def find(self, identifier: Identifier) -> Profile | None:
        """The profile that an identifier is of."""
        (asked,) = plain([identifier])
        for _ in range(_LOOKS):
            item = self._now("i", f"{asked.type}={asked.value}")
            if item is None:
                return None
            profile = self.get(item["profile_id"]["S"])
            if profile is not None and asked in profile.identifiers:
                return profile
        raise Unavailable(f"{self._table.what} changes faster than it can be read; ask again")

    def of_record(self, record: str) -> Profile | None:
        """The profile that a record is part of."""
        name = record
        for kind in ("r", "g"):
            item = self._now(kind, name)
            if item is None or "owner" not in item:
                return None
            name = item["owner"]["S"].rpartition("#")[2]
        return self.get(name)

    def is_erased(self, profile_id: str) -> bool:
        """See `ProfileStore.is_erased`."""
        item = self._now("p", profile_id)
        for _ in range(_STEPS):
            if item is None or "into" not in item:
                break
            item = self._now("p", item["into"]["S"])
        return item is not None and "into" not in item and "values" not in item

    def members(self, profile_id: str, most: int) -> list[Placed]:
        """At most so many of the records that make a profile, as an index has them some moments later."""
        space = self._space()
        groups = [item["group_id"]["S"] for item in self._table.owned(owner_of(space, profile_id))]
        found = [placed_of(item) for each in groups for item in self._table.owned(owner_of(space, each), most)]
        return sorted(found, key=lambda each: (each.table, len(each.record), each.record))[:most]

    def history(self, profile_id: str, most: int) -> list[Audit]:
        """At most so many audit records that name a profile, newest first."""
        writer = writer_of(self._table.get(self._commits.key))
        items = self._table.query(Space(self._name, writer.generation).pk("h", profile_id), newest=True)
        return [audit_of(item) for item in islice((e for e in items if int(e["version"]["N"]) <= writer.version), most)]

    def everything(self) -> tuple[dict[str, Profile], dict[str, str]]:
        """See `ProfileStore.everything`."""
        profiles: dict[str, Profile] = {}
        groups: dict[str, str] = {}
        records: dict[str, str] = {}
        for item in self._table.scan(self._space().pk("").removesuffix("#")):
            if item["sk"]["S"] != STANDS:
                continue
            owner = item["owner"]["S"].rpartition("#")[2] if "owner" in item else ""
            if "values" in item:
                profiles[item["profile_id"]["S"]] = profile_of(item)
            elif owner and "group_id" in item:
                groups[item["group_id"]["S"]] = owner
            elif owner:
                records[item["record"]["S"]] = owner
        return profiles, {record: groups[group] for record, group in records.items() if group in groups}

    def _space(self) -> Space:
        return Space(self._name, writer_of(self._table.get(self._commits.key)).generation)

    def _now(self, kind: str, name: str) -> Item | None:
        """An item as readers see it, as of one moment."""
        for _ in range(_LOOKS):
            try:
                pk = Space(self._name, self._generation).pk(kind, name)
            except Unfit:
                return None
            first, stands, to_be = self._table.moment([self._commits.key, (pk, STANDS), (pk, NEXT)])
            writer = writer_of(first)
            if writer.generation != self._generation:
                self._generation = writer.generation
            elif to_be is not None and writer.open and to_be["of"]["S"] == writer.open:
                return ahead(to_be)
            else:
                return stands
        raise Unavailable(f"{self._table.what} is begun anew on and on; ask again")


def _holding(run: Sequence[Delivery]) -> Held:
    """The identifiers that profiles have after deliveries."""
    held: dict[str, tuple[Identifier, ...]] = {}
    for each in run:
        held |= {gone.profile_id: () for gone in each.changes.retired}
        held |= {profile.profile_id: plain(profile.identifiers) for profile in each.changes.profiles}
    return held


def _rejected(delivery: Delivery, error: Exception) -> Outcome:
    return rejected(delivery.record, error)
