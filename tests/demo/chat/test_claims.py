"""The chat demo's claims: what is timed is the answer, and no pause after it."""

from __future__ import annotations

import pytest

from demo.chat import claims
from demo.chat.asking import Prompt


def test_a_pause_is_made_on_a_miss_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []
    monkeypatch.setattr(claims.time, "sleep", paused.append)
    prompt = Prompt("last_item: camping stove", ())
    assert claims._with(prompt, "camping stove") is prompt and not paused
    assert claims._with(prompt, "oak table") is None and len(paused) == 1
