"""What a profile store receives: each time as a whole, by the one writer, in its order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from core.change import Position
from core.documents.step import Chunker
from core.documents.templates import render
from core.identity.audit import Audit
from core.plans import Chunk, Plan, chunk_id
from core.profiles.merging import Profile
from core.profiles.step import Placed, ProfileChanges, Touched

TABLE = "profiles"
"""A profile's document in a vector store is called `profiles/ID`."""


# A checkpoint may hold deliveries, under these names.
class Delivery(msgspec.Struct, frozen=True, rename={"changes": "told"}):
    """What follows from one change, for a store.

    epoch    the writer's: a job that starts again has a greater one, and what an earlier one still sends is refused
    version  rises by one with each delivery
    record   whose change it was; "" for time that passed
    texts    of `changes.profiles`, in order
    undone   the version that the writer's state stood at as it started. The first delivery of an epoch has it, and
             tells whatever the store may have heard of since as it was then. 0: forget all there is
    """

    epoch: int
    version: int
    record: str
    changes: ProfileChanges
    texts: tuple[str, ...] = ()
    undone: int | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """A writer's start: its epoch, and what the store has heard of since the version that the writer starts from."""

    epoch: int
    touched: Touched = field(default_factory=Touched)


class Noted(NamedTuple):
    """An audit record, and the delivery that it came with; `nth` of it."""

    version: int
    nth: int
    audit: Audit


@dataclass(frozen=True, slots=True)
class Folded:
    """Deliveries as one: what stands at the end. Versions are those of the last delivery that named it.

    profiles  by id: version, profile and text
    retired   by id: version, and the profile that the id leads to
    groups    by id: version, and the profile that its records are of
    records   by id: version, and where it is
    """

    profiles: dict[str, tuple[int, Profile, str]]
    retired: dict[str, tuple[int, str | None]]
    groups: dict[str, tuple[int, str | None]]
    records: dict[str, tuple[int, Placed]]
    audit: tuple[Noted, ...]


def folded(deliveries: Iterable[Delivery]) -> Folded:
    """Several deliveries, in their order, as one."""
    profiles: dict[str, tuple[int, Profile, str]] = {}
    retired: dict[str, tuple[int, str | None]] = {}
    groups: dict[str, tuple[int, str | None]] = {}
    records: dict[str, tuple[int, Placed]] = {}
    audit: list[Noted] = []
    for each in deliveries:
        version, changes = each.version, each.changes
        for gone in changes.retired:
            retired[gone.profile_id] = (version, gone.into)
            profiles.pop(gone.profile_id, None)
        for profile, text in zip(changes.profiles, each.texts, strict=True):
            profiles[profile.profile_id] = (version, profile, text)
            retired.pop(profile.profile_id, None)
        groups.update((moved.group, (version, moved.after)) for moved in changes.moved)
        records.update((placed.record, (version, placed)) for placed in changes.placed)
        audit += (Noted(version, nth, one) for nth, one in enumerate(changes.audit))
    return Folded(profiles, retired, groups, records, tuple(audit))


def runs(deliveries: Sequence[Delivery]) -> Iterator[list[Delivery]]:
    """The deliveries in runs, each but the first beginning with one that undoes what was heard before."""
    run: list[Delivery] = []
    for each in deliveries:
        if run and each.undone is not None:
            yield run
            run = []
        run.append(each)
    if run:
        yield run


def texts_of(changes: ProfileChanges, template: str) -> tuple[str, ...]:
    """The text of each changed profile: the template with its values; nothing stands for those it lacks."""
    return tuple(render(template, profile.values) for profile in changes.profiles)


def epoch_position(epoch: int) -> Position:
    """Before every position of this epoch, and after those of all earlier ones."""
    return Position(f"{epoch:016d}.")


def plans_of(delivery: Delivery, model: str, chunker: Chunker) -> list[Plan]:
    """What vector stores are to hold of a delivery's profiles; of one that is no more, nothing."""
    position = Position(epoch_position(delivery.epoch) + f"{delivery.version:016d}")
    plans = [Plan(f"{TABLE}/{gone.profile_id}", position) for gone in delivery.changes.retired]
    for profile, text in zip(delivery.changes.profiles, delivery.texts, strict=True):
        name = f"{TABLE}/{profile.profile_id}"
        pieces = [text[begin:end] for begin, end in chunker.ranges(text)] if text.strip() else []
        chunks = tuple(
            Chunk(chunk_id(name, model, chunker.name, piece, pieces[:nth].count(piece)), nth, piece)
            for nth, piece in enumerate(pieces)
        )
        plans.append(Plan(name, position, tuple(each.chunk_id for each in chunks), chunks))
    return plans


class Texts:
    """The last text delivered of each profile in an epoch, of so many profiles: the same needs no second delivery.

    Within an epoch one writer sends all, and what it sent is in the vector stores or on its way. So this lives no
    longer than the writer: another one sends again what it doesn't know.
    """

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        self._digests: dict[str, bytes] = {}
        self._epoch = 0

    def changed(self, delivery: Delivery) -> Delivery:
        """The delivery with those of its profiles whose text is another one now; the rest of it is as it was."""
        if delivery.epoch != self._epoch or delivery.undone is not None:
            self._epoch, self._digests = delivery.epoch, {}
        for gone in delivery.changes.retired:
            self._digests.pop(gone.profile_id, None)
        kept = [
            (profile, text)
            for profile, text in zip(delivery.changes.profiles, delivery.texts, strict=True)
            if self._is_new(profile.profile_id, text)
        ]
        changes = replace(delivery.changes, profiles=tuple(profile for profile, _ in kept))
        return msgspec.structs.replace(delivery, changes=changes, texts=tuple(text for _, text in kept))

    def _is_new(self, profile_id: str, text: str) -> bool:
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if self._digests.pop(profile_id, None) == digest:
            self._digests[profile_id] = digest  # the last to be forgotten
            return False
        self._digests[profile_id] = digest
        if len(self._digests) > self._most:
            del self._digests[next(iter(self._digests))]
        return True
