"""Whether a profile store holds what the sources' rows come to: linked and merged at once, and compared by profile.

Rows tell all that a stream tells but two things: when they were committed, and in which order. So what `latest`,
`most_trusted` and `last` choose is known where the table's records name a column of their `time`, and no two share one.
Where it isn't, any of the values that might have been chosen is right. All else is compared exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.change import Change, Operation, Position
from core.documents.unsettled import Refused
from core.identity.linking import RecordChange
from core.identity.query import records_of
from core.identity.rules import Rules
from core.identity.state import Memory
from core.profiles.delivery import TABLE
from core.profiles.merging import Fact, Profile, Rule, facts_from_bytes
from core.profiles.merging import Rules as Merging
from core.profiles.records import Reading, RecordSpec, step
from core.profiles.step import Persons
from core.stores.verification import Difference, Kind

_SOME = Position("0")
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Said:
    """What a row says now. `timed`: whether it tells its event time itself."""

    change: RecordChange
    timed: bool


@dataclass(frozen=True, slots=True)
class Whole:
    """The profiles that records make together.

    profiles  by id
    records   each record's profile, by id
    said      by profile and value's name: the facts that it is made of, with whether their times are known
    """

    profiles: Mapping[str, Profile] = field(default_factory=dict)
    records: Mapping[str, str] = field(default_factory=dict)
    said: Mapping[tuple[str, str], Sequence[tuple[Fact, bool]]] = field(default_factory=dict)


def said_by(row: Mapping[str, Any], key: Sequence[str], spec: RecordSpec, reading: Reading, now_ms: int) -> Said:
    """What a row says, `key` being its table's primary key. Raises ProfileError where it can't be used."""
    change = Change(spec.table, {name: row[name] for name in key}, Operation.UPSERT, _SOME, row)
    _, record = step(None, change, spec, reading, now_ms)
    if isinstance(record, Refused):
        raise record.error
    assert record is not None
    return Said(record, bool(spec.time) and row.get(spec.time) is not None)


def whole(records: Iterable[Said], linking: Rules, merging: Merging, now_ms: int) -> Whole:
    """The profiles that records make at a time: the same pure functions as the stream's, over memory."""
    memory = Memory()
    persons = Persons(memory, linking, merging)
    timed: dict[str, bool] = {}
    while persons.advance(now_ms).more:
        pass
    for each in records:
        persons.step(each.change)
        timed[each.change.record] = each.timed
    profiles: dict[str, Profile] = {}
    of: dict[str, str] = {}
    said: dict[tuple[str, str], list[tuple[Fact, bool]]] = {}
    for handle in (int(key[1:]) for key in list(memory) if key[0] == "c"):
        name = persons.graph.clusters[handle].canonical.hex()
        found, person = persons.profile(name), persons.person(name)
        assert found is not None and person is not None
        profiles[name] = found
        for record in (record for gid in person.groups for record in records_of(persons.graph, gid)):
            of[record.name] = name
            for value, fact in (facts_from_bytes(record.facts) if record.facts else {}).items():
                said.setdefault((name, value), []).append((fact, timed[record.name]))
    return Whole(profiles, of, said)


def document(profile_id: str) -> str:
    """How a difference names a profile."""
    return f"{TABLE}/{profile_id}"


def compared(
    true: Whole, profiles: Mapping[str, Profile], records: Mapping[str, str], merging: Merging
) -> list[Difference]:
    """How a store's profiles and records differ from these, by profile."""
    found: dict[str, Difference] = {}
    for name in profiles.keys() - true.profiles.keys():
        found[name] = Difference(document(name), Kind.GHOST, f"no rows make it; it has {_made_of(profiles[name])}")
    for name, profile in true.profiles.items():
        if name not in profiles:
            found[name] = Difference(document(name), Kind.MISSING, f"{_made_of(profile)} make it")
        elif what := _otherwise(true, profile, profiles[name], merging):
            found[name] = Difference(document(name), Kind.STALE, "; ".join(what))
    for record in sorted(true.records.keys() | records.keys()):
        wanted, there = true.records.get(record), records.get(record)
        if wanted != there:
            name = wanted or there or ""
            said = f"record {record} is of {_called(there)}, not of {_called(wanted)}"
            found.setdefault(name, Difference(document(name), Kind.STALE, said))
    return sorted(found.values(), key=lambda each: each.document_id)


def changed(one: Whole, other: Whole) -> set[str]:
    """The profiles that aren't the same in both."""
    of_either = one.profiles.keys() | other.profiles.keys()
    names = {name for name in of_either if one.profiles.get(name) != other.profiles.get(name)}
    for record in one.records.keys() | other.records.keys():
        was, is_ = one.records.get(record), other.records.get(record)
        if was != is_:
            names |= {name for name in (was, is_) if name is not None}
    return names


def _otherwise(true: Whole, profile: Profile, there: Profile, merging: Merging) -> list[str]:
    found = []
    if set(profile.identifiers) != set(there.identifiers):
        lacks = Counter(each.type for each in set(profile.identifiers) - set(there.identifiers))
        more = Counter(each.type for each in set(there.identifiers) - set(profile.identifiers))
        said = [f"lacks {_counted(lacks)}" if lacks else "", f"has {_counted(more)} too many" if more else ""]
        found.append("identifiers: " + ", ".join(each for each in said if each))
    elif profile.identifiers != there.identifiers:
        found.append("identifiers in another order")
    if profile.records != there.records:
        found.append(f"made of {_made_of(there)}, not {_made_of(profile)}")
    names = [
        name
        for name, rule in merging.items()
        if not _may_be(rule, true.said.get((profile.profile_id, name), ()), profile.values, there.values, name)
    ]
    return [*found, *([f"other values: {', '.join(names)}"] if names else [])]


def _may_be(
    rule: Rule, facts: Sequence[tuple[Fact, bool]], wanted: Mapping[str, Any], there: Mapping[str, Any], name: str
) -> bool:
    """Whether a value is one that the facts may come to."""
    if (name in wanted) != (name in there):
        return False
    if name not in wanted or wanted[name] == there[name]:
        return True
    if rule.kind in ("latest", "most_trusted"):
        first = [fact for fact, timed in facts if not any(_is_before(other, (fact, timed)) for other in facts)]
        return any(fact.value == there[name] for fact in first)
    if rule.kind != "last" or not isinstance(there[name], list) or len(there[name]) != len(wanted[name]):
        return False
    left = [fact.value for fact, _ in facts]
    for value in there[name]:
        if value not in left:
            return False
        left.remove(value)
    places = [(fact.place[0], fact.place[1] if timed else None) for fact, timed in facts]
    return any(time is None for _, time in places) or len(set(places)) < len(places)


def _is_before(one: tuple[Fact, bool], other: tuple[Fact, bool]) -> bool:
    """Whether a fact is chosen before another for sure."""
    (first, timed), (second, also) = one, other
    if first.place[0] != second.place[0]:
        return first.place[0] > second.place[0]
    return timed and also and first.place[1] > second.place[1]


def _made_of(profile: Profile) -> str:
    counts = [f"{count:,} of {table}" for table, count in sorted(profile.records.items())]
    return ", ".join(counts[:_SHOWN]) + (" …" if len(counts) > _SHOWN else "")


def _counted(types: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(types.items()))


def _called(name: str | None) -> str:
    return "no profile" if name is None else name
