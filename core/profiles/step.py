"""A record's change to the profiles that are other by it: identity and merging together, over one store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from core.change import Position
from core.errors import ConfigError
from core.identity import linking as identity
from core.identity.audit import Audit
from core.identity.identifiers import Identifier
from core.identity.linking import RecordChange
from core.identity.outcome import Linked, Moved, Retired, Transfer, together
from core.identity.query import Person, person, profile_of, records_of, resolve
from core.identity.rules import Rules, digest
from core.identity.state import Graph, Store, Table
from core.profiles import merging as profiles
from core.profiles.merging import Profile, Short, Summary


@dataclass(frozen=True, slots=True)
class Placed:
    """A source's record, and the group that it is in now; None: in none, it was deleted.

    identifiers  those that it has now, strongest first, whether they link it or not
    """

    record: str
    table: str
    group: str | None
    identifiers: tuple[Identifier, ...] = ()


@dataclass(frozen=True, slots=True)
class Touched:
    """What a store may have heard of since some time: ids of profiles and of groups, and records by table."""

    profiles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    records: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ProfileChanges:
    """What follows from one change, or from time that passed: what a store is to make of its profiles, in one go.

    profiles  as they are now, those that changed
    born      the ids of those that weren't there before
    retired   ids that are no more: their profiles go, and the ids become aliases
    moved     groups of records that are of another profile now
    placed    records that are in another group now
    more      there is more to do at this time: call `advance` again
    """

    profiles: tuple[Profile, ...] = ()
    born: tuple[str, ...] = ()
    retired: tuple[Retired, ...] = ()
    moved: tuple[Moved, ...] = ()
    audit: tuple[Audit, ...] = ()
    more: bool = False
    placed: tuple[Placed, ...] = ()


class Persons:
    """Every profile, over a store. Each step writes to it as a whole or, where it raises, not at all.

    read  what tells how records are read; "" where nobody says it, nor compares it
    Raises ConfigError where the state was made by other rules.
    """

    def __init__(self, store: Store, linking: Rules, merging: profiles.Rules, read: str = "") -> None:
        self.graph = Graph(store, linking)
        self._merging = merging
        self._summaries: Table[bytes, Summary] = Table(store, "s", Summary, bytes.hex)
        made_by: Table[str, str] = Table(store, "n", str, str)
        if made_by.get("") not in (None, profiles.made_by(merging)):
            raise ConfigError(["profiles: the state was made by other rules of merging; start without it"])
        if read and made_by.get("read") not in (None, read):
            raise ConfigError(["profiles: the state's records were read by other rules; start without it"])
        made_by[""] = profiles.made_by(merging)
        if read:
            made_by["read"] = read
        made_by.save()

    def step(self, change: RecordChange, replayed: bool = False) -> ProfileChanges:
        """Follow a record's change: `core.identity.linking.step`."""
        return self._whole(lambda: identity.step(self.graph, change, replayed))

    def steps(self, changes: Iterable[RecordChange]) -> ProfileChanges:
        """Follow several changes as one: what stood in between is left out, and each profile is merged once."""
        return self._whole(lambda: together(self.graph, [identity.step(self.graph, change) for change in changes]))

    def sweep(self, table: str, before: Position) -> list[bytes]:
        """Have a table's changes refused that are older than `before`; what is to be cleared: `sweep`."""
        found = identity.sweep(self.graph, table, before)
        self._save()
        return found

    def clear(self, records: Iterable[bytes], before: Position, time_ms: int) -> ProfileChanges:
        """Take away those of the records that are older than `before`: `core.identity.linking.clear`."""
        return self._whole(lambda: identity.clear(self.graph, records, before, time_ms))

    def advance(self, now_ms: int, most: int = 1000) -> ProfileChanges:
        """Let time pass: `core.identity.linking.advance`."""
        return self._whole(lambda: identity.advance(self.graph, now_ms, most))

    def _whole(self, link: Callable[[], Linked]) -> ProfileChanges:
        try:
            changes = self._follow(link())
        except BaseException:
            self._drop()
            raise
        self._save()
        return changes

    def profile(self, profile_id: str) -> Profile | None:
        """A profile as it is now; None where there is none of this id."""
        whole = person(self.graph, profile_id)
        if whole is None:
            return None
        found = (self._summaries.get(bytes.fromhex(gid)) or {} for gid in whole.groups)
        counts: Counter[str] = Counter()
        for group in whole.groups.values():
            counts[group.table] += group.records.count
        values = profiles.merge(found, self._merging)
        return Profile(profile_id, whole.identifiers, values, dict(sorted(counts.items())))

    def person(self, profile_id: str) -> Person | None:
        """What makes a profile: `core.identity.query.person`."""
        return person(self.graph, profile_id)

    def standing(self, touched: Touched) -> ProfileChanges:
        """What there is of these now, for a store that may hold something else: what it heard of a run that failed."""
        profiles = [self.profile(name) for name in touched.profiles]
        lacking = [name for name, found in zip(touched.profiles, profiles, strict=True) if found is None]
        return ProfileChanges(
            tuple(each for each in profiles if each is not None),
            retired=tuple(Retired(name, resolve(self.graph, name)) for name in lacking),
            moved=tuple(Moved(gid, None, self._profile_of(gid)) for gid in touched.groups),
            placed=tuple(self._place(record, table) for record, table in touched.records),
        )

    def _profile_of(self, group: str) -> str | None:
        gid = bytes.fromhex(group)
        name = profile_of(self.graph, gid) if self.graph.groups.get(gid) is not None else None
        return None if name is None else name.hex()

    def _place(self, record: str, table: str) -> Placed:
        found = self.graph.records.get(digest("record", record))
        if found is None or not found.group:
            return Placed(record, table, None)
        return Placed(record, table, found.group.hex(), self.graph.groups[found.group].identifiers)

    def _follow(self, linked: Linked) -> ProfileChanges:
        self._transfer(linked.transfers)
        changed = tuple(each for name in linked.profiles if (each := self.profile(name)) is not None)
        placed = {each.record: self._placed(each) for each in linked.transfers if each.left != each.joined}
        return ProfileChanges(
            changed, linked.born, linked.retired, linked.moved, linked.audit, linked.more, tuple(placed.values())
        )

    def _placed(self, transfer: Transfer) -> Placed:
        group = self.graph.groups.get(transfer.joined) if transfer.joined else None
        if group is None:
            return Placed(transfer.record, "", None)
        return Placed(transfer.record, group.table, transfer.joined.hex(), group.identifiers)

    def _transfer(self, transfers: Iterable[Transfer]) -> None:
        whole: set[bytes] = set()
        for each in transfers:
            if each.left == each.joined and each.old == each.new:
                continue
            for gid, facts, goes in ((each.left, each.old, True), (each.joined, each.new, False)):
                if gid and gid not in whole and not self._changed(gid, facts, goes):
                    whole.add(gid)

    def _changed(self, gid: bytes, raw: bytes, goes: bool) -> bool:
        """Whether a record's facts could be taken out, or put in; else the summary is made anew, of all its records."""
        if self.graph.groups.get(gid) is None:
            self._summaries[gid] = None
            return True
        if not raw:
            return True
        facts = profiles.facts_from_bytes(raw)
        before = self._summaries.get(gid) or {}
        try:
            change = profiles.remove if goes else profiles.add
            self._summaries[gid] = change(before, facts, self._merging) or None
        except Short:
            anew: Summary = {}
            for record in records_of(self.graph, gid.hex()):
                anew = (
                    profiles.add(anew, profiles.facts_from_bytes(record.facts), self._merging) if record.facts else anew
                )
            self._summaries[gid] = anew or None
            return False
        return True

    def _save(self) -> None:
        self.graph.save()
        self._summaries.save()

    def _drop(self) -> None:
        self.graph.drop()
        self._summaries.drop()
