"""Rows of KPIs as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from core.stores.kpi_json import json_row
from core.stores.kpis import ColumnType, KpiChange, KpiTable

TABLE = KpiTable(
    "k",
    {
        "day": ColumnType.DATE,
        "at": ColumnType.TIMESTAMP,
        "model": ColumnType.TEXT,
        "cost": ColumnType.DECIMAL,
        "share": ColumnType.DOUBLE,
        "count": ColumnType.BIGINT,
        "good": ColumnType.BOOLEAN,
    },
    ("model", "at"),
)
VALUES = ("2026-12-01", "2026-12-01 21:00:00.000", 'a "b"\n', "12345678901234567890.10", 0.25, 2**62, True)


def test_a_row_and_its_key_are_objects_by_their_columns() -> None:
    made = json_row(TABLE, KpiChange("k", VALUES, gone=False))
    # the key's columns stand in the order that the file has them in
    assert made.key == b'{"model":"a \\"b\\"\\n","at":"2026-12-01T21:00:00.000Z"}'
    assert made.row == (
        b'{"day":"2026-12-01","at":"2026-12-01T21:00:00.000Z","model":"a \\"b\\"\\n",'
        b'"cost":12345678901234567890.10,"share":0.25,"count":4611686018427387904,"good":true}'
    )
    assert json.loads(made.row)["count"] == 2**62


@pytest.mark.parametrize("nothing", [None, float("nan"), float("inf")])
def test_what_is_no_number_is_null_and_makes_no_key(nothing: float | None) -> None:
    change = KpiChange("k", (*VALUES[:4], nothing, *VALUES[5:]), gone=False)
    assert json.loads(json_row(TABLE, change).row)["share"] is None
    with pytest.raises(ValueError, match="the key's column share has no value that JSON has"):
        json_row(replace(TABLE, key=("at", "share")), change)


def test_a_decimal_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="'a lot' is no number"):
        json_row(TABLE, KpiChange("k", (*VALUES[:3], "a lot", *VALUES[4:]), gone=False))
