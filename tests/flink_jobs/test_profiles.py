"""The whole job of profiles on real servers, run as a user runs it: `freshet run people.yaml`."""

from __future__ import annotations

from functools import partial

import psycopg

from connectors.postgres.profiles.store import PostgresProfiles
from core.change import Position
from core.identity.identifiers import Identifier
from core.identity.linking import RecordChange
from core.identity.rules import IdentifierRule, Rules
from core.identity.state import Memory
from core.profiles.step import Persons
from tests.flink_jobs.conftest import Workshop, eventually, kill
from tests.flink_jobs.people import PROFILES, RowEvent, customer, differences, history, order, pipeline, send, visit
from tests.profile_writer import Writer

DATED = {**PROFILES["records"]["public.orders"], "time": "created_at"}
RULES = Rules([IdentifierRule("device", 1)], {"elsewhere": 0})


def test_persons_merge_by_an_order_and_split_as_an_email_is_corrected(workshop: Workshop) -> None:
    file = pipeline(workshop, bounded=False)
    store = PostgresProfiles(workshop.dsn, "people")
    events = [
        RowEvent("customers", 1, customer(1, "kari@x.no"), 1),
        RowEvent("visits", 1, visit(1, "d1", "k.nordmann@work.no"), 2),
        RowEvent("visits", 2, visit(2, "d1"), 3),
    ]
    kari, device = Identifier("customer_id", "1"), Identifier("device", "d1")

    def tell(*more: RowEvent) -> None:
        events.extend(more)
        send(workshop, list(more))
        eventually(lambda: prepared(workshop) and differences(workshop, file, events) == [], "the store to follow")

    send(workshop, events)
    with workshop.running(file):
        tell(RowEvent("orders", 1, order(1, 1, None, "99.90"), 4))
        one, other = store.find(kari), store.find(device)
        assert one is not None and other is not None and one.profile_id != other.profile_id
        assert (one.values["total_spent"], one.records) == ("99.9", {"public.customers": 1, "public.orders": 1})

        tell(RowEvent("orders", 2, order(2, 1, "k.nordmann@work.no", "0.10", day=3), 5))
        merged = store.find(device)
        assert merged == store.find(kari) == store.get(other.profile_id)
        assert merged is not None and merged.values["total_spent"] == "100"
        assert merged.records == {"public.customers": 1, "public.orders": 2, "public.visits": 2}

        tell(RowEvent("orders", 2, order(2, 1, "kari@x.no", "0.10", day=3), 6))
        assert store.find(device) == store.get(other.profile_id) == other
        with psycopg.connect(workshop.dsn) as connection:
            kinds = connection.execute("SELECT kind, record FROM people_audit ORDER BY version").fetchall()
        assert kinds[-2:] == [("merged", "public.orders/2"), ("split", "public.orders/2")]
    store.close()


def test_the_store_equals_all_records_linked_at_once(workshop: Workshop) -> None:
    events = history(seed=1, changes=1500, people=60)
    send(workshop, events)
    file = pipeline(workshop, parallelism=2)
    assert "people finished" in workshop.freshet("run", file)
    assert differences(workshop, file, events) == []
    assert workshop.letters() == []

    # Begun anew it holds what the topics tell and nothing else, vectors included.
    store = PostgresProfiles(workshop.dsn, "people")
    held = Writer(store, Persons(Memory(), RULES, {}), Memory(), 0)
    held.follow([RecordChange("elsewhere/1", "elsewhere", Position("1"), 0, (Identifier("device", "ghost"),))])
    store.close()
    assert len(differences(workshop, file, events)) > len(events) / 10
    assert "people finished" in workshop.freshet("run", "--without-state", file)
    assert differences(workshop, file, events) == []


def test_killed_in_the_middle_and_started_again(workshop: Workshop) -> None:
    events = history(seed=2, changes=2000, people=150)
    file = pipeline(workshop, bounded=False, flink={"execution.checkpointing.interval": "500 ms"})
    send(workshop, events[:1000])
    for enough, more in ((200, events[1000:1500]), (900, events[1500:])):
        with workshop.running(file) as job:
            eventually(partial(reached, workshop, enough), f"{enough} deliveries")
            send(workshop, more)
            kill(job)
    file = pipeline(workshop)
    assert "people finished" in workshop.freshet("run", file)
    assert differences(workshop, file, events) == []


def test_bad_input_becomes_dead_letters_and_stops_nothing(workshop: Workshop) -> None:
    good = [
        RowEvent("customers", 1, customer(1, "kari@x.no"), 1),
        RowEvent("visits", 1, visit(1, "d1", "kari@x.no"), 2),
    ]
    bad = {
        "an identifier of a megabyte": RowEvent("visits", 2, visit(2, "d" * 2**20), 3),
        "no number in a sum": RowEvent("orders", 1, order(1, 1, None, "a lot"), 4),
        "a clock ten years ahead": RowEvent(
            "orders", 2, {**order(2, 1, None), "created_at": "2046-01-01T00:00:00Z"}, 5
        ),
    }
    last = RowEvent("orders", 3, order(3, 1, None, "5"), 6)
    send(workshop, [*good, *bad.values(), last])
    file = pipeline(workshop, profiles={**PROFILES, "records": {**PROFILES["records"], "public.orders": DATED}})
    workshop.freshet("run", file)

    letters = {value: headers for _, value, headers in workshop.letters()}
    assert len(letters) == len(bad)
    reasons = {name: letters[each.raw[1]]["freshet.reason"].decode() for name, each in bad.items()}
    assert "it may have 512" in reasons["an identifier of a megabyte"]
    assert "'a lot' is no number" in reasons["no number in a sum"]
    assert "ahead of its arrival; a clock is wrong" in reasons["a clock ten years ahead"]
    assert {letters[each.raw[1]]["freshet.stage"] for each in bad.values()} == {b"parse"}
    assert differences(workshop, file, [*good, last]) == []


def prepared(workshop: Workshop) -> bool:
    return bool(workshop.rows("SELECT to_regclass('people_writer') IS NOT NULL")[0][0])


def reached(workshop: Workshop, version: int) -> bool:
    if not prepared(workshop):
        return False
    found = workshop.rows("SELECT version FROM people_writer")
    return bool(found) and int(found[0][0]) >= version
