"""What links records to persons, how far, and in which order: `core.identity.linking` says how they are followed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import blake2b

from core.identity.identifiers import Identifier

HOUR_MS = 3_600_000
SHARED = 2000
"""Of how many different sets of identifiers one may be part, where the rules don't say."""


@dataclass(frozen=True, slots=True)
class IdentifierRule:
    """One type of identifiers.

    limit       how many of them a profile may have
    shared      how many different sets of identifiers one may be part of; beyond that it links nothing
    expires_ms  how long after a record's event time its identifier links; 0: always
    """

    type: str
    limit: int
    shared: int = SHARED
    expires_ms: int = 0


@dataclass(frozen=True)
class Rules:
    """How records are linked.

    identifiers  strongest first
    trust        table to how much its links are trusted, in the order of the file
    keep_alone   a record without identifiers is a profile of its own; else it belongs to none
    remember_ms  how long a deleted record's position is remembered, so that late changes of it are refused
    """

    identifiers: Sequence[IdentifierRule]
    trust: Mapping[str, int] = field(default_factory=dict)
    keep_alone: bool = True
    remember_ms: int = 7 * 24 * HOUR_MS

    @cached_property
    def ranks(self) -> dict[str, int]:
        """Type to its place, the strongest being 0."""
        return {rule.type: rank for rank, rule in enumerate(self.identifiers)}

    @cached_property
    def by_type(self) -> dict[str, IdentifierRule]:
        """Type to its rule."""
        return {rule.type: rule for rule in self.identifiers}

    @cached_property
    def limits(self) -> list[int]:
        """The types' limits, strongest first."""
        return [rule.limit for rule in self.identifiers]

    @cached_property
    def tables(self) -> dict[str, tuple[int, int]]:
        """Table to its place among links of one type: the most trusted first, then as the file has them."""
        return {table: (-trust, at) for at, (table, trust) in enumerate(self.trust.items())}

    @cached_property
    def made_by(self) -> str:
        """Changes whenever the same records might be linked otherwise."""
        rules = repr((list(self.identifiers), dict(self.trust), list(self.trust), self.keep_alone))
        return blake2b(rules.encode(), digest_size=16).hexdigest()

    def order(self, identifier: Identifier) -> tuple[int, tuple[bool, int, str]]:
        """Where an identifier stands: by its type's strength, then whole numbers by size, then texts."""
        return self.ranks[identifier.type], natural(identifier.value)

    def signature(
        self, identifiers: Sequence[Identifier], time_ms: int, hour: int
    ) -> tuple[tuple[Identifier, ...], int | None]:
        """The identifiers that link at `hour`, in order, and the hour at which the next of them ceases to, if any does.

        An identifier links up to the end of the hour in which it expires.
        """
        standing: set[Identifier] = set()
        ends = []
        for identifier in identifiers:
            expires = self.by_type[identifier.type].expires_ms
            end = (time_ms + expires) // HOUR_MS + 1 if expires else None
            if end is None or end > hour:
                standing.add(identifier)
                ends += [] if end is None else [end]
        return tuple(sorted(standing, key=self.order)), min(ends, default=None)


def natural(value: str) -> tuple[bool, int, str]:
    """An order of texts in which whole numbers come first, by their size."""
    number = value.isascii() and value.isdigit()
    return not number, len(value) if number else 0, value


def digest(*parts: str) -> bytes:
    """The 16 bytes by which the state knows what the parts name."""
    raws = [part.encode() for part in parts]
    return blake2b(b"".join([len(raw).to_bytes(4, "big") + raw for raw in raws]), digest_size=16).digest()


@lru_cache(maxsize=16_384)  # a step asks for the same one several times
def identifier_id(identifier: Identifier) -> bytes:
    """Of an identifier: 16 bytes."""
    return digest("identifier", *identifier)
