"""What is DynamoDB's own in its profile store: large deliveries that stop half way, items too large, other tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from uuid import uuid4

import pytest

from connectors.aws.client import Aws, client
from connectors.dynamodb.profiles import writer as dynamodb_profiles_writer
from connectors.dynamodb.profiles.store import DynamodbProfiles
from connectors.dynamodb.profiles.table import ProfilesTable
from connectors.opening.several_profiles import SeveralProfiles
from core.errors import ConfigError, Unavailable
from core.identity.identifiers import Identifier
from core.identity.rules import IdentifierRule, Rules
from core.plans import Status
from core.profiles.merging import Profile
from core.profiles.step import ProfileChanges, Touched
from tests.connectors.profile_places import DynamodbPlace, Place, PostgresPlace
from tests.connectors.test_profile_store_contract import KARI, change, differences, writer

MANY = 20


@pytest.fixture
def place(dynamodb: Aws) -> DynamodbPlace:
    return DynamodbPlace(dynamodb, f"t{uuid4().hex}")


@pytest.fixture
def profiles(place: DynamodbPlace) -> Iterator[DynamodbProfiles]:
    store = place.opened()
    assert isinstance(store, DynamodbProfiles)
    store.prepare()
    yield store
    store.close()


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("allowed", range(8))
def test_a_large_merge_that_stops_half_way_is_seen_whole_or_not(
    place: DynamodbPlace, profiles: DynamodbProfiles, monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    """A person of many devices and one of an e-mail become one by a row; the writer dies after so many transactions."""
    monkeypatch.setattr(dynamodb_profiles_writer, "_ITEMS", 15)  # of the 99 that a transaction takes
    linking = Rules([IdentifierRule("email", 9), IdentifierRule("device", MANY)], {"crm": 1, "web": 0})
    held = writer(profiles, linking)
    held.follow([change("crm/1", 1, "email=k@x.no")])
    held.follow([change("web/1", 1, *(f"device={n}" for n in range(MANY)))])
    kari, device = Identifier("email", "k@x.no"), Identifier("device", "0")
    memory, version = held.checkpoint()
    before = held.profiles()
    merge = held.delivery("web/2", held.persons.step(change("web/2", 2, "email=k@x.no", "device=0")))
    left = allowed

    def transact(self: ProfilesTable, requests: object, real: object = ProfilesTable.transact) -> bool:
        nonlocal left
        if left == 0:
            raise _Killed
        left -= 1
        return real(self, requests)  # type: ignore[operator,no-any-return]

    with monkeypatch.context() as patched:
        patched.setattr(ProfilesTable, "transact", transact)
        with suppress(_Killed):
            assert profiles.apply([merge])[0].status is Status.APPLIED
    one, other = profiles.find(kari), profiles.find(device)
    assert one is not None and other is not None
    if one == other:
        assert {one.profile_id: one} == held.profiles()
        assert all(profiles.get(name) == one for name in before)
    else:
        assert {each.profile_id: each for each in (one, other)} == before
    again = writer(profiles, linking, memory, version)
    assert differences(profiles, place, again) == []
    again.follow([change("web/2", 2, "email=k@x.no", "device=0")])
    assert differences(profiles, place, again) == []


def test_a_profile_of_more_than_400_kb_is_rejected_and_the_rest_written(profiles: DynamodbProfiles) -> None:
    held = writer(profiles)
    good = held.delivery("crm/1", held.persons.step(change("crm/1", 1, "customer=1")))
    profile = Profile("large", (Identifier("customer", "2"),), {"name": "x" * 400_000})
    large = held.delivery("crm/2", ProfileChanges((profile,)))
    later = held.delivery("web/1", held.persons.step(change("web/1", 1, "device=d")))
    outcomes = profiles.apply([good, large, later])
    assert [each.status for each in outcomes] == [Status.APPLIED, Status.REJECTED, Status.APPLIED]
    assert "bytes; items of DynamoDB have 400,000 at most" in outcomes[1].reason
    assert profiles.find(KARI) is not None and profiles.get("large") is None


def test_what_a_writer_without_state_left_behind_is_deleted(place: DynamodbPlace, profiles: DynamodbProfiles) -> None:
    writer(profiles).follow([change("crm/1", 1, "customer=1"), change("web/1", 2, "device=d")])
    anew = writer(profiles)
    anew.follow([change("crm/1", 1, "customer=1")])
    anew.follow([change("crm/1", 2, "customer=1")])
    of = client("dynamodb", place.aws, "test")
    items = of.scan(TableName=place.table_of("customers"))["Items"]
    assert {item["pk"]["S"].split("#")[1] for item in items if "#" in item["pk"]["S"]} == {f"{anew.epoch:016d}"}
    assert differences(profiles, place, anew) == []


def test_a_state_older_than_the_log_is_refused(place: DynamodbPlace, profiles: DynamodbProfiles) -> None:
    held = writer(profiles)
    for number in range(1, 5):
        held.follow([change("crm/1", number, "customer=1")])
    of, table = client("dynamodb", place.aws, "test"), place.table_of("customers")
    for item in of.scan(TableName=table)["Items"]:
        if item["pk"]["S"].endswith("#log#") and item["sk"]["S"] < f"{4:016d}":
            of.delete_item(TableName=table, Key={"pk": item["pk"], "sk": item["sk"]})
    assert held.version == 5
    with pytest.raises(ConfigError, match="no longer knows what was written to it since"):
        profiles.begin(1)


def test_a_state_as_old_as_the_log_is_taken(profiles: DynamodbProfiles) -> None:
    held = writer(profiles)
    held.follow([change("crm/1", 1, "customer=1")])
    assert profiles.begin(2).touched == Touched()
    assert profiles.begin(1).touched.records == (("crm/1", "crm"),)


def test_a_table_that_is_added_later_is_filled_from_the_start(profiles: DynamodbProfiles) -> None:
    with pytest.raises(ConfigError, match="is filled by a start --without-state"):
        profiles.begin(7)
    assert profiles.begin(0).epoch > 0


def test_a_table_that_is_another_one_is_refused(place: DynamodbPlace, profiles: DynamodbProfiles) -> None:
    client("dynamodb", place.aws, "test").create_table(
        TableName=(name := f"{place.table}.other"),
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    with pytest.raises(ConfigError, match=r"another one: profiles need the key pk, sk and an index owner"):
        DynamodbProfiles(name, "customers", place.aws).prepare()
    with pytest.raises(ConfigError, match="isn't there: `freshet run` and `freshet check --prepare` make it"):
        DynamodbProfiles(f"{place.table}.none", "customers", place.aws).begin(0)


@pytest.mark.parametrize("name", ["transact_get_items", "transact_write_items"])
def test_a_transaction_that_meets_another_is_repeated(
    profiles: DynamodbProfiles, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    held = writer(profiles)
    of = profiles._table._client
    answer = {"Error": {"Code": "TransactionCanceledException", "Message": "so it was decided"}}
    reasons = {"CancellationReasons": [{"Code": "None"}, {"Code": "TransactionConflict"}]}
    left, real = [of.exceptions.TransactionCanceledException({**answer, **reasons}, name)], getattr(of, name)

    def call(**asked: object) -> object:
        if left:
            raise left.pop()
        return real(**asked)

    monkeypatch.setattr(of, name, call)
    held.follow([change("crm/1", 1, "customer=1")])
    assert profiles.find(KARI) is not None
    assert left == []


def test_a_server_that_is_away_is_named(dynamodb: Aws) -> None:
    away = DynamodbProfiles("people", "customers", replace(dynamodb, endpoint="http://127.0.0.1:1"), patience_s=0.2)
    for call in (away.prepare, lambda: away.begin(0), lambda: away.get("x")):
        with pytest.raises(Unavailable, match=r"store\.dynamodb: DynamoDB table people at http://127.0.0.1:1"):
            call()


def test_two_stores_get_the_same_deliveries(dsn: str, place: DynamodbPlace) -> None:
    places: dict[str, Place] = {"postgres": PostgresPlace(dsn), "dynamodb": place}
    stores = {name: each.opened() for name, each in places.items()}
    both = SeveralProfiles(stores)
    both.prepare()
    stores["postgres"].begin(0, 2**42)  # the other's epochs are behind
    held = writer(both)
    held.follow([change("crm/1", 1, "customer=1", "email=k@x.no"), change("web/1", 2, "device=d")])
    held.follow([change("web/2", 3, "device=d", "email=k@x.no")])
    for name, each in places.items():
        assert differences(stores[name], each, held) == []
    assert both.find(KARI) == stores["dynamodb"].find(KARI)
    both.close()
