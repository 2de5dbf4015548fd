"""Clocks that were ahead: an object's positions are times of looks at it, and a store takes nothing that is older.

A job that keeps its state goes on behind the times that it has emitted (`objects`). One that lost it, or went back to
an earlier one, begins with the clock again, and is refused until that has come to where the store stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from core.change import Position
from core.documents.unfolding import looked_ms

_LEEWAY_MS = 60_000
"""Clocks of two machines differ."""

_WAYS = (
    "Wait until then and run with --without-state, or name another table or index below store, into which all is "
    "embedded anew"
)


def ahead(latest: Mapping[str, Position], now_ms: int) -> str:
    """A warning of stores, by name, whose latest position is far ahead of a clock that shows `now_ms`.

    "" where there is none.
    """
    times = {name: looked_ms(position) for name, position in latest.items()}
    found = {name: at for name, at in times.items() if at > now_ms + _LEEWAY_MS}
    if not found:
        return ""
    store = max(found, key=lambda name: found[name])
    until = datetime.fromtimestamp(found[store] / 1_000, UTC).isoformat(timespec="seconds")
    return (
        f"{store} stands at {until}, {_span(found[store] - now_ms)} ahead of this machine's clock: a clock was ahead "
        f"when files or objects were written to it. Until then it refuses those of a run without earlier state. {_WAYS}"
    )


def refused(changes: int) -> str:
    """What to say of so many changes of objects that a store refused as older; "" where there are none.

    Looks are later than those before them, so nothing but a clock that was set back makes them older.
    """
    if not changes:
        return ""
    return (
        f"{changes:,} changes of files or objects were refused, as the store stands at a later time: a clock was ahead "
        f"when they were written before. `freshet check` says until when. {_WAYS}"
    )


def _span(milliseconds: int) -> str:
    minutes = milliseconds // 60_000
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{minutes // 60} hours" if minutes < 72 * 60 else f"{minutes // 1_440} days"
