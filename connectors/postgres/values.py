"""Values as statements take them: JSON that jsonb stores, and rows as arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from core.stores.fitting import without_nul


def as_json(values: Mapping[str, Any]) -> str:
    """Values as JSON that jsonb takes: NUL becomes U+FFFD."""
    encoded = json.dumps(values, ensure_ascii=False)
    return json.dumps(without_nul(values), ensure_ascii=False) if "\\u0000" in encoded else encoded


def columns_of(rows: Sequence[tuple[Any, ...]]) -> tuple[list[Any], ...]:
    """Rows as columns, for arrays."""
    return tuple(map(list, zip(*rows, strict=True)))
