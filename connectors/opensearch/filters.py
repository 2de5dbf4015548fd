"""The terms by which OpenSearch's chunks are found: what of a document's metadata a search can ask for."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any

from core.stores.exact_numbers import plain_digits

_LONGEST_FILTER = 8000  # bytes; a longer term is replaced by its hash, Lucene takes 32,766


def filters(metadata: Mapping[str, Any], numbers: Collection[str] = ()) -> list[str]:
    """What metadata can be filtered by: `key=value`, where the value is text as PostgreSQL's `->>` has it.

    A number, also one whose digits stand as text under a name in `numbers`, has a second term, of the number it is.
    """
    terms = [filter_of(key, _text(value)) for key, value in metadata.items() if value is not None]
    return terms + [
        number_filter_of(key, digits)
        for key, value in metadata.items()
        if (key in numbers if isinstance(value, str) else isinstance(value, int | float))
        and (digits := plain_digits(_text(value)))
    ]


def filter_of(key: str, value: str) -> str:
    """One such term. In the key, `=` and `%` are percent-encoded; a long term is `#` and its hash."""
    return _term(key, value)


def number_filter_of(key: str, digits: str) -> str:
    """The term of a number, as `plain_digits` writes it. No key begins with a `%n` when it is encoded."""
    return _term(key, digits, "%n")


def _term(key: str, value: str, mark: str = "") -> str:
    term = f"{mark}{key.replace('%', '%25').replace('=', '%3D')}={value}"
    raw = term.encode()
    return term if len(raw) <= _LONGEST_FILTER else f"#{sha256(raw).hexdigest()}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
