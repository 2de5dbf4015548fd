from __future__ import annotations

import pytest

from core.formats.markers import is_marker


@pytest.mark.parametrize(
    ("key", "size", "is_one"),
    [
        ("docs/", 0, True),
        ("docs/", 3, False),
        ("docs/", None, False),
        ("docs_$folder$", 0, True),
        ("docs_$folder$", 9, False),
        ("out/_SUCCESS", 0, True),
        ("_SUCCESS", 700, True),
        ("out/_SUCCESS/a.txt", 0, False),
        ("out/._SUCCESS.crc", 8, True),
        ("out/_temporary/0/part-0.csv", 99, True),
        ("out/_started_123", 0, True),
        ("out/_committed_123", 40, True),
        ("out/_metadata", 40, True),
        ("_index.md", 40, False),
        ("notes/success", 0, False),
        ("empty.txt", 0, False),
    ],
)
def test_what_is_a_marker(key: str, size: int | None, is_one: bool) -> None:
    assert is_marker(key, size) is is_one
