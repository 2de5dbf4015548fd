from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.formats.timestamps import nanoseconds

offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31), timezones=offsets)


@given(moments)
def test_as_datetime_reads_them(moment: datetime) -> None:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    assert nanoseconds(moment.isoformat()) == since // timedelta(microseconds=1) * 1000


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00", 0),
        ("1970-01-01 00:00:01", 10**9),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01T00:00:00,5z", 5 * 10**8),
        ("1970-01-01T01:00:00+0100", 0),
        ("1970-01-01T00:00:00 -01", 3600 * 10**9),
        ("0001-01-01T00:00:00+23:59", (-62135596800 - 23 * 3600 - 59 * 60) * 10**9),
        ("9999-12-31T23:59:59.999999999-23:59", (253402300799 + 23 * 3600 + 59 * 60) * 10**9 + 999_999_999),
    ],
)
def test_forms(text: str, since: int) -> None:
    assert nanoseconds(text) == since


WRONG: tuple[object, ...] = (
    "", "20240101", "2024-13-01", "2024-02-30", "2024-01-01T24:01", "2024-01-01T00:00:00.1234567890", "1970-01-01Z",
    "2024-01-01T00:00:00+24:00", "2024-01-01T00:00:00+00:60", "٢٠٢٤-01-01", "0000-01-01", 5, None, True, [], b"x",
)  # fmt: skip


@pytest.mark.parametrize("value", WRONG)
def test_what_is_none(value: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        nanoseconds(value)
