"""The one patience with servers."""

from __future__ import annotations

import time

import pytest

from connectors.patience import ONCE_MORE, for_seconds, patiently
from core.errors import ConfigError, Throttled, Unavailable
from core.metrics import tally

AT_ONCE = (0.0, 0.0)


class Server:
    """Raises each of the errors once, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.left = list(errors)
        self.asked = 0

    def ask(self) -> str:
        self.asked += 1
        if self.left:
            raise self.left.pop(0)
        return "yes"


def test_what_may_pass_is_asked_again_and_counted() -> None:
    server, lost = Server(Unavailable("away"), Throttled("too often")), list[str]()
    tally.drain()
    answer = patiently(server.ask, for_seconds(60), of="toy", before_again=lambda: lost.append("a"), waits_s=AT_ONCE)
    assert (answer, server.asked, lost) == ("yes", 3, ["a", "a"])
    assert [(each.name, each.labels, each.by) for each in tally.drain()] == [("retries", (("of", "toy"),), 2)]


def test_who_says_how_long_it_wants_to_be_left_alone_is_asked_no_sooner() -> None:
    server, begun = Server(Throttled("too often", 0.2), Throttled("too often", -1.0)), time.monotonic()
    assert patiently(server.ask, for_seconds(60), waits_s=AT_ONCE) == "yes"
    assert 0.2 <= time.monotonic() - begun < 5


def test_what_may_not_pass_is_raised_at_once_and_what_may_as_it_was_last() -> None:
    server = Server(ConfigError(["no"]))
    with pytest.raises(ConfigError, match="no"):
        patiently(server.ask, for_seconds(60))
    assert server.asked == 1
    server = Server(*(Unavailable(f"away {number}") for number in range(9)))
    with pytest.raises(Unavailable, match="away 1"):
        patiently(server.ask, ONCE_MORE, waits_s=AT_ONCE)
    assert server.asked == 2


def test_a_caller_says_what_may_pass() -> None:
    server = Server(KeyError("k"), KeyError("k"))
    assert patiently(server.ask, for_seconds(60), lambda error: isinstance(error, KeyError), waits_s=AT_ONCE) == "yes"
