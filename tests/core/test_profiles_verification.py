from __future__ import annotations

from typing import Any

import pytest

from core.change import Position
from core.identity.identifiers import Identifier
from core.identity.linking import RecordChange
from core.identity.rules import IdentifierRule, Rules
from core.profiles.merging import Fact, Profile, Rule, facts_to_bytes
from core.stores.profile_verification import Said, Whole, changed, compared, whole
from core.stores.verification import Kind

LINKING = Rules([IdentifierRule("email", 5)], {"crm": 1, "web": 0})
MERGING = {
    "city": Rule("latest"),
    "name": Rule("most_trusted"),
    "last": Rule("last", 2),
    "spent": Rule("sum"),
}
EMAIL = Identifier("email", "k@x.no")


def said(record: str, time: int | None, **values: Any) -> Said:
    table = record.partition("/")[0]
    trust = LINKING.trust[table]
    facts = {
        name: Fact((trust if name == "name" else 0, time or 0, Position("0"), record), value)
        for name, value in values.items()
    }
    change = RecordChange(record, table, Position("0"), time or 0, (EMAIL,), facts_to_bytes(facts))
    return Said(change, time is not None)


def found(records: list[Said], **values: Any) -> str:
    """What is said of a store that has these values."""
    true = whole(records, LINKING, MERGING, 0)
    ((name, profile),) = true.profiles.items()
    there = Profile(name, profile.identifiers, {**profile.values, **values}, profile.records)
    return "; ".join(each.what for each in compared(true, {name: there}, true.records, MERGING))


@pytest.mark.parametrize(
    ("records", "values", "names"),
    [
        # Known times decide.
        ([said("crm/1", 1, city="A"), said("web/1", 2, city="B")], {"city": "B"}, ""),
        ([said("crm/1", 1, city="A"), said("web/1", 2, city="B")], {"city": "A"}, "city"),
        # Where one isn't known it may be before or after the others; those known decide among themselves.
        ([said("crm/1", 1, city="A"), said("web/1", None, city="B")], {"city": "A"}, ""),
        ([said("crm/1", 1, city="A"), said("web/1", None, city="B")], {"city": "B"}, ""),
        (
            [said("crm/1", 1, city="A"), said("crm/2", 2, city="C"), said("web/1", None, city="B")],
            {"city": "A"},
            "city",
        ),
        ([said("crm/1", 1, city="A"), said("web/1", None, city="B")], {"city": "C"}, "city"),
        # Equal times are decided by positions, which rows don't tell.
        ([said("crm/1", 2, city="A"), said("web/1", 2, city="B")], {"city": "A"}, ""),
        # Trust goes before time.
        ([said("crm/1", None, name="A"), said("web/1", None, name="B")], {"name": "A"}, ""),
        ([said("crm/1", None, name="A"), said("web/1", None, name="B")], {"name": "B"}, "name"),
        ([said("crm/1", 1, last=1), said("web/1", 2, last=2), said("web/2", 3, last=3)], {"last": [3, 2]}, ""),
        ([said("crm/1", 1, last=1), said("web/1", 2, last=2), said("web/2", 3, last=3)], {"last": [2, 3]}, "last"),
        ([said("crm/1", None, last=1), said("web/1", 2, last=2), said("web/2", 3, last=3)], {"last": [1, 3]}, ""),
        ([said("crm/1", None, last=1), said("web/1", 2, last=2), said("web/2", 3, last=3)], {"last": [1, 1]}, "last"),
        ([said("crm/1", None, last=1), said("web/1", 2, last=2), said("web/2", 3, last=3)], {"last": [1]}, "last"),
        # A sum depends on no time.
        ([said("crm/1", None, spent="1.5"), said("web/1", None, spent="2")], {"spent": "3.5"}, ""),
        ([said("crm/1", None, spent="1.5"), said("web/1", None, spent="2")], {"spent": "3.6"}, "spent"),
    ],
)
def test_a_value_is_right_where_the_rows_may_come_to_it(
    records: list[Said], values: dict[str, Any], names: str
) -> None:
    assert found(records, **values) == (f"other values: {names}" if names else "")


def test_missing_ghost_and_misplaced_are_reported_by_profile() -> None:
    true = whole([said("crm/1", 1, city="A")], LINKING, MERGING, 0)
    ((name, profile),) = true.profiles.items()
    assert compared(true, true.profiles, true.records, MERGING) == []
    (missing,) = compared(true, {}, true.records, MERGING)
    assert (missing.document_id, missing.kind, missing.what) == (f"profiles/{name}", Kind.MISSING, "1 of crm make it")
    (ghost,) = compared(true, {**true.profiles, "other": profile}, true.records, MERGING)
    assert (ghost.document_id, ghost.kind) == ("profiles/other", Kind.GHOST)
    (moved,) = compared(true, true.profiles, {"crm/1": "other"}, MERGING)
    assert moved.what == f"record crm/1 is of other, not of {name}"
    (more,) = compared(true, true.profiles, {**true.records, "crm/2": name}, MERGING)
    assert more.what == f"record crm/2 is of {name}, not of no profile"


def test_what_changed_between_two_reads_is_known() -> None:
    one = whole([said("crm/1", 1, city="A")], LINKING, MERGING, 0)
    other = whole([said("crm/1", 1, city="B")], LINKING, MERGING, 0)
    (name,) = one.profiles
    assert changed(one, one) == set()
    assert changed(one, other) == changed(one, Whole()) == {name}
