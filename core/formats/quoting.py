"""Values from feeds in messages: short, and never a row, which may hold what nobody should read."""

from __future__ import annotations

from typing import Any

_QUOTED = 60


def quote(value: Any) -> str:
    """A scalar's representation, cut after 60 characters; of a list or an object, its kind and size alone."""
    if isinstance(value, dict):
        return f"an object of {len(value)} fields"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "[]"
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"  # repr() of an int ends at 4,300 digits
    shown = repr(value[: _QUOTED + 1]) if isinstance(value, str) else repr(value)
    return shown if len(shown) <= _QUOTED else shown[:_QUOTED] + "…"
