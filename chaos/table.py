"""A table of articles for feeds whose source is no server: what writers do to it, chosen by seed alone, and its log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from chaos.texts import body, title

ROWS = 120
_LANGS = ("en", "de", "ja", None)

Row = Mapping[str, Any]
"""id, title, body, lang; a marker too."""


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that a writer does, `wait_s` after the last.

    row  the columns that are set; None: the row is deleted
    to   the key that the row moves to; 0: it stays
    """

    key: int
    row: Row | None
    whole: bool = False
    to: int = 0
    empties: bool = False
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Happened:
    """A change of the table, in the order of its log. `before` is None for an insert, `after` for a deletion.

    Neither is there where the table was emptied.
    """

    before: Row | None
    after: Row | None
    time_us: int


def acts(
    choices: Random, seconds: float, moves: bool, keys: Sequence[int] = range(1, ROWS + 1), each_s: float = 0.004
) -> list[Act]:
    """What a writer does in about `seconds`, where an act takes some `each_s`.

    Without `moves` it neither changes keys nor empties the table.
    """
    found: list[Act] = []
    planned = 0.0
    while planned < seconds:
        for act in _step(choices, moves, keys):
            found.append(act)
            planned += act.wait_s + each_s
    return found


def _step(choices: Random, moves: bool, keys: Sequence[int]) -> Iterator[Act]:
    key, wait = choices.choice(keys), choices.expovariate(1 / 0.02)
    kind = choices.choices(("put", "edit", "touch", "delete", "anew", "move", "chain", "empty"), _weights(moves))[0]
    match kind:
        case "put":
            yield Act(key, _row(choices, key), True, wait_s=wait)
        case "edit":
            text = {"title": title(choices)} if choices.random() < 0.6 else {"body": body(choices)}
            yield Act(key, text, wait_s=wait)
        case "touch":
            yield Act(key, {"lang": choices.choice(_LANGS)}, wait_s=wait)
        case "delete":
            yield Act(key, None, wait_s=wait)
        case "anew":
            yield Act(key, None, wait_s=wait)
            yield Act(key, _row(choices, key), True)
        case "empty":
            yield Act(0, None, empties=True, wait_s=wait)
            for each in choices.sample(keys, 10):
                yield Act(each, _row(choices, each), True)
        case _:
            for _ in range(1 if kind == "move" else choices.randint(2, 4)):
                to = choices.choice(keys)
                row = {"title": title(choices)} if choices.random() < 0.3 else {}
                yield Act(key, row, to=to, wait_s=wait)
                key = to


def _weights(moves: bool) -> list[float]:
    return [16, 24, 10, 10, 5, *((8, 4, 0.2) if moves else (0, 0, 0))]


def _row(choices: Random, key: int) -> dict[str, Any]:
    return {"id": key, "title": title(choices), "body": body(choices), "lang": choices.choice(_LANGS)}


def first(choices: Random) -> list[Act]:
    """Rows to begin with."""
    return [Act(key, _row(choices, key), True) for key in range(1, ROWS + 1)]


@dataclass(slots=True)
class Table:
    """Rows by key. Every change goes to `log` while nothing else changes; its times rise."""

    log: Callable[[Happened], object]
    rows: dict[int, Row] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _time_us: int = 0

    def do(self, act: Act) -> int:
        """Do it, where there is what it changes; how many changes that were."""
        with self._lock:
            if act.empties:
                self.rows.clear()
                return self._changed(None, None)
            before = self.rows.get(act.key)
            if act.row is None:
                return self._changed(self.rows.pop(act.key), None) if before is not None else 0
            if act.whole:
                after = dict(act.row)
            elif before is None or (act.to and act.to in self.rows):
                return 0
            else:
                after = {**before, **act.row, "id": act.to or act.key}
            self.rows.pop(act.key, None)
            self.rows[after["id"]] = after
            return self._changed(before, after)

    def _changed(self, before: Row | None, after: Row | None) -> int:
        self._time_us = max(self._time_us + 1, time.time_ns() // 1000)
        self.log(Happened(before, after, self._time_us))
        return 1


def write(plan: Sequence[Act], until: float, do: Callable[[Act], int]) -> int:
    """Do a writer's acts, as far as time reaches; how many changes that were."""
    changes = 0
    for act in plan:
        time.sleep(act.wait_s)
        if time.monotonic() > until:
            break
        changes += do(act)
    return changes
