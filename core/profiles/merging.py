"""What a profile's records say, merged by rule: a pure function of the records, however they came to be so.

A record's facts go into the summary of its group (`core.identity.linking`) and out of it again, and the summaries of a
profile's groups are merged. A summary is of bounded size where its rule allows it: the best few, counts, a sum. What
comes of it equals what all records' facts come to at once:

- `latest`         the value of the record with the latest event time; of equal times the greater position, then the
                   greater record id. Within one record positions alone have decided what it says
- `most_trusted`   the value of the most trusted record, the latest of several
- `most_frequent`  the value that most records have; of equally frequent ones the first as JSON text
- `union`          every value there is, each once, in the order of their JSON texts; a list's items each one
- `sum`, `count`   exact: what a record gave is taken back as the record changes or goes
- `last`           the latest few, latest first

Null and blank texts are no values. So a late event is where its time puts it, and an undone one leaves nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal, Inexact, InvalidOperation
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from core.errors import ProfileError
from core.identity.identifiers import Identifier

Survivorship = Literal["latest", "most_trusted", "most_frequent", "union"]
Kind = Literal["latest", "most_trusted", "most_frequent", "union", "sum", "count", "last"]

_SPARE = 8
_DIGITS = 60
_EXACT = Context(prec=200, traps=[Inexact, InvalidOperation])


@dataclass(frozen=True, slots=True)
class Rule:
    """How one value of a profile is made; `most`: of `last`, how many."""

    kind: Kind
    most: int = 1


Rules = Mapping[str, Rule]
"""By the value's name in the profile."""

Place = tuple[int, int, str, str]
"""Trust or time, event time in ms, position, record: the greatest wins."""


class Fact(msgspec.Struct, frozen=True, array_like=True):
    """What a record gives to one value: where it stands, and the value as JSON has it (of `sum` a decimal as text)."""

    place: Place
    value: Any


Facts = dict[str, Fact]
"""What a record says, by the value's name in the profile."""


class Cell(msgspec.Struct, frozen=True, array_like=True):
    """What a group's records give to one value.

    records  how many give something
    best     of `latest`, `most_trusted` and `last`: the greatest few, greatest first
    tally    of `most_frequent` and `union`: JSON text to how many records have it
    total    of `sum`: a decimal
    """

    records: int = 0
    best: tuple[Fact, ...] = ()
    tally: dict[str, int] = {}
    total: str = "0"


Summary = dict[str, Cell]
"""What a group's records say, by the value's name in the profile."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One person, as a store holds it.

    values   by name; JSON values, sums as decimals in text. A name without a value isn't there
    records  how many records it is made of, by table
    """

    profile_id: str
    identifiers: tuple[Identifier, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    records: Mapping[str, int] = field(default_factory=dict)


class Short(Exception):
    """A summary knows too few of its records to go on: make it anew from them all."""


def add(summary: Summary, facts: Facts, rules: Rules) -> Summary:
    """The summary with one record's facts more."""
    added = dict(summary)
    for name, fact in facts.items():
        added[name] = _add(summary.get(name, Cell()), fact, rules[name])
    return added


def remove(summary: Summary, facts: Facts, rules: Rules) -> Summary:
    """The summary less one record's facts. Raises Short where it doesn't know what comes next."""
    left = dict(summary)
    for name, fact in facts.items():
        cell = _remove(summary[name], fact, rules[name])
        if cell is None:
            del left[name]
        else:
            left[name] = cell
    return left


def merge(summaries: Iterable[Summary], rules: Rules) -> dict[str, Any]:
    """The values of a profile whose groups have these summaries."""
    cells: dict[str, list[Cell]] = {}
    for summary in summaries:
        for name, cell in summary.items():
            cells.setdefault(name, []).append(cell)
    return {name: _value(cells[name], rule) for name, rule in rules.items() if name in cells}


def made_by(rules: Rules) -> str:
    """Changes whenever the same facts might be summarized otherwise."""
    return blake2b(repr(sorted(rules.items())).encode(), digest_size=16).hexdigest()


def decimal(name: str, value: Any) -> str:
    """A number in one way of writing it. Raises ProfileError for what is none, or has more than 60 digits."""
    try:
        number = Decimal(str(value)) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        shown = repr(value)[:40]
        raise ProfileError(f"{name} is a sum, and {shown} is no number")
    digits, exponent = number.as_tuple().digits, int(number.as_tuple().exponent)
    if number and (len(digits) > _DIGITS or not -_DIGITS <= exponent <= _DIGITS - len(digits)):
        raise ProfileError(
            f"{name} is a sum, and a number of it has more than {_DIGITS} digits before or after the point"
        )
    return _written(number)


def _written(number: Decimal) -> str:
    text = format(number, "f") if number else "0"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _add(cell: Cell, fact: Fact, rule: Rule) -> Cell:
    records = cell.records + 1
    if rule.kind == "count":
        return Cell(records)
    if rule.kind == "sum":
        return Cell(records, total=_written(_EXACT.add(Decimal(cell.total), Decimal(fact.value))))
    if rule.kind in ("most_frequent", "union"):
        tally = dict(cell.tally)
        for text in _texts(fact, rule):
            tally[text] = tally.get(text, 0) + 1
        return Cell(records, tally=tally)
    complete = cell.records == len(cell.best)
    if not complete and fact.place < cell.best[-1].place:
        return Cell(records, cell.best)
    best = sorted((*cell.best, fact), key=_place, reverse=True)
    return Cell(records, tuple(best[: rule.most + _SPARE]))


def _remove(cell: Cell, fact: Fact, rule: Rule) -> Cell | None:
    records = cell.records - 1
    if not records:
        return None
    if rule.kind == "count":
        return Cell(records)
    if rule.kind == "sum":
        return Cell(records, total=_written(_EXACT.subtract(Decimal(cell.total), Decimal(fact.value))))
    if rule.kind in ("most_frequent", "union"):
        tally = dict(cell.tally)
        for text in _texts(fact, rule):
            tally[text] -= 1
            if not tally[text]:
                del tally[text]
        return Cell(records, tally=tally)
    best = tuple(each for each in cell.best if each.place != fact.place)
    if len(best) < min(rule.most, records):
        raise Short
    return Cell(records, best)


def _value(cells: list[Cell], rule: Rule) -> Any:
    if rule.kind == "count":
        return sum(cell.records for cell in cells)
    if rule.kind == "sum":
        total = Decimal(0)
        for cell in cells:
            total = _EXACT.add(total, Decimal(cell.total))
        return _written(total)
    if rule.kind in ("most_frequent", "union"):
        tally: Counter[str] = Counter()
        for cell in cells:
            tally.update(cell.tally)
        if rule.kind == "union":
            return [_from_text(text) for text in sorted(tally)]
        return _from_text(min(tally, key=lambda text: (-tally[text], text)))
    best = sorted((fact for cell in cells for fact in cell.best), key=_place, reverse=True)[: rule.most]
    return [fact.value for fact in best] if rule.kind == "last" else best[0].value


def _place(fact: Fact) -> Place:
    return fact.place


def _texts(fact: Fact, rule: Rule) -> set[str]:
    if rule.kind == "union" and isinstance(fact.value, list | tuple):
        return {_as_text(each) for each in fact.value}
    return {_as_text(fact.value)}


_sorted_json = msgspec.json.Encoder(order="sorted").encode
_from_text = msgspec.json.Decoder().decode


def _as_text(value: Any) -> str:
    return _sorted_json(value).decode()


facts_to_bytes = msgspec.msgpack.Encoder().encode
facts_from_bytes = msgspec.msgpack.Decoder(Facts).decode
