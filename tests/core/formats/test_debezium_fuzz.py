"""Whatever comes, the decoder answers with a change, a truncate, a skip or its own error."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.fuzz_decoders import formats, fuzz, mutated, outcome, real_events
from core.change import Event
from tests.laws import examples

REAL = real_events()
FORMATS = formats(random.Random(0), REAL)


@given(st.binary() | st.none(), st.binary() | st.none(), st.sampled_from(FORMATS))
def test_bytes(key: bytes | None, value: bytes | None, settings: object) -> None:
    outcome(Event("t", 0, 0, key, value), settings)  # type: ignore[arg-type]


@settings(max_examples=examples(500), deadline=None)
@given(st.sampled_from(REAL), st.randoms(use_true_random=False), st.sampled_from(FORMATS))
def test_mutated_real_events(line: dict[str, object], chance: random.Random, settings: object) -> None:
    outcome(mutated(line, chance), settings)  # type: ignore[arg-type]


def test_the_fuzz_reaches_every_outcome() -> None:
    counts = Counter(fuzz(5_000, seed=3))
    assert counts.total() == 5_000
    assert counts.keys() >= {"upsert", "delete", "truncate", "decode error", "skip: tombstone", "skip: transaction"}
    assert counts["upsert"] > 500 and counts["decode error"] > 500


def test_a_crash_tells_its_event(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(event: Event, settings: object) -> None:
        raise KeyError("op")

    monkeypatch.setattr("bench.fuzz_decoders.decode", broken)
    with pytest.raises(KeyError) as crashed:
        next(fuzz(1, seed=5))
    assert crashed.value.__notes__[0].startswith("seed 5, event 0: ")
