"""The one writer of profiles without Flink: what a profile store is sent, and what it must hold then."""

from __future__ import annotations

from collections.abc import Iterable

from core.identity.linking import RecordChange
from core.identity.query import records_of
from core.identity.state import Memory
from core.plans import Status
from core.profiles.delivery import Delivery, texts_of
from core.profiles.merging import Profile
from core.profiles.step import Persons, ProfileChanges
from core.stores.contract import ProfileStore

TEXT = "{name}: {spent}"


class Writer:
    """Persons over a memory, written to a store; `checkpoint` is what a job that is killed goes back to."""

    def __init__(
        self, store: ProfileStore, persons: Persons, memory: Memory, version: int = 0, text: str = TEXT
    ) -> None:
        self.store, self.persons, self.memory, self.version = store, persons, memory, version
        self.text = text
        opening = store.begin(version)
        self.epoch = opening.epoch
        self.deliver([self.delivery("", self.persons.standing(opening.touched), undone=version)])

    def delivery(self, record: str, changes: ProfileChanges, undone: int | None = None) -> Delivery:
        self.version += 1
        return Delivery(self.epoch, self.version, record, changes, texts_of(changes, self.text), undone)

    def deliver(self, deliveries: list[Delivery]) -> None:
        assert {each.status for each in self.store.apply(deliveries)} <= {Status.APPLIED}

    def follow(self, changes: Iterable[RecordChange]) -> None:
        """One batch."""
        self.deliver([self.delivery(each.record, self.persons.step(each)) for each in changes])

    def advance(self, now_ms: int) -> None:
        """Let time pass."""
        changes = ProfileChanges(more=True)
        while changes.more:
            changes = self.persons.advance(now_ms, most=2)
            self.deliver([self.delivery("", changes)])

    def checkpoint(self) -> tuple[Memory, int]:
        """The state as it is now."""
        return Memory(self.memory), self.version

    def profiles(self) -> dict[str, Profile]:
        """Every profile there is."""
        names = {self.persons.graph.clusters[int(key[1:])].canonical.hex() for key in self.memory if key[0] == "c"}
        found = {name: self.persons.profile(name) for name in names}
        return {name: profile for name, profile in found.items() if profile is not None}

    def records(self) -> dict[str, str]:
        """Each record's profile."""
        return {
            record.name: name
            for name in self.profiles()
            for whole in (self.persons.person(name),)
            if whole is not None
            for group in whole.groups
            for record in records_of(self.persons.graph, group)
        }
