"""ISO 8601 timestamps as numbers that compare as they do."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

# naive, as offsets are reckoned apart: years 1 and 9999 would overflow
_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d{1,9}))? ?(?:[Zz]|([+-])(\d\d):?(\d\d)?)?)?", re.ASCII
)
_LONGEST = 40


def nanoseconds(value: Any) -> int:
    """Nanoseconds since 1970 in UTC, of a date or a timestamp with up to nine decimals; UTC where it names no offset.

    Raises ValueError for anything else.
    """
    found = _ISO.fullmatch(value) if isinstance(value, str) and len(value) <= _LONGEST else None
    if found is None:
        raise ValueError("not an ISO 8601 timestamp")
    day, time, fraction, sign, hours, minutes = found.groups()
    local = (datetime.fromisoformat(f"{day}T{time or '00:00'}") - _EPOCH) // _MICROSECOND * 1000
    if fraction:
        local += int(fraction.ljust(9, "0"))
    if sign:
        offset = int(hours) * 60 + int(minutes or 0)
        if int(hours) > 23 or int(minutes or 0) > 59:
            raise ValueError("an offset of a day or more")
        local -= (offset if sign == "+" else -offset) * 60_000_000_000
    return local
