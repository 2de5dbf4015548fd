"""Where a text may be parted without parting what is read as one character.

Sources of the rules: Unicode's annex 29, "Grapheme Cluster Boundaries" (GB6 to GB13), and its technical standard 51,
"ED-16. emoji ZWJ sequence" and "ED-14. emoji flag sequence". By the categories that Python knows, so a little coarser:
nothing is parted behind a zero width joiner, whatever follows. Line ends of two characters are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from unicodedata import category

Whole = Callable[[int], bool]
"""Whether all characters stay whole where a text is cut at an offset."""

_JOINER = "\u200d"
_FLAG = re.compile("[\U0001f1e6-\U0001f1ff]{2}")
# beside marks: zero width (non-)joiner, skin tones, tags, half-width voicing, sara am, and the later parts of Hangul
_CONTINUES = re.compile(
    "[\u200c\u200d\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f\uff9e\uff9f\u0e33\u0eb3\u1160-\u11ff\ud7b0-\ud7fb]"
)


def whole(text: str) -> Whole:
    """For the offsets of a text. All that is asked of it together takes as long as the text is, at most."""
    if text.isascii():
        return lambda offset: True

    @cache
    def within_flags() -> frozenset[int]:
        return frozenset(found.start() + 1 for found in _FLAG.finditer(text))

    def stay_whole(offset: int) -> bool:
        if not 0 < offset < len(text):
            return True
        before, after = text[offset - 1], text[offset]
        if before == _JOINER:
            return False
        if after.isascii():
            return True
        if "\U0001f1e6" <= after <= "\U0001f1ff":
            return offset not in within_flags()
        return category(after)[0] != "M" and not _CONTINUES.match(after)

    return stay_whole
