"""Several profile stores that get the same deliveries, as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from core.identity.audit import Audit
from core.identity.identifiers import Identifier
from core.plans import Outcome, Status
from core.profiles.delivery import Delivery, Opening
from core.profiles.merging import Profile
from core.profiles.step import Placed, Touched
from core.stores.contract import ProfileStore

_WORST = (Status.REJECTED, Status.APPLIED, Status.STALE)


class SeveralProfiles:
    """A `ProfileStore` of others, written one after the other. The first is who answers.

    One that is away holds the others back, as the job waits for all.
    """

    def __init__(self, stores: Mapping[str, ProfileStore]) -> None:
        """By their names in the pipeline file."""
        self._stores = dict(stores)
        self._first = next(iter(self._stores.values()))

    def look(self) -> bool:
        """Whether all is there in each; see `ProfileStore.look`."""
        return all(store.look() for store in self._stores.values())

    def prepare(self) -> None:
        """Prepare each."""
        for store in self._stores.values():
            store.prepare()

    def begin(self, version: int, least: int = 0) -> Opening:
        """Begin one epoch in all; the opening names what any of them has heard of."""
        openings = [store.begin(version, least) for store in self._stores.values()]
        epoch = max(each.epoch for each in openings)
        for store, opening in zip(self._stores.values(), openings, strict=True):
            if opening.epoch < epoch:
                store.begin(version, epoch)
        touched = [each.touched for each in openings]
        return Opening(
            epoch,
            Touched(
                tuple(dict.fromkeys(name for each in touched for name in each.profiles)),
                tuple(dict.fromkeys(name for each in touched for name in each.groups)),
                tuple(dict(record for each in touched for record in each.records).items()),
            ),
        )

    def apply(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """Follow deliveries in each. One that any of them rejects is rejected, with its name in the reason."""
        outcomes = [self._named(name, store.apply(deliveries)) for name, store in self._stores.items()]
        return [min(of_one, key=lambda each: _WORST.index(each.status)) for of_one in zip(*outcomes, strict=True)]

    def _named(self, name: str, outcomes: Sequence[Outcome]) -> list[Outcome]:
        return [replace(each, reason=f"{name}: {each.reason}") if each.reason else each for each in outcomes]

    def get(self, profile_id: str) -> Profile | None:
        """As the first has it."""
        return self._first.get(profile_id)

    def of_record(self, record: str) -> Profile | None:
        """As the first has it."""
        return self._first.of_record(record)

    def is_erased(self, profile_id: str) -> bool:
        """As the first has it."""
        return self._first.is_erased(profile_id)

    def members(self, profile_id: str, most: int) -> list[Placed]:
        """As the first has them."""
        return self._first.members(profile_id, most)

    def history(self, profile_id: str, most: int) -> list[Audit]:
        """As the first has it."""
        return self._first.history(profile_id, most)

    def find(self, identifier: Identifier) -> Profile | None:
        """As the first has it."""
        return self._first.find(identifier)

    def everything(self) -> tuple[dict[str, Profile], dict[str, str]]:
        """As the first has it."""
        return self._first.everything()

    def close(self) -> None:
        """Close each."""
        for store in self._stores.values():
            store.close()
