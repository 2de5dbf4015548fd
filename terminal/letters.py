"""Dead letters as a person reads them: a list with how many there are of each reason, one whole, and a replay."""

from __future__ import annotations

import heapq
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from core.errors import brief
from core.letters import Letter
from operations.dead_letters import MOST_NAMES, Replay, written
from terminal.plain import json_bytes, plain, shown, shown_bytes

NEWEST = 50
"""How many a list shows where nothing is said."""
_LONGEST = 100
_WHOLE = "replay sends the whole event, where its topic still has it"
_TABLE_NEEDS = 120  # columns of a terminal
_VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")


def show_others(others: Counter[str], console: Console) -> None:
    """How many letters of other pipelines the topic has."""
    if others:
        names = ", ".join(brief(plain(name), _LONGEST) for name, _ in others.most_common(5))
        more = ", …" if len(others) > 5 else ""
        console.print(Text(f"not shown: {others.total():,} of other pipelines in the same topic ({names}{more})"))


def _newest(rows: Iterable[tuple[datetime, Any]], limit: int) -> list[Any]:
    """What was written last, oldest first; of what was written at once, in the order in which it came."""
    numbered = ((time, number, shown) for number, (time, shown) in enumerate(rows))
    newest = heapq.nlargest(limit, numbered, key=lambda row: row[:2])
    return [shown for _, _, shown in reversed(newest)]


def show_list(matching: Iterable[Letter], limit: int, console: Console) -> None:
    """The newest of the letters, at most `limit`, and how many there are of each reason."""
    reasons: Counter[tuple[str, str, str]] = Counter()

    def rows() -> Iterable[tuple[datetime, list[str]]]:
        for letter in matching:
            kind = _kind(letter)
            known = kind in reasons or len(reasons) < MOST_NAMES
            reasons[kind if known else ("…", "…", "other reasons")] += 1
            yield written(letter), _cells(letter)

    newest = _newest(rows(), limit)
    if not newest:
        console.print("no dead letters")
        return
    _show(newest, console)
    total = reasons.total()
    shown = f", the newest {len(newest)} of them above" if total > len(newest) else ""
    console.print(f"\n{total:,} {'letter' if total == 1 else 'letters'}{shown}")
    counts = Table("letters", "stage", "error", "reason", box=None)
    for kind, count in reasons.most_common(20):
        counts.add_row(*map(Text, (f"{count:,}", *kind)))
    console.print(counts)


def _show(letters: Sequence[Sequence[str]], console: Console) -> None:
    """A table; where that would break every word, a line a letter and its reason below."""
    if console.width >= _TABLE_NEEDS:
        table = Table("letter", "time", "stage", "error", "document", "reason", "from", "attempts", box=None)
        for cells in letters:
            table.add_row(*map(Text, cells))
        console.print(table)
        return
    for letter, time, stage, error, document, reason, source, attempts in letters:
        console.print(Text(f"{letter}  {time}  {stage}: {error}  {document}".rstrip(), "bold"), soft_wrap=True)
        again = "" if attempts == "1" else f", {attempts} attempts"
        console.print(Padding(Text(f"{reason} (from {source}{again})"), (0, 0, 0, 4)))


def _kind(letter: Letter) -> tuple[str, str, str]:
    """Stage, class and reason without the values seen, so that letters of one cause count together."""
    reason = _VALUES.sub("…", letter.details.get("reason", "?"))
    return _cell(letter, "stage"), _cell(letter, "error.class"), brief(plain(reason), _LONGEST)


def _cells(letter: Letter) -> list[str]:
    source = letter.source
    return [
        plain(letter.place),
        f"{written(letter):%Y-%m-%d %H:%M:%S}",
        _cell(letter, "stage"),
        _cell(letter, "error.class"),
        _cell(letter, "document", ""),
        _cell(letter, "reason") + (f" ({_cut(letter)})" if letter.is_cut else ""),
        "?" if source is None else plain("/".join(map(str, source))),
        str(letter.attempts),
    ]


def _cut(letter: Letter) -> str:
    """What of the event isn't in its letter, for the topic takes no more."""
    parts = [
        f"{len(part or b''):,} of the {name}'s {plain(letter.details[f'{name}.size'])} bytes"
        for name, part in (("key", letter.key), ("value", letter.value))
        if f"{name}.size" in letter.details
    ]
    left = letter.details.get("headers.left")
    return f"cut: {', '.join([*parts, *([] if left is None else [f'{plain(left)} headers'])])}"


def _cell(letter: Letter, name: str, otherwise: str = "?") -> str:
    return brief(plain(letter.details.get(name, otherwise)), _LONGEST)


def _as_json(letter: Letter) -> dict[str, Any]:
    return {
        "letter": letter.place,
        "cut": letter.is_cut,
        **letter.details,
        "key": json_bytes(letter.key),
        "value": json_bytes(letter.value),
        "headers": [[name, json_bytes(raw)] for name, raw in letter.headers],
    }


def show_letter(letter: Letter, console: Console) -> None:
    """All that a letter holds, a line each."""
    lines = [("letter", plain(letter.place)), *((name, plain(text)) for name, text in sorted(letter.details.items()))]
    lines += [(f"header {plain(name)}", shown_bytes(raw)) for name, raw in letter.headers]
    lines += [("cut", f"{_cut(letter)}; {_WHOLE}")] if letter.is_cut else []
    lines += [("key", shown_bytes(letter.key)), ("value", shown_bytes(letter.value))]
    for name, text in lines:
        console.print(Text.assemble((f"{plain(name)}: ", "bold"), text), soft_wrap=True)


def as_line(letter: Letter) -> str:
    """All that a letter holds, as a line of JSON."""
    return json.dumps(_as_json(letter))


def newest_lines(there: Iterable[Letter], limit: int) -> list[str]:
    """The newest letters, oldest first, each as a line of JSON."""
    return _newest(((written(each), as_line(each)) for each in there), limit)


def show_replay(found: Replay, console: Console) -> None:
    """What is left out and why, and where the others go."""
    for reason, count in found.left.items():
        console.print(f"left out: {count:,} {reason}")
    if not found.counts:
        console.print("nothing to replay")
    for topic, count in sorted(found.counts.items()):
        console.print(f"{count:,} {'event' if count == 1 else 'events'} to {shown(plain(topic))}")
