"""How records become profiles, as the pipeline file says it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cached_property
from hashlib import blake2b
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from core.config.source import Model, TablePatterns
from core.documents.templates import columns, whole_columns
from core.errors import ConfigError
from core.identity import identifiers
from core.identity.identifiers import Normalizer
from core.identity.rules import SHARED, IdentifierRule, Rules
from core.profiles.merging import Rule, Survivorship
from core.profiles.records import Event, Reading, RecordSpec

_UNIT_MS = {"s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_NORMALIZERS: Mapping[str, Normalizer] = {
    "text": identifiers.text,
    "fold": identifiers.fold,
    "email": identifiers.email,
}
_NEVER_SHARED = 1_000_000_000
_EVENTS = "a column, count, {sum: column}, {latest: column, by: column} or {last: 5, of: column, by: column}"

_NO_RULES = {"types", "tables", "sweep"}

Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5} ?(s|min|h|d)$")]
"""A number and its unit, as in `90d`."""

Named = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
"""What a value of a profile, or a type of identifiers, is called."""


def milliseconds(duration: str) -> int:
    """A Duration in milliseconds."""
    number, unit = re.split(r"(?<=\d) ?(?=[a-z])", duration)
    return int(number) * _UNIT_MS[unit]


def _normalizer(value: Any) -> str:
    """`text`, `fold`, `email`, or `phone` and the region."""
    if isinstance(value, str) and value in _NORMALIZERS:
        return value
    region = value.get("phone") if isinstance(value, dict) and len(value) == 1 else None
    if region is False:  # what YAML 1.1 makes of Norway
        region = "NO"
    if not isinstance(region, str):
        raise ValueError(f"must be one of {', '.join(_NORMALIZERS)}, or {{phone: NO}} with a region of two letters")
    try:
        identifiers.phone(region)
    except ConfigError as error:
        raise ValueError(error.problems[0]) from None
    return f"phone {region}"


def _event(value: Any) -> Event:
    if value == "count":
        return Event("count")
    if isinstance(value, str) and value:
        return Event("latest", value, value)
    if isinstance(value, dict) and all(isinstance(each, str) and each for key, each in value.items() if key != "last"):
        if value.keys() == {"sum"}:
            return Event("sum", value["sum"])
        if value.keys() | {"by"} == {"latest", "by"}:
            return Event("latest", value["latest"], value.get("by", ""))
        most = value.get("last")
        if value.keys() | {"by"} == {"last", "of", "by"} and type(most) is int and 1 <= most <= 100:
            return Event("last", value["of"], value.get("by", ""), most)
    raise ValueError(f"must be {_EVENTS}")


def _many(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _templates(places: tuple[str, ...]) -> None:
    for place in places:
        if not place or ("{" in place and not columns(place)):
            raise ValueError(f"{place!r} names no column")


class IdentifierType(Model):
    """One type of identifiers."""

    type: Named
    normalize: Annotated[str, BeforeValidator(_normalizer)] = "text"
    limit: int = Field(ge=1, le=100_000)
    shared: int | None = Field(None, ge=1, le=_NEVER_SHARED)
    expires: Duration | None = None

    def rule(self, strongest: bool) -> IdentifierRule:
        """The same, for `core.identity.linking`. Without `shared` any number may share the first type's."""
        shared = self.shared or (_NEVER_SHARED if strongest else SHARED)
        return IdentifierRule(self.type, self.limit, shared, milliseconds(self.expires) if self.expires else 0)

    @property
    def normalizer(self) -> Normalizer:
        """What makes its values comparable."""
        name, _, region = self.normalize.partition(" ")
        return identifiers.phone(region) if region else _NORMALIZERS[name]


class Record(Model):
    """What one table's rows say of persons."""

    identifiers: dict[str, Annotated[tuple[str, ...], BeforeValidator(_many)]] = Field(default_factory=dict)
    attributes: dict[Named, str] = Field(default_factory=dict)
    events: dict[Named, Annotated[Event, BeforeValidator(_event)]] = Field(default_factory=dict)
    trust: int = Field(0, ge=0, le=1000)
    time: str = ""
    key: tuple[str, ...] = ()
    types: dict[str, str] = Field(default_factory=dict)
    tables: TablePatterns = ()
    sweep: bool = True

    @property
    def shown(self) -> frozenset[str]:
        """The columns whose values profiles show."""
        places = (*self.attributes.values(), *(event.column for event in self.events.values() if event.column))
        named = (name for place in places for name in (columns(place) if "{" in place else (place,)))
        return frozenset(each for name in named for each in whole_columns(name))

    @field_validator("identifiers")
    @classmethod
    def _identify(cls, found: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for places in found.values():
            _templates(places)
        return found

    @field_validator("attributes")
    @classmethod
    def _say(cls, found: dict[str, str]) -> dict[str, str]:
        _templates(tuple(found.values()))
        return found


class Profiles(Model):
    """How records of several tables become one profile a person."""

    identifiers: tuple[IdentifierType, ...] = Field(min_length=1)
    blocked: tuple[str, ...] = ()
    records: dict[str, Record] = Field(min_length=1)
    survivorship: dict[str, Survivorship] = Field(default_factory=dict)
    without_identifier: Literal["keep", "dead_letter"] = "keep"
    ahead: Duration = "1d"

    @field_validator("identifiers")
    @classmethod
    def _each_once(cls, types: tuple[IdentifierType, ...]) -> tuple[IdentifierType, ...]:
        names = [each.type for each in types]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"type {twice[0]!r} stands twice; give each its own name")
        return types

    @field_validator("blocked")
    @classmethod
    def _are_patterns(cls, blocked: tuple[str, ...]) -> tuple[str, ...]:
        identifiers.blocker(blocked)
        return blocked

    @model_validator(mode="after")
    def _fit_together(self) -> Profiles:
        types = [each.type for each in self.identifiers]
        for table, record in self.records.items():
            for kind in record.identifiers:
                if kind not in types:
                    raise ValueError(
                        f"records.{table}.identifiers names {kind!r}, which is no type: {', '.join(types)}"
                    )
            for name, event in record.events.items():
                self._alike(table, name, event)
        unknown = [name for name in self.survivorship if name not in self._attributes]
        if unknown:
            raise ValueError(f"survivorship names {unknown[0]!r}, which is no attribute of any record")
        return self

    def _alike(self, table: str, name: str, event: Event) -> None:
        if name in self._attributes:
            raise ValueError(f"records.{table}.events.{name} is an attribute too; give one of them another name")
        for other, record in self.records.items():
            also = record.events.get(name)
            if also is not None and (also.kind, also.most) != (event.kind, event.most):
                raise ValueError(f"records.{table}.events.{name} is {event.kind}, in {other} it is {also.kind}")

    def misfit(self, text: str | None) -> str:
        """What's wrong with the text of a profile; "" where nothing is."""
        if text is None:
            return "is missing: a profile's text, with its values' names in braces"
        try:
            named = columns(text)
        except ValueError as error:
            return f"is no template: {error}"
        unknown = [name for name in named if name not in self.merging]
        if not named or unknown:
            there = ", ".join(self.merging)
            return f"names {unknown[0]!r}, which no profile has; there are {there}" if named else "names no value"
        return ""

    @cached_property
    def _attributes(self) -> frozenset[str]:
        return frozenset(name for record in self.records.values() for name in record.attributes)

    @property
    def merging(self) -> dict[str, Rule]:
        """How each value of a profile is made, for `core.profiles.merging`."""
        rules = {name: Rule(self.survivorship.get(name, "latest")) for name in sorted(self._attributes)}
        events = {name: event for record in self.records.values() for name, event in record.events.items()}
        return rules | {name: Rule(event.kind, event.most) for name, event in sorted(events.items())}

    def linking(self, remember_ms: int) -> Rules:
        """How records are linked, for `core.identity.linking`; deleted ones are remembered for `remember_ms`."""
        trust = {table: record.trust for table, record in self.records.items()}
        return Rules(
            [each.rule(each is self.identifiers[0]) for each in self.identifiers],
            trust,
            self.without_identifier == "keep",
            remember_ms,
        )

    @property
    def reading(self) -> Reading:
        """How identifiers are read, for `core.profiles.records`."""
        normalizers = {each.type: each.normalizer for each in self.identifiers}
        keep = self.without_identifier == "keep"
        return Reading(normalizers, identifiers.blocker(self.blocked), milliseconds(self.ahead), keep)

    @property
    def rules(self) -> dict[str, str]:
        """What decides who is whom and what profiles say, by the setting that says it: of other ones state is no use.

        The order of types and tables is part of it.
        """
        types = [each.model_dump(mode="json", exclude_defaults=True) for each in self.identifiers]
        records = {
            table: each.model_dump(mode="json", exclude=_NO_RULES, exclude_defaults=True)
            for table, each in self.records.items()
        }
        said: dict[str, Any] = {
            "identifiers": types,
            "blocked": sorted(self.blocked),
            "records": list(records),
            **{f"records.{table}": each for table, each in records.items()},
            "survivorship": dict(sorted(self.survivorship.items())),
            "without_identifier": self.without_identifier,
        }
        return {name: json.dumps(each, sort_keys=True, ensure_ascii=False) for name, each in said.items()}

    @property
    def read_by(self) -> str:
        """Changes whenever `rules` do."""
        return blake2b(json.dumps(self.rules, sort_keys=True).encode(), digest_size=16).hexdigest()

    def spec(self, table: str) -> RecordSpec:
        """What a table's records say, for `core.profiles.records`."""
        record = self.records[table]
        trusted = frozenset(name for name, kind in self.survivorship.items() if kind == "most_trusted")
        return RecordSpec(
            table, record.identifiers, record.attributes, record.events, trusted, record.trust, record.time, record.key
        )
