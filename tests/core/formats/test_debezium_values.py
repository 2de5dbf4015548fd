"""Values as people write them, against other people's arithmetic: decimal, datetime and numpy's calendar."""

from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64encode
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.change import Change, Event
from core.errors import DecodeError
from core.formats.debezium import values
from core.formats.debezium.decoding import DebeziumFormat, decode
from core.formats.debezium.values import MICRO, MILLI, NANO

EPOCH = datetime(1970, 1, 1)
SOURCE = {"connector": "postgresql", "schema": "public", "table": "a", "lsn": 20, "sequence": '["10","20"]'}


def encoded(number: int) -> str:
    return b64encode(number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)).decode()


def read(sql_type: str, value: Any, **options: Any) -> Any:
    """A value of a column of that type, through an insert."""
    envelope = {"op": "c", "after": {"id": 1, "x": value}, "source": SOURCE}
    settings = DebeziumFormat(types={"public.a": {"x": sql_type}}, **options)
    change = decode(Event("t", 0, 0, b'{"id":1}', json.dumps(envelope).encode()), settings)
    assert isinstance(change, Change)
    return change.row["x"]


@given(st.integers(-(10**60), 10**60), st.integers(-5, 40))
def test_decimals_are_exact(number: int, scale: int) -> None:
    text = values.decimal(encoded(number), scale)
    with localcontext() as context:
        context.prec = 200
        assert Decimal(text) == Decimal(number).scaleb(-scale)
    assert len(text.partition(".")[2]) == max(scale, 0)
    assert re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?", text)
    assert values.decimal({"scale": scale, "value": encoded(number)}, None) == text


def test_a_decimal_longer_than_an_int_prints() -> None:
    digits = "9" * 30_000
    assert values.decimal(encoded(10**30_000 - 1), 3) == f"{digits[3:]}.999"


@pytest.mark.parametrize(
    ("sql_type", "value", "options", "expected"),
    [
        ("numeric(10,2)", "BNI=", {}, "12.34"),
        ("numeric(10,2)", encoded(-5), {}, "-0.05"),
        ("NUMERIC(10, 2)", encoded(1200), {}, "12.00"),
        ("decimal(5)", encoded(7), {}, "7"),
        ("numeric", {"scale": 9, "value": encoded(1)}, {}, "0.000000001"),
        ("unheard of", {"scale": 1, "value": encoded(15)}, {}, "1.5"),
        ("money", encoded(1999), {}, "19.99"),
        ("numeric(10,2)", "12.30", {"decimal_handling_mode": "string"}, "12.30"),
        ("numeric", "NaN", {"decimal_handling_mode": "string"}, "NaN"),
        ("numeric(10,2)", 12.3, {"decimal_handling_mode": "double"}, "12.30"),
        ("numeric(30,2)", 1e22, {"decimal_handling_mode": "double"}, "10000000000000000000000.00"),
        ("numeric(10,2)", 12, {"decimal_handling_mode": "double"}, "12.00"),
        ("numeric(10,2)[]", ["BNI=", None], {}, ["12.34", None]),
        ("date", 19782, {}, "2024-02-29"),
        ("date", -1, {}, "1969-12-31"),
        ("date", "2024-02-29Z", {"time_precision_mode": "isostring"}, "2024-02-29"),
        ("date[]", [19782, None], {}, ["2024-02-29", None]),
        ("date", -622191234, {}, "infinity"),
        ("date", 2146033979, {}, "infinity"),
        ("date", -2**31, {}, "-infinity"),
        ("timestamp", 1709251199123456, {}, "2024-02-29T23:59:59.123456"),
        ("timestamp(3)", 1709251199120, {}, "2024-02-29T23:59:59.12"),
        ("timestamp(0)", 1709251199000, {}, "2024-02-29T23:59:59"),
        ("timestamp(6) without time zone", 1709251199000000, {}, "2024-02-29T23:59:59"),
        ("timestamp", 1709251199123, {"time_precision_mode": "connect"}, "2024-02-29T23:59:59.123"),
        ("timestamp(3)", 1709251199123456, {"time_precision_mode": "microseconds"}, "2024-02-29T23:59:59.123456"),
        ("timestamp(3)", 1709251199123456789, {"time_precision_mode": "nanoseconds"}, "2024-02-29T23:59:59.123456789"),
        ("timestamp", "2024-02-29T23:59:59.120000Z", {"time_precision_mode": "isostring"}, "2024-02-29T23:59:59.12"),
        ("timestamp", "2024-02-29T23:59:59Z", {}, "2024-02-29T23:59:59Z"),
        ("timestamp", 9223372036825200000, {}, "infinity"),
        ("timestamp", -9223372036832400000, {}, "-infinity"),
        ("timestamp", -(2**63), {}, "-infinity"),
        ("timestamp(3)", 9223372036825200, {}, "infinity"),
        ("datetime", 1709251199000, {}, "2024-02-29T23:59:59"),
        ("datetime(6)", 1709251199000001, {}, "2024-02-29T23:59:59.000001"),
        ("timestamptz", "2024-02-29T21:59:59.100000Z", {}, "2024-02-29T21:59:59.1Z"),
        ("timestamp with time zone", "2024-02-29T21:59:59.000Z", {}, "2024-02-29T21:59:59Z"),
        ("timestamp(3) with time zone", "2024-02-29T21:59:59+00:00", {}, "2024-02-29T21:59:59Z"),
        ("timestamptz", "infinity", {}, "infinity"),
        ("timestamptz", "-0043-03-15T12:00:00.000000Z", {}, "-0043-03-15T12:00:00Z"),
        ("timestamptz", "+12024-01-01T00:00:00.000000Z", {}, "+12024-01-01T00:00:00Z"),
        ("time", 45296789000, {}, "12:34:56.789"),
        ("time(3)", 45296789, {}, "12:34:56.789"),
        ("time(3)", 45296789000, {"time_precision_mode": "adaptive_time_microseconds"}, "12:34:56.789"),
        ("time", 86400000000, {}, "24:00:00"),
        ("time", -3020399000000, {}, "-838:59:59"),
        ("time", "12:34:56.700000Z", {"time_precision_mode": "isostring"}, "12:34:56.7"),
        ("timetz", "10:34:56.500000Z", {}, "10:34:56.5Z"),
        ("interval", 93784000000, {}, "P1DT2H3M4S"),
        ("interval", 0, {}, "PT0S"),
        ("interval day to second(3)", 1000, {}, "PT0.001S"),
        ("interval", 86400000000, {}, "P1D"),
        ("interval", 500000, {}, "PT0.5S"),
        ("interval", -2456999999999, {}, "P-28DT-10H-29M-59.999999S"),
        ("interval", "P0Y0M1DT2H3M4S", {"interval_handling_mode": "string"}, "P0Y0M1DT2H3M4S"),
        ("bytea", "3q2+7w==", {}, "3q2+7w=="),
        ("bytea", "deadbeef", {"binary_handling_mode": "hex"}, "3q2+7w=="),
        ("bytea", "3q2-7w==", {"binary_handling_mode": "base64-url-safe"}, "3q2+7w=="),
        ("jsonb", '{"a": 1.50}', {}, {"a": 1.5}),
        ("json", "[" * 99, {}, "[" * 99),
        ("json", "[" * 40 + "]" * 40, {}, "[" * 40 + "]" * 40),
        ("bit(8)", "sA==", {}, "10110000"),
        ("bit(12)", "AQg=", {}, "100000000001"),
        ("bit", True, {}, True),
        ("bit varying(20)", "BQ==", {}, "00000101"),
        ("text", "2024-02-29T21:59:59.100000Z", {}, "2024-02-29T21:59:59.100000Z"),
        ("vector(3)", [1.0, 2.5], {}, [1.0, 2.5]),
        ("bigint", 2**64, {}, str(2**64)),
    ],
)  # fmt: skip
def test_as_people_write(sql_type: str, value: Any, options: Any, expected: Any) -> None:
    assert read(sql_type, value, **options) == expected


@pytest.mark.parametrize(
    ("sql_type", "value", "says"),
    [
        ("numeric(10,2)", "no base64, and long " * 9, "a.x is 'no base64.*…, which must be base64"),
        ("numeric", "BNI=", "without a scale"),
        ("numeric(10,2)", True, "must be a decimal"),
        ("numeric(10,2)", {"a": "hidden"}, "an object of 1 fields"),
        ("numeric(10,2)", "", "has 0 bytes"),
        ("date", "1" * 5000, ""),
        ("date", 1.5, "whole number"),
        ("timestamp", [1, 2], "a list of 2"),
        ("time", 2**70, "whole number of 64 bits"),
        ("date[]", 5, "must be an array"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused(sql_type: str, value: Any, says: str) -> None:
    if not says:
        assert read(sql_type, value) == value
        return
    with pytest.raises(DecodeError, match=says) as refused:
        read(sql_type, value)
    assert len(str(refused.value)) < 300
    assert "hidden" not in str(refused.value)


@given(st.dates())
def test_dates(day: date) -> None:
    assert values.day((day - EPOCH.date()).days) == day.isoformat()


@given(st.integers(-2_440_588, 106_751_990))
def test_days_of_any_year(days: int) -> None:
    shown = values.day(days)
    day = np.datetime64(days, "D")
    year = int(day.astype("datetime64[Y]").astype(int)) + 1970
    month = int(day.astype("datetime64[M]").astype(int)) % 12 + 1
    of_month = int((day - day.astype("datetime64[M]")).astype(int)) + 1
    expected = f"{'-' if year < 0 else '+' if year > 9999 else ''}{abs(year):04d}-{month:02d}-{of_month:02d}"
    assert shown == expected


@given(st.datetimes(), st.sampled_from([MILLI, MICRO, NANO]))
def test_timestamps(moment: datetime, units: int) -> None:
    if units == MILLI:
        moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    since = (moment - EPOCH) // timedelta(microseconds=1)
    count = since * units // MICRO
    if abs(count) < 2**63:
        assert datetime.fromisoformat(values.timestamp(count, units)) == moment
        assert not values.timestamp(count, units).rpartition(".")[2].endswith("0") or not moment.microsecond


@given(st.datetimes(timezones=st.just(UTC)))
def test_zoned_timestamps(moment: datetime) -> None:
    text = values.zoned(f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z")
    assert text.endswith("Z")
    assert datetime.fromisoformat(text) == moment


@given(st.times())
def test_times(clock: time) -> None:
    micros = ((clock.hour * 60 + clock.minute) * 60 + clock.second) * MICRO + clock.microsecond
    assert time.fromisoformat(values.time(micros, MICRO)) == clock


@given(st.integers(-(10**17), 10**17))
def test_intervals(micros: int) -> None:
    parts = re.fullmatch(
        r"P(?:(-?\d+)D)?(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?\d+(?:\.\d+)?)S)?)?", values.interval(micros, MICRO)
    )
    assert parts
    days, hours, minutes, seconds = (Decimal(part or 0) for part in parts.groups())
    assert (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * MICRO == micros


@given(st.binary())
def test_bytes(raw: bytes) -> None:
    plain = b64encode(raw).decode()
    assert values.hexadecimal(raw.hex()) == plain
    assert values.url_safe_base64(urlsafe_b64encode(raw).decode()) == plain


def test_a_number_of_more_digits_than_a_float_holds_is_no_decimal() -> None:
    """The converter's `decimal.format` NUMERIC: two keys would be one."""
    assert values.decimal(12345678901234.5, 2) == "12345678901234.50"
    with pytest.raises(ValueError, match=r"decimal\.format"):
        values.decimal(float("12345678901234567.89"), 2)
    assert values.decimal(0.1234567890123456, 2, encoded=False) == "0.1234567890123456"


@pytest.mark.parametrize(
    ("written", "stands", "is_number"),
    [
        ("12345678901234567.89", "12345678901234567.89", True),
        ("0.10000000000000000001", "0.10000000000000000001", True),
        ("[1.5, 12345678901234567.89]", [1.5, "12345678901234567.89"], True),
        ("0.1", 0.1, False),
        ("[1.5]", [1.5], False),
        ('"0.10000000000000000001 text"', "0.10000000000000000001 text", False),
    ],
)
def test_a_number_of_no_known_type_keeps_its_digits(written: str, stands: Any, is_number: bool) -> None:
    """Without schemas, and with decimal.format=NUMERIC at the connector, decimals are JSON numbers."""
    settings = DebeziumFormat(used={"shop.a": frozenset({"price", "title"})})
    source = {"connector": "postgresql", "schema": "shop", "table": "a", "sequence": '["40","50"]', "ts_ms": 1}
    value = json.dumps({"op": "c", "before": None, "after": {"id": 1, "price": 0.5, "title": "t"}, "source": source})
    event = Event("t", 0, 0, b'{"id": 1}', value.replace("0.5", written).encode())
    change = decode(event, settings)
    assert isinstance(change, Change)
    assert change.row == {"id": 1, "price": stands, "title": "t"}
    assert change.numbers == (frozenset({"price"}) if is_number else frozenset())
