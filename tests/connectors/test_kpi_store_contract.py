"""What every place of KPIs' rows promises (`core.stores.kpis.KpiStore`), each on its real server."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest

from connectors.opening.kpis import OF_KPIS
from core.errors import ConfigError, Unavailable
from core.plans import Status
from core.stores.kpis import ColumnType, KpiChange, KpiTable, Value
from tests.connectors.kpi_places import PLACES, KpiPlace

HOUR = "2026-12-01 21:00:00.000"
TABLE = KpiTable(
    "satisfaction",
    {
        "window_start": ColumnType.TIMESTAMP,
        "model": ColumnType.TEXT,
        "turns": ColumnType.BIGINT,
        "share": ColumnType.DOUBLE,
        "cost": ColumnType.DECIMAL,
        "day": ColumnType.DATE,
        "at": ColumnType.TIME,
        "good": ColumnType.BOOLEAN,
        "count": ColumnType.INTEGER,
    },
    ("window_start", "model"),
)
OTHER = KpiTable("latency", {"hour": ColumnType.TIMESTAMP, "ms": ColumnType.DOUBLE}, ("hour",))
TABLES = {each.name: each for each in (TABLE, OTHER)}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> KpiPlace:
    server, made = PLACES[request.param]
    return made(request.getfixturevalue(server))


def row(model: str, turns: int = 1, cost: Value = "1.50") -> KpiChange:
    return KpiChange(TABLE.name, (HOUR, model, turns, 0.25, cost, "2026-12-01", "21:00:01", True, 3), gone=False)


def gone(change: KpiChange) -> KpiChange:
    return KpiChange(change.kpi, change.values, gone=True)


def counts(place: KpiPlace) -> dict[str, int]:
    """What the place has of each model."""
    return {key[1]: found["turns"] for key, found in place.held(TABLE).items()}


def test_every_place_is_held_to_this() -> None:
    assert set(PLACES) == set(OF_KPIS)


def test_a_row_is_replaced_by_its_key_and_goes_with_its_group(place: KpiPlace) -> None:
    with closing(place.open(TABLES)) as store:
        assert store.look() is False
        store.prepare()
        store.prepare()
        assert store.look() is True
        other = KpiChange("latency", (HOUR, None), gone=False)
        outcomes = store.apply([row("a", 1), row("b", 7), other, row("a", 2)])
        assert [each.status for each in outcomes] == [Status.APPLIED] * 3
        assert {each.document_id for each in outcomes} == {
            f"satisfaction/{HOUR}/a",
            f"satisfaction/{HOUR}/b",
            f"latency/{HOUR}",
        }
        assert counts(place) == {"a": 2, "b": 7}
        assert [found["ms"] for found in place.held(OTHER).values()] == [None]
        store.apply([gone(row("a", 2))])
        again = store.apply([gone(row("a", 2))])
        assert [each.status for each in again] == [Status.APPLIED]
        assert counts(place) == {"b": 7}
        store.apply([gone(row("b", 7)), row("b", 8)])
        assert counts(place) == {"b": 8}


def test_what_is_written_again_by_the_next_run_comes_to_the_same_rows(place: KpiPlace) -> None:
    batches = [[row("a", 1), row("b", 1)], [row("a", 2), gone(row("b", 1))], [row("a", 3), row("c", 1)]]
    with closing(place.open(TABLES)) as store:
        store.prepare()
        for batch in batches:
            store.apply(batch)
    with closing(place.open(TABLES)) as store:
        assert store.look() is True
        store.prepare()
        store.apply([each for batch in batches[1:] for each in batch])
        assert counts(place) == {"a": 3, "c": 1}


def test_a_row_that_cant_be_stored_is_refused_alone(place: KpiPlace) -> None:
    with closing(place.open(TABLES)) as store:
        store.prepare()
        outcomes = store.apply([row("a"), row("b", cost="a lot"), row("c"), row("d")])
        applied, rejected = Status.APPLIED, Status.REJECTED
        assert [each.status for each in outcomes] == [applied, rejected, applied, applied]
        assert outcomes[1].document_id == f"satisfaction/{HOUR}/b" and "a lot" in outcomes[1].reason
        assert sorted(counts(place)) == ["a", "c", "d"]


def test_a_place_of_another_pipeline_is_refused(place: KpiPlace) -> None:
    # in PostgreSQL tables are named after their pipeline: "feedback_latency" is this one's too
    with closing(place.open({"us_latency": replace(OTHER, name="us_latency")}, "feedback")) as store:
        store.prepare()
        store.apply([KpiChange("us_latency", (HOUR, 1.0), gone=False)])
    of = ("latency", "feedback_us") if place.named == "store.postgres" else ("us_latency", "other")
    with closing(place.open({of[0]: replace(OTHER, name=of[0])}, of[1])) as store:
        for call in (store.look, store.prepare):
            with pytest.raises(ConfigError, match=rf"{place.named}.* has rows of the pipeline feedback: "):
                call()


def test_a_server_that_stays_away_is_unavailable(place: KpiPlace) -> None:
    with closing(place.away(TABLES)) as store:
        with pytest.raises(Unavailable, match=rf"{place.named}\..* at 127\.0\.0\.1:1 doesn't answer"):
            store.look()
        with pytest.raises(Unavailable, match=rf"{place.named}\..* at 127\.0\.0\.1:1 doesn't answer"):
            store.apply([row("a")])


def test_a_place_is_emptied_to_be_counted_anew(place: KpiPlace) -> None:
    nothing = {name: KpiTable(name, {}, ()) for name in TABLES}
    with closing(place.open(TABLES)) as store, closing(place.open(nothing)) as by_name:
        by_name.empty()
        store.prepare()
        store.apply([row("a"), row("b"), row("c"), KpiChange("latency", (HOUR, 1.0), gone=False)])
        store.apply([gone(row("b"))])
        by_name.empty()
        assert (place.held(TABLE), place.held(OTHER)) == ({}, {})
        store.apply([row("a", 5)])
        assert counts(place) == {"a": 5}
