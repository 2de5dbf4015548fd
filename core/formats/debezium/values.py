"""A column's value as Debezium's JSON carries it, made what people write.

Sources of the rules: Debezium's documentation, "Debezium connector for PostgreSQL: Data type mappings" (temporal,
decimal, interval and binary values, PostgreSQL infinity) and "Debezium connector for MySQL: Data type mappings". Every
function takes the decoded JSON value, and raises ValueError or TypeError with what it must be where it is another.

Fractions of a second lose their trailing zeros, and go altogether where they are zero, as PostgreSQL prints them.
Years outside 0000 … 9999 are written as ISO 8601 expands them, astronomically: `+12024-01-01`, and 44 BC is `-0043`.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode, urlsafe_b64decode
from collections.abc import Callable
from datetime import date
from decimal import MAX_EMAX, Decimal, Inexact, localcontext
from typing import Any

from core.errors import DecodeError
from core.formats.json_values import Digits, json_value, storable

Reader = Callable[[Any], Any]
"""Makes a value, which isn't null, what people write. Raises ValueError, TypeError or ArithmeticError."""

MILLI, MICRO, NANO = 10**3, 10**6, 10**9
"""Units a second."""

_DAY_S = 86_400
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_EARLIEST_DAY, _LATEST_DAY = -2_440_588, 2_145_031_948  # PostgreSQL's dates: 4714-11-24 BC to 5874897-12-31
# A snapshot squeezes the JDBC driver's infinities, 292278994-08-16 and 292269055-12-02 BC, into 32 bits, and loses BC.
_INFINITE_DAYS = {-622_191_234: "infinity", -625_821_272: "-infinity"}
_INFINITE_TIMESTAMP = 9_223_372_036_825_200_000
_INFINITE_SECONDS = range(9_223_372_036_825, 9_223_372_036_856)  # the same in microseconds, or cut from them
_LARGEST_SCALE = 20_000
_LARGEST_BITS = 2**17  # bytes; longer ones take longer than an event may
_DIGITS = 15
"""Decimal ones that any float of IEEE 754 with 64 bits holds."""
_QUICK_BITS = 8192
_PRECISION = 400_000  # digits, more than any product here has
_LARGEST_NUMERIC_BYTES = 20_000  # 48,000 digits: PostgreSQL's numeric has room for 147,455, which take too long
_ZONED = re.compile(r"([+-]?\d{4,}-\d\d-\d\dT)?(\d\d:\d\d)(:\d\d)?(?:\.(\d{1,9}))?(Z|[+-]00:00)?", re.ASCII)
_TOO_MANY_DIGITS = (
    "is a JSON number of more digits than are read exactly: leave the converter's decimal.format at BASE64, or have "
    "the connector's decimal.handling.mode be string"
)


def decimal(value: Any, scale: int | None, encoded: bool | None = True) -> str:
    """An exact decimal as text, with `scale` digits behind the point.

    Text is the base64 of the unscaled value's big-endian two's complement (`decimal.handling.mode=precise`), or where
    it isn't `encoded` the number itself (`string`, and NaN and infinities in `double`), which stays. Numbers
    (`double`, or the converter's `decimal.format=NUMERIC`) are written out, exact as far as the JSON number was.
    Where `encoded` is None nobody has said whether it is: text that may be either is refused.
    Where `scale` is None, text must not be encoded: {scale, value} tells its own.
    """
    if scale is not None and abs(scale) > _LARGEST_SCALE:
        raise ValueError(f"has scale {scale} in its type, must be within ±{_LARGEST_SCALE}")
    if isinstance(value, dict):
        text = variable_scale_decimal(value)
        if text is None:
            raise ValueError("must be {scale, value} with a base64 value")
        return text
    if type(value) is Digits:
        raise ValueError(_TOO_MANY_DIGITS)
    if isinstance(value, str):
        if encoded is False:
            return value
        if encoded is None and value.isdecimal():
            raise ValueError(
                "may be a number, or one in base64: say the connector's decimal.handling.mode in format.debezium"
            )
        if scale is None:
            raise ValueError("is base64 without a scale: give the column's type as numeric(precision, scale)")
        return _scaled(value, scale)
    if isinstance(value, int | float) and not isinstance(value, bool):
        written = _written_out(value, scale or 0)
        # a converter's decimal.format NUMERIC writes all digits, and a float holds no more than these
        if encoded is not False and isinstance(value, float) and len(written.strip("-0.").replace(".", "")) > _DIGITS:
            raise ValueError(_TOO_MANY_DIGITS)
        return written
    raise TypeError("must be a decimal")


def variable_scale_decimal(value: dict[str, Any]) -> str | None:
    """The decimal that {scale, value} holds (`io.debezium.data.VariableScaleDecimal`), or None."""
    scale, unscaled = value.get("scale"), value.get("value")
    if len(value) != 2 or type(scale) is not int or abs(scale) > _LARGEST_SCALE or not isinstance(unscaled, str):
        return None
    try:
        return _scaled(unscaled, scale)
    except ValueError:
        return None


def _scaled(unscaled: str, scale: int) -> str:
    raw = _bytes(unscaled)
    if not 0 < len(raw) <= _LARGEST_NUMERIC_BYTES:
        raise ValueError(f"has {len(raw)} bytes, must be 1 to {_LARGEST_NUMERIC_BYTES} of an unscaled decimal")
    number = int.from_bytes(raw, "big", signed=True)
    digits = _digits(abs(number))
    sign = "-" if number < 0 else ""
    if scale <= 0:
        return sign + (digits + "0" * -scale if number else digits)
    digits = digits.zfill(scale + 1)
    return f"{sign}{digits[:-scale]}.{digits[-scale:]}"


def _digits(number: int) -> str:
    """As str() of it, which ends at 4,300 digits, and as Decimal() of it, whose time is quadratic."""
    if number.bit_length() <= _QUICK_BITS:
        return str(Decimal(number))
    with localcontext() as context:
        context.prec, context.Emax = _PRECISION, MAX_EMAX
        context.traps[Inexact] = True
        return f"{_halved(number):f}"


def _halved(number: int) -> Decimal:
    bits = number.bit_length() // 2
    if 2 * bits <= _QUICK_BITS:
        return Decimal(number)
    return _halved(number >> bits) * Decimal(2) ** bits + _halved(number & ((1 << bits) - 1))


def _written_out(number: float, scale: int) -> str:
    text = format(Decimal(repr(number)) if isinstance(number, float) else Decimal(number), "f")
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0").ljust(scale, "0")
    return f"{whole}.{fraction}" if fraction else whole


def day(value: Any) -> str:
    """A date, from days since 1970 or ISO text (`isostring`, with a Z that means nothing).

    Days that PostgreSQL's dates don't reach are its infinities. A snapshot loses BC: such a date reads as AD, and
    nothing can tell it from one.
    """
    if isinstance(value, str):
        return value.removesuffix("Z")
    days = _whole(value)
    if days in _INFINITE_DAYS:
        return _INFINITE_DAYS[days]
    if not _EARLIEST_DAY <= days <= _LATEST_DAY:
        return "infinity" if days > 0 else "-infinity"
    return _calendar(days)


def time(value: Any, units: int) -> str:
    """A time of day as `12:34:56.789`, from units since midnight or ISO text; 24:00:00, and MySQL's -838:59:59, too."""
    if isinstance(value, str):
        return local(value)
    count = _whole(value)
    return ("-" if count < 0 else "") + _clock(abs(count), units)


def timestamp(value: Any, units: int) -> str:
    """A date and time without a zone, from units since 1970 or ISO text; `infinity` and `-infinity` where it is one.

    Infinities are the JDBC driver's (±9223372036825200000 and beyond, in any unit), the same cut to another unit, and
    what lies outside PostgreSQL's dates.
    """
    if isinstance(value, str):
        return local(value)
    count = _whole(value)
    seconds, fraction = divmod(count, units)
    days, second = divmod(seconds, _DAY_S)
    if abs(count) >= _INFINITE_TIMESTAMP or seconds in _INFINITE_SECONDS or not _EARLIEST_DAY <= days <= _LATEST_DAY:
        return "infinity" if count > 0 else "-infinity"
    return f"{_calendar(days)}T{_clock(second * units + fraction, units)}"


def zoned(value: str) -> str:
    """A time or timestamp with its zone: UTC is Z. Any other text, infinities among it, stays as it is."""
    matched = _ZONED.fullmatch(_text(value))
    if matched is None:
        return value
    head, minutes, seconds, fraction, zone = matched.groups()
    fraction = (fraction or "").rstrip("0")
    return f"{head or ''}{minutes}{seconds or ':00'}{'.' + fraction if fraction else ''}{'Z' if zone else ''}"


def local(value: str) -> str:
    """A time or timestamp without a zone, from text that ends in a Z of no meaning (`isostring`)."""
    return zoned(_text(value).removesuffix("Z"))


def interval(value: Any, units: int) -> str:
    """An interval in ISO 8601, from units (`interval.handling.mode=numeric`); text (`string`) stays as it is.

    The number has lost which parts were months and years (a month counts as 365.25 / 12 days), so the longest unit
    is a day of 24 hours. Each part of a negative one has its sign, as PostgreSQL writes `iso_8601` intervals.
    """
    if isinstance(value, str):
        return value
    count = _whole(value)
    sign = "-" if count < 0 else ""
    seconds, fraction = divmod(abs(count), units)
    days, seconds = divmod(seconds, _DAY_S)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    rest = f"{seconds % 60}{_fraction(fraction, units)}"
    date_part = f"{sign}{days}D" if days else ""
    parts = [
        f"{sign}{part}{unit}" for part, unit in ((hours, "H"), (minutes, "M"), (rest, "S")) if part not in (0, "0")
    ]
    return f"P{date_part}T{''.join(parts)}" if parts else f"P{date_part or 'T0S'}"


def url_safe_base64(value: Any) -> str:
    """Bytes as ordinary base64, from the URL-safe one (`binary.handling.mode=base64-url-safe`)."""
    return b64encode(urlsafe_b64decode(_text(value).encode())).decode()


def hexadecimal(value: Any) -> str:
    """Bytes as base64, from hexadecimal text (`binary.handling.mode=hex`)."""
    return b64encode(bytes.fromhex(_text(value))).decode()


def document(value: Any) -> Any:
    """What JSON says, of a JSON column's text; the text, where it is none or no store could hold it."""
    try:
        return storable(json_value(_text(value).encode(), "text"))
    except (DecodeError, UnicodeEncodeError):
        return value


def bits(value: Any, length: int) -> str:
    """Bits as `10110000`, from base64 of them with the lowest byte first; `length` is the column's.

    Of `bit varying` the zeros before the first one don't travel: it has as many as its length has room for, or its
    bytes where that is more than they have.
    """
    if isinstance(value, bool):
        return "1" if value else "0"
    raw = _bytes(_text(value))
    if len(raw) > _LARGEST_BITS:
        raise ValueError(f"has {len(raw)} bytes, must be at most {_LARGEST_BITS} of a column of bits")
    return format(int.from_bytes(raw, "little"), f"0{min(length, 8 * len(raw))}b") if raw else ""


def each(value: Any, read: Reader) -> list[Any]:
    """An array's values, nulls left."""
    if not isinstance(value, list):
        raise TypeError("must be an array")
    return [None if item is None else each(item, read) if isinstance(item, list) else read(item) for item in value]


def _calendar(days: int) -> str:
    ordinal = days + _EPOCH_ORDINAL
    if 0 < ordinal <= date.max.toordinal():
        return date.fromordinal(ordinal).isoformat()
    cycles, within = divmod(ordinal - 1, 146_097)  # the Gregorian calendar repeats after 400 years
    shown = date.fromordinal(within + 1)
    year = shown.year + 400 * cycles
    return f"{'-' if year < 0 else '+' if year > date.max.year else ''}{abs(year):04d}{shown.isoformat()[4:]}"


def _clock(count: int, units: int) -> str:
    seconds, fraction = divmod(count, units)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{_fraction(fraction, units)}"


def _fraction(count: int, units: int) -> str:
    return "." + str(count).zfill(len(str(units)) - 1).rstrip("0") if count else ""


def _whole(value: Any) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise TypeError("must be a whole number of 64 bits")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("must be text")
    return value


def _bytes(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise ValueError("must be base64") from None
