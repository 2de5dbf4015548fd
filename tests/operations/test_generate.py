"""Generated changes come at the pace that is asked for, however late who writes them is."""

import time

from operations.produce.generate import Amount, generated
from operations.reporting import unseen


def count(amount: Amount, pause: float = 0.0) -> int:
    total = 0
    with generated(amount, {}, unseen) as batches:
        for batch in batches:
            total += len(batch)
            time.sleep(pause)
    return total


def test_what_is_due_before_the_end_comes_though_the_writer_is_late() -> None:
    assert count(Amount(duration=0.2, rate=100), pause=0.07) == 20


def test_no_more_comes_than_is_due() -> None:
    assert count(Amount(duration=0.3, rate=10)) == 3
    assert count(Amount(events=2, duration=0.3, rate=10)) == 2
    assert count(Amount(duration=0.2, rate=10), pause=0.3) == 2


def test_a_rate_that_nobody_can_keep_ends_with_the_duration() -> None:
    started = time.monotonic()
    assert 0 < count(Amount(duration=0.2, rate=1e9), pause=0.01) < 20_000
    assert time.monotonic() - started < 20


def test_without_a_rate_the_duration_alone_ends_it() -> None:
    assert count(Amount(duration=0.1), pause=0.02) > 0
    assert count(Amount(events=300)) == 300
