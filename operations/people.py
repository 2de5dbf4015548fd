"""The profiles of one pipeline, opened to be asked for by many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connectors.opening.stores import open_profiles, stores_of
from core.config.pipeline import Pipeline
from core.errors import ConfigError
from core.identity.audit import Audit
from core.identity.identifiers import LONGEST, Identifier
from core.profiles.merging import Profile
from core.profiles.step import Placed
from core.stores.filters.evaluation import passes
from core.stores.filters.language import Filter
from operations.pool import Pool


@dataclass(frozen=True, slots=True)
class Origin:
    """What made a profile: records that it is made of, and what happened to it, the newest first."""

    records: Sequence[Placed]
    history: Sequence[Audit]


class People:
    """What a pipeline of profiles wrote.

    columns  the names of profiles' values, which filters may name
    types    of identifiers, the strongest first
    """

    def __init__(self, pipeline: Pipeline, connections: int) -> None:
        """So many `connections` ask at once. Raises ConfigError where the pipeline makes documents."""
        if pipeline.profiles is None:
            raise ConfigError(["profiles is missing: this pipeline file makes documents"])
        self._normalizers = pipeline.profiles.reading.normalizers
        self.columns = frozenset(pipeline.profiles.merging)
        self.types = tuple(self._normalizers)
        self._stores = Pool([open_profiles(stores_of(pipeline)) for _ in range(connections)])

    def connect(self) -> None:
        """Make every connection. Raises as `check` does."""
        for store in self._stores.all:
            if not store.look():
                raise ConfigError(["the store of profiles has no tables yet; `freshet run` makes them"])

    def check(self) -> None:
        """Raises Unavailable where the store doesn't answer, ConfigError where its tables aren't there."""
        with self._stores.one() as store:
            if not store.look():
                raise ConfigError(["the store of profiles has no tables"])

    def by_id(self, profile_id: str, among: Filter) -> Profile | None:
        """The profile of this id, or that an earlier id leads to, if its values pass the filter.

        Raises Unavailable where the store doesn't answer, as every method here.
        """
        with self._stores.one() as store:
            return _passing(store.get(profile_id), among)

    def by_identifier(self, kind: str, value: str, among: Filter) -> Profile | None:
        """The profile that an identifier links, in whatever way it is written, if its values pass the filter."""
        normal = self._normalizers[kind](value) if len(value) <= LONGEST else None
        if normal is None:
            return None
        with self._stores.one() as store:
            return _passing(store.find(Identifier(kind, normal)), among)

    def by_record(self, record: str, among: Filter) -> Profile | None:
        """The profile that a record, `table/key`, is part of, if its values pass the filter."""
        with self._stores.one() as store:
            return _passing(store.of_record(record), among)

    def is_erased(self, profile_id: str) -> bool:
        """Whether a profile of this id was there, and every record of it was deleted, not too long ago."""
        with self._stores.one() as store:
            return store.is_erased(profile_id)

    def origin(self, profile_id: str, records: int, events: int) -> Origin:
        """What made a profile, of at most so many records and events."""
        with self._stores.one() as store:
            history = store.history(profile_id, events) if events else []
            return Origin(store.members(profile_id, records), history)

    def close(self) -> None:
        """Give connections back; nobody asks any more."""
        self._stores.close()


def _passing(profile: Profile | None, among: Filter) -> Profile | None:
    return profile if profile is not None and passes(among, profile.values) else None
