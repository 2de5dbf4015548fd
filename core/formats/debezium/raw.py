"""PostgreSQL's text of a value, as Debezium's JSON would carry it: the other way round from `values`.

Sources of the rules: Debezium's documentation, "Debezium connector for PostgreSQL: Data type mappings"; PostgreSQL's,
"Date/Time Output" (DateStyle ISO, IntervalStyle iso_8601, TimeZone UTC are expected).
"""

from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any

from core.formats.debezium.format import DebeziumFormat
from core.formats.debezium.values import MICRO, MILLI, NANO

Writer = Callable[[Any], Any]
"""Makes a value, which isn't null, what Debezium's JSON has. Text as PostgreSQL prints it, else Python's own."""

TYPE = re.compile(r"(?:.*\.)?\"?([^\"(\[]+?)\"?(?:\((\d+)(?:,(-?\d+))?\))?( with(?:out)? time zone)?((?:\[\d*\])*)")
"""A type as PostgreSQL's `format_type` names it: name, length or precision, scale, zone, brackets."""

_MOMENT = re.compile(r"(\d+)-(\d\d)-(\d\d)(?: (\d\d:\d\d:\d\d(?:\.\d+)?))?(?:[+-]00)?( BC)?")
_ANY_YEAR = re.compile(r"([+-]?)(\d{4,7})(-\d\d-\d\d.*)", re.ASCII)
_INTERVAL = re.compile(
    r"P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)D)?(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?\d+(?:\.\d+)?)S)?)?"
)
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_CYCLE_DAYS = 146_097  # the Gregorian calendar repeats after 400 years
_DAY_S = 86_400
_MONTH_DAYS = 365.25 / 12
_INFINITE_TIMESTAMPS = {"infinity": 9_223_372_036_825_200_000, "-infinity": -9_223_372_036_832_400_000}
_INFINITE_DATES = {"infinity": 2**31 - 1, "-infinity": -(2**31)}


def writer(sql_type: str, settings: DebeziumFormat) -> Writer | None:
    """How values of a type, as PostgreSQL's `format_type` names it, are written; None where they are what they are."""
    matched = TYPE.fullmatch(sql_type)
    if matched is None:
        return None
    name, first, second, zone, array = matched.groups()
    of = _of_name(name + (zone or ""), int(first) if first else None, int(second or 0), settings)
    return partial(_each, write=of) if array and of is not None else of


def _of_name(name: str, precision: int | None, scale: int, settings: DebeziumFormat) -> Writer | None:
    times = settings.time_precision_mode
    match name:
        case "numeric":
            return partial(_decimal, scale=None if precision is None else scale, mode=settings.decimals)
        case "money":
            return partial(_decimal, scale=2, mode=settings.decimals)
        case "real" | "double precision":
            return _floating
        case "date":
            return (lambda text: f"{_iso_day(text)}Z") if times == "isostring" else _days
        case "time without time zone":
            return partial(_time, units=units_of(times, precision, whole_times=True))
        case "timestamp without time zone":
            return partial(_timestamp, units=units_of(times, precision))
        case "timestamp with time zone":
            return _instant
        case "time with time zone":
            return _zoned_time
        case _ if name.startswith("interval"):
            return partial(_interval, text=settings.interval_handling_mode == "string")
        case "bytea":
            return partial(_binary, mode=settings.binary_handling_mode)
        case "bit" | "bit varying":
            return partial(_bits, single=name == "bit" and precision in (None, 1))
        case "vector" | "halfvec":
            return json.loads
        case "sparsevec":
            return _sparse
    return None


def read_by_postgres(moment: str) -> str:
    """A date or a timestamp in ISO 8601, of any year, as PostgreSQL reads it: years without a sign, and BC.

    Source: PostgreSQL's documentation, "Date/Time Input"; its year 1 BC is ISO's 0000.
    """
    matched = _ANY_YEAR.fullmatch(moment)
    if matched is None:
        return moment
    sign, year, rest = matched.groups()
    return f"{int(year) + 1:04d}{rest} BC" if sign == "-" or not int(year) else f"{year}{rest}"


def units_of(times: str, precision: int | None, whole_times: bool = False) -> int | None:
    """Units a second; None for text."""
    match times:
        case "isostring":
            return None
        case "connect":
            return MILLI
        case "nanoseconds":
            return NANO
        case "microseconds":
            return MICRO
        case "adaptive_time_microseconds" if whole_times:
            return MICRO
    return MILLI if precision is not None and precision <= 3 else MICRO


def _each(values: list[Any], write: Writer) -> list[Any]:
    return [None if item is None else _each(item, write) if isinstance(item, list) else write(item) for item in values]


def _decimal(text: str, scale: int | None, mode: str) -> Any:
    number = Decimal(text)
    if not number.is_finite() or mode == "string":
        return text
    if mode == "double":
        return float(text)
    if scale is None and "." in text:
        text = text.rstrip("0").removesuffix(".")
    fraction = text.partition(".")[2]
    unscaled = _base64_of(int(Decimal(text.replace(".", ""))))  # int() of text ends at 4,300 digits
    return unscaled if scale is not None else {"scale": len(fraction), "value": unscaled}


def _base64_of(number: int) -> str:
    length = (~number if number < 0 else number).bit_length() // 8 + 1
    return b64encode(number.to_bytes(length, "big", signed=True)).decode()


def _floating(number: float) -> Any:
    if number != number:
        return "NaN"
    return number if abs(number) != float("inf") else "Infinity" if number > 0 else "-Infinity"


def _parts(text: str) -> tuple[int, int, int, str]:
    """Astronomical year, month, day and the time of day."""
    matched = _MOMENT.fullmatch(text)
    if matched is None:
        raise ValueError(f"{text!r} is no date of PostgreSQL's in DateStyle ISO")
    year, month, day, clock, before_christ = matched.groups()
    return (1 - int(year) if before_christ else int(year)), int(month), int(day), clock or "00:00:00"


def _days(text: str) -> int:
    if text in _INFINITE_DATES:
        return _INFINITE_DATES[text]
    year, month, day, _ = _parts(text)
    cycles, within = divmod(year - 1, 400)
    return date(within + 1, month, day).toordinal() + cycles * _CYCLE_DAYS - _EPOCH_ORDINAL


def _iso_day(text: str) -> str:
    if text in _INFINITE_DATES:
        return text
    year, month, day, _ = _parts(text)
    sign = "-" if year < 0 else "+" if year > 9999 else ""
    return f"{sign}{abs(year):04d}-{month:02d}-{day:02d}"


def _clock(text: str) -> tuple[int, int]:
    """Seconds and microseconds of a time of day."""
    hours, minutes, seconds = text.split(":")
    whole, _, fraction = seconds.partition(".")
    return int(hours) * 3600 + int(minutes) * 60 + int(whole), int(fraction.ljust(6, "0"))


def _count(seconds: int, micros: int, units: int) -> int | None:
    count = (seconds * MICRO + micros) * units // MICRO
    return count if abs(count) < 2**63 else None  # nanoseconds end in 2262; Debezium sends a null


def _time(text: str, units: int | None) -> Any:
    if units is None:
        return f"{'00:00:00' if text == '24:00:00' else text}Z"
    return _count(*_clock(text), units)


def _timestamp(text: str, units: int | None) -> Any:
    if text in _INFINITE_TIMESTAMPS:
        return text if units is None else _INFINITE_TIMESTAMPS[text]
    clock = _parts(text)[3]
    if units is None:
        return f"{_iso_day(text)}T{clock}Z"
    seconds, micros = _clock(clock)
    return _count(_days(text) * _DAY_S + seconds, micros, units)


def _instant(text: str) -> str:
    if text in _INFINITE_TIMESTAMPS:
        return text
    whole, _, fraction = _parts(text)[3].partition(".")
    return f"{_iso_day(text)}T{whole}.{fraction.ljust(6, '0')}Z"


def _zoned_time(text: str) -> str:
    clock, sign, offset = re.split(r"([+-])", text)
    hours, minutes, seconds = (int(part) for part in f"{offset}:00:00".split(":")[:3])
    shift = (hours * 3600 + minutes * 60 + seconds) * (-1 if sign == "+" else 1)
    whole, _ = _clock(clock)
    second = (whole + shift) % _DAY_S
    _, dot, fraction = clock.partition(".")
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}{dot}{fraction}Z"


def _interval(value: str, text: bool) -> Any:
    matched = _INTERVAL.fullmatch(value)
    if matched is None:
        raise ValueError(f"{value!r} is no interval of PostgreSQL's in IntervalStyle iso_8601")
    years, months, days, hours, minutes = (int(part or 0) for part in matched.groups()[:5])
    seconds = Decimal(matched[6] or 0)
    if text:
        return f"P{years}Y{months}M{days}DT{hours}H{minutes}M{_plain(seconds)}S"
    whole = ((years * 12 + months) * _MONTH_DAYS + days) * _DAY_S * MICRO
    return round(whole) + (hours * 3600 + minutes * 60) * MICRO + int(seconds * MICRO)


def _plain(seconds: Decimal) -> str:
    shown = f"{seconds:f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def _binary(raw: bytes, mode: str) -> str:
    if mode == "hex":
        return raw.hex()
    return (urlsafe_b64encode if mode == "base64-url-safe" else b64encode)(raw).decode()


def _bits(text: str, single: bool) -> Any:
    if single:
        return text == "1"
    return b64encode(int(text or "0", 2).to_bytes((len(text) + 7) // 8, "little")).decode()


def _sparse(text: str) -> dict[str, Any]:
    pairs, _, dimensions = text.rpartition("/")
    found = [pair.split(":") for pair in pairs.strip("{}").split(",") if pair]
    return {"dimensions": int(dimensions), "vector": [[int(place), float(value)] for place, value in found]}
