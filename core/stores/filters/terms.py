"""Terms: what a filter can ask of a document, as texts. One equals another where the condition holds, and the terms of
one path and kind stand in the order of their values.

A term is `<mark><path>=<value>`:

`lang=en`             a text
`%nprice=2…`          a number, written so that a smaller one comes first
`%tupdated_at=2…`     a text that names a moment, as its seconds since 1970, likewise
`%bactive=true`       true or false
`%etags=`             something is there, and isn't null

So a range of values is a range of terms, exact for as many digits as there are, of whatever name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from hashlib import sha256
from typing import Any

from core.stores.filters.language import LONGEST_BOUND
from core.stores.filters.values import Instant, Path, Value, compared, exact

_MARKS: Mapping[type[Value], str] = {str: "", Decimal: "%n", Instant: "%t", bool: "%b"}
_LONGEST_PATH = 200  # bytes
# bytes of a value, more than a bound has; Lucene takes 1,000 of a bound, 32,766 of a term
_LONGEST = LONGEST_BOUND + 100
_MIDDLE = 5 * 10**6  # exponents are written as differences from here
_COMPLEMENTS = str.maketrans("0123456789", "9876543210")


def terms_of(metadata: Mapping[str, Any], numbers: Collection[str] = ()) -> list[str]:
    """The terms of a document's metadata, each once; `numbers` as a plan has them."""
    found = [term for name, value in exact(metadata, numbers).items() for term in _terms((name,), value)]
    return list(dict.fromkeys(found))


def _terms(path: Path, value: Any, element: bool = False) -> Iterator[str]:
    """Of a value at a path, and of all behind it. An array stands for its elements, but not one that is an element."""
    if value is None:
        return
    if not element:
        yield existing(path)
        yield from (term(path, each) for each in compared(value))
        for each in value if isinstance(value, list) else ():
            yield from _terms(path, each, element=True)
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _terms((*path, name), inner)


def existing(path: Path) -> str:
    """The term of a path at which something is."""
    return f"%e{_written(path)}="


def term(path: Path, value: Value) -> str:
    """The term of a value at a path."""
    return f"{head(path, type(value))}{bounded(value)}"


def head(path: Path, kind: type[Value]) -> str:
    """What the terms of a path and a kind of values begin with, up to their first equals sign, which ends it."""
    return f"{_MARKS[kind]}{_written(path)}="


def _written(path: Path) -> str:
    """A path whose names can't be taken for each other's, nor for a mark; a long one as its hash."""
    names = (each.replace("%", "%25").replace("=", "%3D").replace(".", "%2E") for each in path)
    written = ".".join(names)
    raw = written.encode()
    return written if len(raw) <= _LONGEST_PATH else f"%h{sha256(raw).hexdigest()}"


def bounded(value: Value) -> str:
    """A value as a text in its order, or of a long one its beginning and its hash: against what is shorter than that
    it compares as it did.
    """
    text = _ordered(value)
    raw = text.encode()
    if len(raw) <= _LONGEST:
        return text
    return f"{raw[:_LONGEST].decode(errors='ignore')}#{sha256(raw).hexdigest()}"


def _ordered(value: Value) -> str:
    """A value as a text that comes before another's as the value does."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case Instant(seconds):
            return _digits(seconds)
        case Decimal():
            return _digits(value)


def _digits(number: Decimal) -> str:
    """A number's sign, its exponent in seven digits, and its digits, those of a negative one complemented."""
    if not number:
        return "1"
    sign, digits, _ = number.as_tuple()
    shown = f"{number.adjusted() + _MIDDLE:07d}{''.join(map(str, digits)).rstrip('0')}"
    # a tilde comes behind every digit: of negative numbers the one with more digits comes first
    return f"0{shown.translate(_COMPLEMENTS)}~" if sign else f"2{shown}"
