"""Identity and merging together: any interleaving of the same histories ends in the same profiles."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.change import Position
from core.errors import ConfigError, ProfileError
from core.identity.audit import Kind, Why
from core.identity.identifiers import Identifier
from core.identity.linking import RecordChange
from core.identity.outcome import Retired
from core.identity.query import find, resolve
from core.identity.rules import HOUR_MS, IdentifierRule, Rules
from core.identity.state import Memory
from core.profiles.merging import Fact, Facts, Profile, Rule, facts_to_bytes
from core.profiles.step import Persons, ProfileChanges
from tests.core.test_identity import EXAMPLES, histories, rules, shuffled

MERGING = {"name": Rule("latest"), "tags": Rule("union"), "spent": Rule("sum"), "recent": Rule("last", 2)}
LINKING = Rules(
    [IdentifierRule("customer", 1), IdentifierRule("email", 2), IdentifierRule("device", 3)], {"crm": 1, "web": 0}
)


def with_facts(change: RecordChange) -> RecordChange:
    """The same, saying something that tells it apart."""
    place = (0, change.time_ms, change.position, change.record)
    said: Facts = {
        "name": Fact(place, f"{change.record} at {change.position}"),
        "tags": Fact(place, [change.record, change.table]),
        "spent": Fact(place, str(int(change.position) + 1)),
        "recent": Fact(place, change.position),
    }
    return RecordChange(
        change.record,
        change.table,
        change.position,
        change.time_ms,
        change.identifiers,
        b"" if change.deleted else facts_to_bytes(said),
        change.deleted,
    )


class Kept(dict[str, Profile]):
    """A store that hears of what changed alone."""

    def hear(self, changes: ProfileChanges) -> ProfileChanges:
        for retired in changes.retired:
            del self[retired.profile_id]
        self.update({profile.profile_id: profile for profile in changes.profiles})
        return changes


def follow(changes: Sequence[RecordChange], some: Rules, hour: int) -> Kept:
    persons, kept = Persons(Memory(), some, MERGING), Kept()
    for at, change in enumerate(changes):
        kept.hear(persons.step(change))
        if at == len(changes) // 2:
            kept.hear(persons.advance(hour * HOUR_MS // 2))
    more = True
    while more:
        more = kept.hear(persons.advance(hour * HOUR_MS, most=2)).more
    assert all(persons.profile(name) == profile for name, profile in kept.items())
    return kept


@settings(max_examples=EXAMPLES)
@given(histories(), rules, st.integers(0, 12), st.data())
def test_every_interleaving_ends_in_the_same_profiles(
    changes: list[RecordChange], some: Rules, hour: int, data: st.DataObject
) -> None:
    full = [with_facts(change) for change in changes]
    other = shuffled(data, full)
    last = {change.record: change for change in full}
    assert follow(full, some, hour) == follow(other, some, hour) == follow(list(last.values()), some, hour)


@settings(max_examples=EXAMPLES)
@given(histories(), rules, st.integers(0, 12), st.integers(1, 6))
def test_batches_end_as_single_changes_do(changes: list[RecordChange], some: Rules, hour: int, size: int) -> None:
    full = [with_facts(change) for change in changes]
    persons, kept = Persons(Memory(), some, MERGING), Kept()
    persons.advance(hour * HOUR_MS)
    for at in range(0, len(full), size):
        before = kept.keys() | ()
        heard = kept.hear(persons.steps(full[at : at + size]))
        assert {*heard.born} == kept.keys() - before
    assert kept == follow(full, some, hour)


@settings(max_examples=50)
@given(histories(), rules, st.data())
def test_what_is_repeated_or_late_changes_nothing(
    changes: list[RecordChange], some: Rules, data: st.DataObject
) -> None:
    persons, kept = Persons(Memory(), some, MERGING), Kept()
    for number, change in enumerate(changes, 1):
        kept.hear(persons.step(with_facts(change)))
        before = dict(kept)
        for late in data.draw(st.lists(st.sampled_from(changes[:number]), max_size=2)):
            assert persons.step(with_facts(late)) == ProfileChanges()
            again = kept.hear(persons.step(with_facts(late), replayed=True))
            assert (again.born, again.retired, again.audit) == ((), (), ())
        assert kept == before


def say(persons: Persons, record: str, position: int, *held: str, deleted: bool = False) -> ProfileChanges:
    identifiers = tuple(Identifier(*each.split("=")) for each in held)
    table, time = record.partition("/")[0], position * HOUR_MS
    return persons.step(
        with_facts(RecordChange(record, table, Position(f"{position:06}"), time, identifiers, b"", deleted))
    )


def test_a_person_comes_together_and_apart_again() -> None:
    persons, kept = Persons(Memory(), LINKING, MERGING), Kept()
    kept.hear(say(persons, "crm/1", 1, "customer=1", "email=k@x.no"))
    kept.hear(say(persons, "web/1", 2, "device=d"))
    device = find(persons.graph, Identifier("device", "d"))
    merged = kept.hear(say(persons, "web/2", 3, "device=d", "email=k@x.no"))
    [profile] = kept.values()
    assert profile.records == {"crm": 1, "web": 2}
    assert profile.values["spent"] == "9"
    assert profile.identifiers == (
        Identifier("customer", "1"),
        Identifier("email", "k@x.no"),
        Identifier("device", "d"),
    )
    assert device is not None and merged.retired == (Retired(device, profile.profile_id),)
    assert resolve(persons.graph, device) == profile.profile_id
    [audit] = merged.audit
    assert (audit.kind, audit.profile_id, audit.others) == (Kind.MERGED, profile.profile_id, (device,))
    assert (audit.cause.record, audit.cause.why) == ("web/2", Why.CHANGED)
    assert set(audit.identifiers) == {Identifier("device", "d"), Identifier("email", "k@x.no")}

    split = kept.hear(say(persons, "web/2", 4, "device=d"))
    [audit] = split.audit
    assert (audit.kind, audit.profile_id, audit.others) == (Kind.SPLIT, profile.profile_id, (device,))
    assert audit.identifiers == (Identifier("email", "k@x.no"),)
    assert {name: each.records for name, each in kept.items()} == {profile.profile_id: {"crm": 1}, device: {"web": 2}}
    assert resolve(persons.graph, device) == device

    gone = kept.hear(say(persons, "crm/1", 5, deleted=True))
    assert gone.retired == (Retired(profile.profile_id, None),)
    assert resolve(persons.graph, profile.profile_id) is None


def test_a_link_that_would_break_a_limit_is_cut_and_reported() -> None:
    persons, kept = Persons(Memory(), LINKING, MERGING), Kept()
    say(persons, "crm/2", 1, "customer=2", "email=home@x.no")
    cut = say(persons, "crm/10", 2, "customer=10", "email=home@x.no")
    [audit] = cut.audit
    assert (audit.kind, audit.identifiers) == (Kind.CUT, (Identifier("email", "home@x.no"),))
    assert "break customer's limit, 1" in audit.reason
    assert audit.profile_id == find(persons.graph, Identifier("customer", "10"))
    assert find(persons.graph, Identifier("email", "home@x.no")) == find(persons.graph, Identifier("customer", "2"))
    restored = say(persons, "crm/2", 3, deleted=True).audit
    assert [each.kind for each in restored] == [Kind.RESTORED]
    kept.hear(cut)


def test_an_identifier_of_too_many_links_nothing() -> None:
    shared = Rules([IdentifierRule("customer", 9), IdentifierRule("email", 2, shared=2)], {"crm": 1})
    persons, kept = Persons(Memory(), shared, MERGING), Kept()
    for key in (1, 2, 3):
        heard = kept.hear(say(persons, f"crm/{key}", key, f"customer={key}", "email=info@x.no"))
    assert [each.kind for each in heard.audit] == [Kind.SPLIT, Kind.SHARED]
    assert len(kept) == 3
    heard = kept.hear(say(persons, "crm/3", 4, "customer=3"))
    assert [each.kind for each in heard.audit] == [Kind.MERGED, Kind.UNSHARED]
    assert sorted(profile.records["crm"] for profile in kept.values()) == [1, 2]


def test_an_identifier_expires_and_the_record_stays() -> None:
    rules_ = Rules([IdentifierRule("email", 2), IdentifierRule("device", 2, expires_ms=2 * HOUR_MS)], {"web": 0})
    persons, kept = Persons(Memory(), rules_, MERGING), Kept()
    kept.hear(say(persons, "web/1", 1, "device=d", "email=a@x.no"))
    kept.hear(say(persons, "web/2", 4, "device=d", "email=b@x.no"))
    assert len(kept) == 1
    assert kept.hear(persons.advance(3 * HOUR_MS)) == ProfileChanges()
    [audit] = kept.hear(persons.advance(4 * HOUR_MS)).audit
    assert (audit.kind, audit.cause.why, audit.identifiers) == (Kind.SPLIT, Why.EXPIRED, (Identifier("device", "d"),))
    assert len(kept) == 2


def test_many_records_of_one_identifier_keep_every_value_exact() -> None:
    persons, kept = Persons(Memory(), LINKING, MERGING), Kept()
    for number in range(400):
        kept.hear(say(persons, f"web/{number}", number, "device=d"))
    for number in range(399, 99, -1):
        kept.hear(say(persons, f"web/{number}", 1000 + number, deleted=True))
        [profile] = kept.values()
        assert profile.values["recent"] == [f"{number - 1:06}", f"{number - 2:06}"]
        assert profile.values["spent"] == str(sum(range(1, number + 1)))


def test_a_step_that_fails_leaves_the_state_as_it_was() -> None:
    store = Memory()
    persons = Persons(store, LINKING, MERGING)
    say(persons, "crm/1", 1, "customer=1")
    before = dict(store)
    with pytest.raises(ProfileError, match="identifier of type 'fax', which no rule is for"):
        say(persons, "crm/1", 2, "customer=1", "fax=2")
    assert store == before
    say(persons, "crm/1", 2, "customer=1", "email=a@x.no")
    assert find(persons.graph, Identifier("email", "a@x.no"))


def test_other_rules_need_another_state() -> None:
    store = Memory()
    say(Persons(store, LINKING, MERGING), "crm/1", 1, "customer=1")
    Persons(store, LINKING, MERGING)
    with pytest.raises(ConfigError, match="made by other rules of identity"):
        Persons(store, Rules([IdentifierRule("customer", 2)], {"crm": 1}), MERGING)
    with pytest.raises(ConfigError, match="made by other rules of merging"):
        Persons(store, LINKING, {**MERGING, "name": Rule("most_frequent")})
    Persons(store, LINKING, MERGING, "by one")
    Persons(store, LINKING, MERGING, "by one")
    with pytest.raises(ConfigError, match="records were read by other rules"):
        Persons(store, LINKING, MERGING, "by two")


def test_state_of_a_later_release_is_refused() -> None:
    store = Memory()
    say(Persons(store, LINKING, MERGING), "crm/1", 1, "customer=1")
    for key in store:
        store[key] = b"\x09" + store[key][1:]
    with pytest.raises(ValueError, match="identity state has version 09, this release reads 01"):
        Persons(store, LINKING, MERGING)
