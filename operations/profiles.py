"""`freshet profile`: who is behind an identifier, and what made them so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from connectors.opening.stores import open_profiles, stores_of
from core.config.pipeline import Pipeline
from core.config.profiles import Profiles
from core.config.store import Store
from core.errors import ConfigError, FreshetError
from core.identity.audit import Audit
from core.identity.identifiers import Identifier
from core.profiles.delivery import TABLE
from core.profiles.merging import Profile
from core.profiles.step import Placed
from core.stores.contract import Hit, ProfileStore


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a profile is one.

    members    of its records, with what links each
    elsewhere  of each identifier that its members have and that doesn't link them, whose it is; None: nobody's
    history    its events, the newest first
    """

    profile: Profile
    members: Sequence[Placed]
    elsewhere: Mapping[Identifier, Profile | None]
    history: Sequence[Audit]


@contextmanager
def asked(pipeline: Pipeline, who: str) -> Iterator[tuple[Profiles, ProfileStore, Profile]]:
    """The pipeline's rules, its store, and the profile that is asked for. Raises FreshetError where there is none."""
    profiles = pipeline.profiles_job.profiles
    with closing(open_profiles(stores_of(pipeline))) as store:
        found = known(profiles, store, who)
        if found is None:
            raise FreshetError(f"nobody is known by {who!r}: neither an id of a profile nor a linking identifier")
        yield profiles, store, found


def known(rules: Profiles, store: ProfileStore, who: str) -> Profile | None:
    """The profile of this id, alias or identifier, `[TYPE=]VALUE`."""
    found = store.get(who)
    for each in _candidates(rules, who) if found is None else ():
        found = found or store.find(each)
    return found


def explained(store: ProfileStore, profile: Profile, records: int = 50, events: int = 20) -> Explanation:
    """Why a profile is one, with at most so many of its records and of the events in its history."""
    members = store.members(profile.profile_id, records)
    history = store.history(profile.profile_id, events) if events else []
    elsewhere = {each: store.find(each) for each in sorted(_unlinked(profile, members))}
    return Explanation(profile, members, elsewhere, history)


def neighbours(pipeline: Pipeline, who: str, k: int) -> list[Hit]:
    """The `k` profiles whose texts are nearest to this one's, by their vectors, best first.

    Raises FreshetError where there is no such profile or it has no vector, ConfigError where no store has vectors.
    """
    # imported late: nothing else here needs it, and it takes a second
    from operations.servers import stores

    with asked(pipeline, who) as (_, _, profile):
        there = stores(pipeline)
        if not there:
            raise ConfigError([f"store names no store of vectors: add {' or '.join(Store.holding('vectors'))}"])
        with closing(next(iter(there.values()))) as store:
            name = f"{TABLE}/{profile.profile_id}"
            stored = store.read([name]).get(name)
            if stored is None:
                raise FreshetError(f"profile {profile.profile_id} has no vector (yet, or its text is empty)")
            mean = stored.vectors.mean(axis=0)
            hits = store.search((mean / np.linalg.norm(mean)).astype(np.float32), k + len(stored.chunks))
    return [hit for hit in hits if hit.document_id != name][:k]


def _candidates(rules: Profiles, who: str) -> list[Identifier]:
    """The identifiers that a text may be, strongest first; of a named type that one alone."""
    normalizers = rules.reading.normalizers
    named, equals, value = who.partition("=")
    asked = {named: value} if equals and named in normalizers else dict.fromkeys(normalizers, who)
    normal = ((kind, normalizers[kind](text)) for kind, text in asked.items())
    return [Identifier(kind, text) for kind, text in normal if text is not None]


def as_json(profile: Profile) -> dict[str, Any]:
    """A profile as JSON."""
    return {
        "profile_id": profile.profile_id,
        "identifiers": [list(each) for each in profile.identifiers],
        "values": profile.values,
        "records": profile.records,
    }


def _unlinked(profile: Profile, members: list[Placed]) -> set[Identifier]:
    return {each for member in members for each in member.identifiers} - set(profile.identifiers)
