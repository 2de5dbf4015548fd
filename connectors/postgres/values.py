"""Values as statements take them: JSON that jsonb stores, and rows as arrays."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from core.stores.exact_numbers import with_numbers


def as_json(metadata: Mapping[str, Any], numbers: Collection[str] = ()) -> str:
    """Metadata as JSON that jsonb takes: NUL becomes U+FFFD. `numbers` as a plan has them."""
    encoded = json.dumps(metadata, ensure_ascii=False)
    clean = _without_nul(metadata) if "\\u0000" in encoded else metadata
    if numbers:
        return with_numbers(clean, numbers, partial(json.dumps, ensure_ascii=False))
    return encoded if clean is metadata else json.dumps(clean, ensure_ascii=False)


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, Mapping):
        return {_without_nul(key): _without_nul(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nul(inner) for inner in value]
    return value


def columns_of(rows: Sequence[tuple[Any, ...]]) -> tuple[list[Any], ...]:
    """Rows as columns, for arrays."""
    return tuple(map(list, zip(*rows, strict=True)))
