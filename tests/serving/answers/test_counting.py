"""What budgets count by, and what of it is remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.config.answer import Answer
from core.errors import ConfigError
from serving.answers import counting


def test_chunks_are_counted_once_and_what_is_longer_is_not_kept() -> None:
    counted = list[int]()

    def size(text: str) -> int:
        counted.append(len(text))
        return len(text)

    remembering = counting._remembering(size)
    for characters in (4_096, 4_096, 4_097, 4_097):
        assert remembering("x" * characters) == characters
    assert counted == [4_096, 4_097, 4_097]
    # of four bytes each, in whichever words a client asks
    assert counting._REMEMBERED * counting._SHORT * 4 <= 64 << 20


def test_a_tokenizer_that_is_not_there_is_named_by_its_own_setting() -> None:
    with pytest.raises(ConfigError, match=r"^answer\.tokenizer: '/nowhere/model': there is no such folder"):
        counting.Counting(Answer(tokenizer=Path("/nowhere/model")))
