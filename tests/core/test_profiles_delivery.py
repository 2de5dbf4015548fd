"""What a profile store receives: several deliveries as one, and the vectors that follow."""

from __future__ import annotations

from core.documents.step import Chunker
from core.identity.identifiers import Identifier
from core.identity.outcome import Moved, Retired
from core.profiles.delivery import (
    Delivery,
    Texts,
    epoch_position,
    folded,
    plans_of,
    runs,
    texts_of,
)
from core.profiles.merging import Profile
from core.profiles.step import Placed, ProfileChanges
from flink_jobs import payloads

WHOLE = Chunker("whole", lambda text: [(0, len(text))])
HALVES = Chunker("halves", lambda text: [(0, len(text) // 2), (len(text) // 2, len(text))])
TEXT = "{name}, {city}."


def profile(profile_id: str, /, **values: object) -> Profile:
    return Profile(profile_id, (Identifier("email", f"{profile_id}@x.no"),), values, {"crm": 1})


def delivery(version: int, *profiles: Profile, undone: int | None = None, epoch: int = 1, **others: object) -> Delivery:
    changes = ProfileChanges(profiles, **others)  # type: ignore[arg-type]
    return Delivery(epoch, version, "crm/1", changes, texts_of(changes, TEXT), undone)


def test_the_last_word_on_each_stands() -> None:
    first = delivery(1, profile("a", name="A"), profile("b"), moved=(Moved("g", None, "b"),), placed=(PLACED,))
    merged = delivery(2, profile("a", name="AB"), retired=(Retired("b", "a"),), moved=(Moved("g", "b", "a"),))
    whole = folded([first, merged])
    assert {name: (version, each.values) for name, (version, each, _) in whole.profiles.items()} == {
        "a": (2, {"name": "AB"})
    }
    assert (whole.retired, whole.groups, whole.records) == ({"b": (2, "a")}, {"g": (2, "a")}, {"crm/1": (1, PLACED)})
    split = delivery(3, profile("a"), profile("b"), retired=(Retired("c", None),))
    whole = folded([first, merged, split])
    assert (set(whole.profiles), whole.retired) == ({"a", "b"}, {"c": (3, None)})


PLACED = Placed("crm/1", "crm", "g", (Identifier("email", "a@x.no"),))


def test_what_undoes_begins_a_run() -> None:
    plain = [delivery(number) for number in (1, 2)]
    undoing = delivery(3, undone=1)
    assert list(runs([*plain, undoing, *plain])) == [plain, [undoing, *plain]]
    assert list(runs([undoing, *plain])) == [[undoing, *plain]]
    assert list(runs([])) == []


def test_a_text_has_nothing_for_values_that_are_not_there() -> None:
    changes = ProfileChanges((profile("a", name="Kari", city="Bergen"), profile("b", city=["x", 1])))
    assert texts_of(changes, TEXT) == ("Kari, Bergen.", ', ["x",1].')


def test_vectors_follow_profiles_and_the_retired_lose_theirs() -> None:
    change = delivery(7, profile("a", name="aa", city="aa"), retired=(Retired("b", "a"),), epoch=5)
    gone, plan = plans_of(change, "m", HALVES)
    assert (gone.document_id, gone.chunk_ids, gone.write) == ("profiles/b", (), ())
    assert plan.document_id == "profiles/a"
    assert [chunk.text for chunk in plan.write] == ["aa,", " aa."]
    assert plan.chunk_ids == tuple(chunk.chunk_id for chunk in plan.write)
    (again,) = plans_of(delivery(8, profile("a", name="aa", city="aa")), "m", HALVES)
    assert again.chunk_ids == plan.chunk_ids
    (empty,) = plans_of(Delivery(1, 1, "", ProfileChanges((profile("a"),)), ("  ",)), "m", WHOLE)
    assert empty.chunk_ids == ()


def test_positions_rise_with_versions_and_epochs() -> None:
    versions = [delivery(number, profile("a", name="x"), epoch=epoch) for epoch in (9, 10) for number in (2, 10)]
    positions = [plan.position for each in versions for plan in plans_of(each, "m", WHOLE)]
    assert positions == sorted(positions) and len(set(positions)) == 4
    assert positions[1] < epoch_position(10) < positions[2]


def test_a_delivery_survives_its_way() -> None:
    sent = delivery(1, profile("a", name="A", tags=[1, "x"]), placed=(PLACED,), retired=(Retired("b", None),), undone=0)
    back = payloads.DELIVERY.decode(payloads.DELIVERY.encode(sent))
    assert back == sent and isinstance(back.changes.profiles[0].identifiers[0], Identifier)


def test_a_text_that_was_delivered_is_not_delivered_again() -> None:
    texts = Texts(most=2)

    def delivered(version: int, *profiles: Profile, **others: object) -> list[str]:
        found = texts.changed(delivery(version, *profiles, **others))  # type: ignore[arg-type]
        assert len(found.texts) == len(found.changes.profiles)
        return [each.profile_id for each in found.changes.profiles]

    assert delivered(1, profile("a", name="A"), profile("b", name="B")) == ["a", "b"]
    assert delivered(2, profile("a", name="A", other=1), profile("b", name="C")) == ["b"]
    assert delivered(3, profile("b", name="B")) == ["b"]
    assert delivered(4, retired=(Retired("a", "b"),)) == []
    assert delivered(5, profile("a", name="A")) == ["a"], "its document is gone"
    assert delivered(6, profile("c", name="C")) == ["c"]
    assert delivered(7, profile("b", name="B"), profile("a", name="A")) == ["b", "a"], "no more than two are known"
    assert delivered(8, profile("a", name="A"), epoch=2) == ["a"], "an earlier epoch's may never have come"
    assert delivered(9, profile("a", name="A"), undone=3, epoch=2) == ["a"]
