"""What every profile store does, on its real server; DynamoDB's is moto."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.aws.client import Aws
from connectors.postgres.profiles.store import PostgresProfiles
from core.change import Position
from core.errors import ConfigError, Unavailable
from core.identity.audit import Audit, Cause, Kind, Why
from core.identity.identifiers import Identifier
from core.identity.linking import RecordChange
from core.identity.query import resolve
from core.identity.rules import HOUR_MS, Rules
from core.identity.state import Memory
from core.plans import Outcome, Status
from core.profiles.merging import Profile
from core.profiles.step import Persons, ProfileChanges
from core.stores.contract import ProfileStore
from tests.connectors.profile_places import PLACES, DynamodbPlace, Place, PostgresPlace
from tests.connectors.servers import Server
from tests.core.test_identity import histories, rules, shuffled
from tests.core.test_profiles_step import LINKING, MERGING, with_facts
from tests.profile_writer import Writer

KARI = Identifier("customer", "1")


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "postgres":
        return PostgresPlace(request.getfixturevalue("dsn"))
    return DynamodbPlace(request.getfixturevalue("dynamodb"), f"t{uuid4().hex}")


@pytest.fixture
def profiles(place: Place) -> Iterator[ProfileStore]:
    store = place.opened()
    store.prepare()
    yield store
    store.close()


def writer(store: ProfileStore, linking: Rules = LINKING, memory: Memory | None = None, version: int = 0) -> Writer:
    held = Memory() if memory is None else memory
    return Writer(store, Persons(held, linking, MERGING), held, version)


def change(record: str, position: int, *held: str, deleted: bool = False) -> RecordChange:
    identifiers = tuple(Identifier(*each.split("=")) for each in held)
    table = record.partition("/")[0]
    return with_facts(
        RecordChange(record, table, Position(f"{position:06}"), position * HOUR_MS, identifiers, b"", deleted)
    )


def differences(store: ProfileStore, place: Place, held: Writer, name: str = "customers") -> list[object]:
    """What of profiles, identifiers and records the store has otherwise than the writer."""
    true = held.profiles()
    profiles, of = store.everything()
    wanted = {(each, name) for name, profile in true.items() for each in profile.identifiers}
    wrong = [each for name, each in true.items() if store.get(name) != each or profiles.get(name) != each]
    return [
        *(set(profiles) ^ set(true)),
        *(place.identifiers(name) ^ wanted),
        *(set(of.items()) ^ set(held.records().items())),
        *wrong,
    ]


def test_a_person_is_read_by_id_identifier_and_alias(profiles: ProfileStore) -> None:
    held = writer(profiles)
    held.follow([change("crm/1", 1, "customer=1", "email=k@x.no"), change("web/1", 2, "device=d")])
    device = profiles.find(Identifier("device", "d"))
    assert device is not None and device.records == {"web": 1}
    held.follow([change("web/2", 3, "device=d", "email=k@x.no")])
    person = profiles.find(KARI)
    assert person is not None
    assert person == Profile(
        person.profile_id,
        (KARI, Identifier("email", "k@x.no"), Identifier("device", "d")),
        {"name": "web/2 at 000003", "tags": person.values["tags"], "spent": "9", "recent": ["000003", "000002"]},
        {"crm": 1, "web": 2},
    )
    assert profiles.get(device.profile_id) == person == profiles.find(Identifier("device", "d"))
    held.follow([change("web/2", 4, "device=d")])
    assert profiles.get(device.profile_id) == profiles.find(Identifier("device", "d")) != profiles.find(KARI)
    assert profiles.get("unknown") is None and profiles.find(Identifier("email", "nobody@x.no")) is None


def test_a_person_is_read_by_a_record_and_known_to_be_erased(profiles: ProfileStore) -> None:
    held = writer(profiles)
    held.follow([change("crm/1", 1, "customer=1", "email=k@x.no"), change("web/1/é", 2, "device=d")])
    device = profiles.of_record("web/1/é")
    assert device is not None and device == profiles.find(Identifier("device", "d"))
    held.follow([change("web/2", 3, "device=d", "email=k@x.no")])
    kari = profiles.find(KARI)
    assert kari is not None and kari == profiles.of_record("web/1/é") == profiles.of_record("crm/1")
    assert profiles.of_record("crm/9") is None and profiles.of_record("crm/1/") is None
    ids = {device.profile_id, kari.profile_id}
    assert not any(map(profiles.is_erased, (*ids, "unknown")))
    held.follow([change(each, at, deleted=True) for at, each in enumerate(("web/2", "web/1/é", "crm/1"), 4)])
    assert all(profiles.get(each) is None and profiles.is_erased(each) for each in ids)
    assert profiles.of_record("crm/1") is None and profiles.find(KARI) is None
    held.follow([change("crm/1", 7, "customer=1")])
    again = profiles.of_record("crm/1")
    assert again is not None and not profiles.is_erased(again.profile_id)


def test_ids_that_lead_to_an_erased_profile_are_forgotten_with_it(dsn: str) -> None:
    store = PostgresProfiles(dsn, "customers", remember_s=0)
    store.prepare()
    held = writer(store)

    def aliases(*changes: RecordChange) -> int:
        store._forget_at = 0.0
        held.follow(changes)
        with psycopg.connect(dsn) as connection:
            return len(connection.execute("SELECT FROM customers_aliases").fetchall())

    assert aliases(change("crm/1", 1, "device=d")) == 0
    device = store.find(Identifier("device", "d"))
    assert aliases(change("crm/1", 2, "customer=1", "device=d")) == aliases(change("crm/2", 3, "customer=2")) == 1
    kari = store.find(KARI)
    assert device is not None and kari is not None and store.get(device.profile_id) == kari
    assert aliases(change("crm/1", 4, deleted=True)) == 0
    assert store.get(device.profile_id) is None
    store.close()


def test_what_happened_is_kept_with_its_reason(profiles: ProfileStore) -> None:
    held = writer(profiles)
    held.follow([change("crm/1", 1, "customer=1", "email=k@x.no"), change("web/1", 2, "email=k@x.no", "device=d")])
    held.follow([change("crm/2", 3, "customer=2", "email=k@x.no")])
    kari, other = profiles.find(KARI), profiles.find(Identifier("customer", "2"))
    assert kari is not None and other is not None
    email = Identifier("email", "k@x.no")
    reason = "together a record of crm and this email would break customer's limit, 1"
    cause = Cause("crm/2", Position("000003"), 3 * HOUR_MS, Why.CHANGED)
    cut = Audit(Kind.CUT, other.profile_id, (kari.profile_id,), (email,), reason, cause)
    assert profiles.history(other.profile_id, 9) == profiles.history(kari.profile_id, 9) == [cut]
    assert profiles.history("unknown", 9) == []
    assert [(each.record, each.table, each.identifiers) for each in profiles.members(kari.profile_id, 9)] == [
        ("crm/1", "crm", (KARI, email)),
        ("web/1", "web", (email, Identifier("device", "d"))),
    ]
    assert len(profiles.members(kari.profile_id, 1)) == 1


def through_kills(
    place: Place, changes: list[RecordChange], some: Rules, hour: int, size: int, data: st.DataObject
) -> None:
    """Killed with work in the store that no checkpoint knows, it reads on in another order, and ends equal."""
    name = f"p{uuid4().hex[:8]}"
    store = place.opened(name)
    store.prepare()
    history = [with_facts(each) for each in changes]
    kept = data.draw(st.integers(0, len(history)))
    first = writer(store, some)
    for at in range(0, kept, size):
        first.follow(history[at : min(at + size, kept)])
    memory, version = first.checkpoint()
    before = writer(store, some, Memory(memory), version) if data.draw(st.booleans()) else first
    before.follow(history[kept:])
    before.advance(hour * HOUR_MS)
    assert differences(store, place, before, name) == []
    again = writer(store, some, memory, version)
    assert differences(store, place, again, name) == []
    again.follow(shuffled(data, history[kept:]))
    again.advance(hour * HOUR_MS)
    assert differences(store, place, again, name) == []
    for each in before.profiles():
        found, leads_to = store.get(each), resolve(again.persons.graph, each)
        assert (found and found.profile_id) == leads_to
    store.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories(), rules, st.integers(0, 12), st.integers(1, 5), st.data())
def test_postgres_equals_the_writer_through_kills(
    dsn: str, changes: list[RecordChange], some: Rules, hour: int, size: int, data: st.DataObject
) -> None:
    through_kills(PostgresPlace(dsn), changes, some, hour, size, data)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories(), rules, st.integers(0, 12), st.integers(1, 5), st.data())
def test_dynamodb_equals_the_writer_through_kills(
    dynamodb: Aws, changes: list[RecordChange], some: Rules, hour: int, size: int, data: st.DataObject
) -> None:
    through_kills(DynamodbPlace(dynamodb, f"t{uuid4().hex}"), changes, some, hour, size, data)


def test_a_writer_without_its_state_begins_anew(profiles: ProfileStore, place: Place) -> None:
    writer(profiles).follow([change("crm/1", 1, "customer=1"), change("web/1", 2, "device=d")])
    anew = writer(profiles)
    assert profiles.find(KARI) is None
    anew.follow([change("crm/1", 1, "customer=1")])
    assert differences(profiles, place, anew) == []


def test_what_an_earlier_writer_still_sends_is_stale(profiles: ProfileStore, place: Place) -> None:
    old = writer(profiles)
    late = [old.delivery("crm/1", old.persons.step(change("crm/1", 1, "customer=1")))]
    new = writer(profiles)
    assert profiles.apply(late) == [Outcome("crm/1", Status.STALE)]
    new.follow([change("crm/2", 1, "customer=2")])
    assert differences(profiles, place, new) == []
    again = [new.delivery("crm/1", new.persons.step(change("crm/1", 1, "customer=1")))]
    assert [each.status for each in profiles.apply(again + again)] == [Status.APPLIED, Status.APPLIED]
    assert [each.status for each in profiles.apply(again)] == [Status.STALE]
    assert differences(profiles, place, new) == []


def test_no_reader_sees_a_half_merged_pair(profiles: ProfileStore, place: Place) -> None:
    held, done, seen = writer(profiles), threading.Event(), set[tuple[int, ...]]()
    held.follow([change("crm/1", 1, "customer=1", "email=k@x.no"), change("web/1", 1, "device=d")])

    device = profiles.find(Identifier("device", "d"))
    kari = profiles.find(KARI)
    assert device is not None and kari is not None

    def look() -> None:
        with place.reader((kari.profile_id, device.profile_id)) as read:
            while not done.is_set():
                seen.add(read())

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(2, 30):
        merged = ("device=d", "email=k@x.no") if number % 2 else ("device=d",)
        held.follow([change("web/2", number, *merged)])
    done.set()
    reader.join()
    assert seen <= {(1, 1), (1, 2), (3, 0)} and len(seen) >= 2


def test_one_delivery_that_no_row_can_hold_is_rejected_alone(profiles: ProfileStore) -> None:
    held = writer(profiles)
    good = held.delivery("crm/1", held.persons.step(change("crm/1", 1, "customer=1")))
    bad = held.delivery("crm/2", ProfileChanges((Profile("bad\ud800"),)))
    other = held.delivery("web/1", held.persons.step(change("web/1", 1, "device=\x00")))
    outcomes = profiles.apply([good, bad, other])
    assert [each.status for each in outcomes] == [Status.APPLIED, Status.REJECTED, Status.APPLIED]
    assert outcomes[1].document_id == "crm/2" and outcomes[1].reason
    assert profiles.find(KARI) is not None and profiles.find(Identifier("device", "\ufffd")) is not None


def test_preparing_again_keeps_what_is_there(profiles: ProfileStore, place: Place) -> None:
    held = writer(profiles)
    held.follow([change("crm/1", 1, "customer=1")])
    place.opened().prepare()
    assert differences(profiles, place, held) == []


def test_a_delivery_of_hundreds_of_rows_is_seen_as_a_whole(profiles: ProfileStore, place: Place) -> None:
    """More than DynamoDB takes in a transaction: a writer that starts again tells all that it had not saved."""
    held = writer(profiles)
    held.follow([change("crm/0", 1, "customer=0", "email=0@x.no")])
    memory, version = held.checkpoint()
    held.follow([change(f"crm/{n}", 1, f"customer={n}", f"email={n}@x.no") for n in range(1, 27)])
    again = writer(profiles, memory=memory, version=version)
    assert differences(profiles, place, again) == []
    again.follow([change(f"crm/{n}", 1, f"customer={n}", f"email={n}@x.no") for n in range(1, 29)])
    assert differences(profiles, place, again) == []
    anew = writer(profiles)
    anew.follow([change("crm/7", 2, "customer=7")])
    assert differences(profiles, place, anew) == []


def test_a_commit_whose_answer_was_lost_is_applied(
    profiles: ProfileStore, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody would tell the vector stores of it."""
    held = writer(profiles)
    lost = place.losing_an_answer(profiles, monkeypatch)
    deliveries = [held.delivery("crm/1", held.persons.step(change("crm/1", 1, "customer=1")))]
    assert [each.status for each in profiles.apply(deliveries)] == [Status.APPLIED]
    assert lost == [1]
    assert [each.status for each in profiles.apply(deliveries)] == [Status.STALE]
    assert differences(profiles, place, held) == []


def test_stores_begin_one_epoch_together(profiles: ProfileStore) -> None:
    first = profiles.begin(0)
    assert profiles.begin(0, first.epoch + 10_000).epoch == first.epoch + 10_000
    assert profiles.begin(0).epoch > first.epoch + 10_000
    assert profiles.begin(0, 1).epoch > first.epoch + 10_001


def test_a_server_that_is_away_is_named_and_waited_for(pgvector_server: Server) -> None:
    store = PostgresProfiles("postgresql://me:hunter2@127.0.0.1:1/db", "customers", patience_s=0.2)
    for call in (store.prepare, lambda: store.begin(0), lambda: store.get("x")):
        with pytest.raises(Unavailable, match=r"store\.postgres\.dsn: PostgreSQL at 127.0.0.1:1 doesn't") as error:
            call()
        assert "hunter2" not in str(error.value)
    with pytest.raises(ConfigError, match="name is"):
        PostgresProfiles("postgresql://me@127.0.0.1:1/db", "x" * 46)
