"""Which rows of a table that was emptied are forgotten: nothing that is known of them will be used again.

A TRUNCATE, or the end of a snapshot, clears a table below a position. Who links refuses what is older, however late it
comes; and every row that is in the table since came whole at that position or behind it. So what is known of a row
whose last change is older says nothing any longer, and what comes late of it is dropped.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from core.change import BEGINNING, Position


class Sweep(NamedTuple):
    """A table's rows below `position` are gone, once every partition has passed `due` (event time, ms); 0: at once."""

    position: Position
    due: int


Sweeps = tuple[Sweep, ...]
"""Of one table: the highest that every partition has passed, and those that are still to be passed."""


def with_sweep(known: Sweeps, new: Sweep, passed_ms: int) -> Sweeps:
    """Those that are known, and one more. `passed_ms`: the event time that every partition has passed."""
    every = {*known, new}
    passed = max((each.position for each in every if each.due <= passed_ms or not each.due), default=BEGINNING)
    waiting = sorted(each for each in every if each.due > passed_ms and each.position > passed)
    return (*((Sweep(passed, 0),) if passed > BEGINNING else ()), *waiting)


def mark(known: Sweeps, passed_ms: int) -> Position:
    """Below which position the table's rows are gone; BEGINNING where that is so of none."""
    return max((each.position for each in known if each.due <= passed_ms or not each.due), default=BEGINNING)


sweeps_to_bytes = msgspec.msgpack.Encoder().encode
sweeps_from_bytes = msgspec.msgpack.Decoder(Sweeps).decode
