"""Texts for the chaos run's rows: short ones, and ones so long and so random that PostgreSQL moves them out of line."""

from __future__ import annotations

import base64
from random import Random

_ODDITIES = (
    "ß ﬁ Ω",
    "漢字かな",
    "🙂👩‍👩‍👧",
    'it\'s "quoted" \\ back',
    "{braces} %s $1",
    "a\tb\r\nc",
    "e\u0301",
    "\u202ertl",
)
_SIZES = ((0.62, 10, 400), (0.20, 2_100, 4_000), (0.14, 8_200, 20_000), (0.04, 40_000, 200_000))
"""Share, least and most characters. From 2 kB on a value lies apart from its row (TOAST), as it can't be packed."""


def body(choices: Random) -> str | None:
    """A row's long column: mostly short, one of three out of line; now and then empty or null."""
    kind = choices.random()
    if kind < 0.02:
        return None
    if kind < 0.04:
        return ""
    share = choices.random()
    for part, least, most in _SIZES:
        share -= part
        if share < 0:
            return text(choices, choices.randint(least, most))
    return text(choices, _SIZES[0][1])


def title(choices: Random) -> str:
    """A row's short column; one of ten is out of line too."""
    return text(choices, choices.randint(8_200, 9_000) if choices.random() < 0.1 else choices.randint(5, 60))


def text(choices: Random, size: int) -> str:
    """About `size` characters of words nobody ever wrote, in sentences and paragraphs."""
    letters = base64.b64encode(choices.randbytes(size * 3 // 4 + 3), altchars=b"xy").decode()
    pieces = [choices.choice(_ODDITIES)] if choices.random() < 0.3 else []
    at = 0
    while at < size:
        length = choices.randint(2, 11)
        end = choices.random()
        pieces.append(letters[at : at + length] + (".\n\n" if end < 0.01 else ". " if end < 0.1 else " "))
        at += length
    return "".join(pieces)
