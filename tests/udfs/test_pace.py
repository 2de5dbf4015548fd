"""How many requests go at once, and when none do: the laws, and an endpoint played."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from udfs.remote.pace import Breaker, Pace

EVENTS = st.lists(
    st.tuples(st.sampled_from(["fast", "slow", "refused"]), st.floats(0.001, 5), st.floats(0, 3)), max_size=60
)


@given(EVENTS, st.integers(1, 40))
def test_one_is_always_allowed_and_never_more_than_the_ceiling(
    events: list[tuple[str, float, float]], ceiling: int
) -> None:
    pace, now = Pace(ceiling), 0.0
    for kind, took, wait in events:
        sent, now = now, now + took
        pace = pace.refused(sent, now, wait) if kind == "refused" else pace.answered(1000, sent, now, full=True)
        assert 1 <= pace.allowed <= ceiling
        if kind == "refused":
            assert pace.not_before >= now + wait


def test_all_that_were_in_flight_when_it_was_refused_ease_it_once() -> None:
    pace = Pace(16, 8.0)
    for at in (1.0, 1.01, 1.02, 1.03):
        pace = pace.refused(0.5, at, 0)
    assert pace.limit == 4
    assert pace.refused(1.5, 2.0, 0).limit == 2


def test_an_endpoint_that_is_not_full_is_given_no_more() -> None:
    assert Pace(16, 4.0).answered(1000, 0, 1, full=False).limit == 4.0
    assert Pace(16, 4.0).answered(1000, 0, 1, full=True).limit == 4.25


@dataclass
class Played:
    """Rounds of as many requests as are allowed. The endpoint does `servers` at once and refuses beyond `most`."""

    servers: int
    most: int
    takes_s: float = 0.2
    limits: list[int] = field(default_factory=list)

    def play(self, rounds: int) -> Pace:
        pace, now = Pace(64), 0.0
        for _ in range(rounds):
            allowed = pace.allowed
            self.limits.append(allowed)
            taken = min(allowed, self.most)
            for number in range(allowed):
                if number < taken:
                    ends = now + self.takes_s * (1 + number // self.servers)
                    pace = pace.answered(1000, now, ends, full=True)
                else:
                    pace = pace.refused(now, now + 0.01, 0)
            now += self.takes_s * -(-taken // self.servers) + 0.01
        return pace


def test_the_limit_finds_what_an_endpoint_bears() -> None:
    many = Played(servers=24, most=1_000)
    many.play(80)
    assert min(many.limits[40:]) >= 18
    assert max(many.limits) <= 64
    one = Played(servers=1, most=1_000)
    one.play(80)
    assert min(one.limits[40:]) >= 2
    assert max(one.limits[40:]) <= 6
    strict = Played(servers=1_000, most=10)
    strict.play(200)
    assert max(strict.limits[40:]) <= 11
    assert sum(strict.limits[40:]) / 160 >= 6


def test_worse_times_become_the_rule() -> None:
    pace = Pace(16, 8.0).answered(1000, 0, 0.1, full=True)
    now = 1.0
    for _ in range(200):
        pace = pace.answered(1000, now, now + 1, full=True)
        now += 1.01
    assert pace.allowed == 16


@given(st.lists(st.booleans(), max_size=60))
def test_a_breaker_opens_after_failures_in_a_row_over_a_time_and_on_nothing_else(outcomes: list[bool]) -> None:
    breaker, row = Breaker(most=5, span_s=3, rest_s=10), 0
    for now, succeeded in enumerate(outcomes):
        row = 0 if succeeded else row + 1
        breaker = breaker.succeeded() if succeeded else breaker.failed(float(now))
        assert breaker.is_open(float(now)) is (row >= 5)


def test_a_short_outage_opens_no_breaker_however_many_were_in_flight() -> None:
    breaker = Breaker(most=5, span_s=30)
    for number in range(100):
        breaker = breaker.failed(number * 0.01)
    assert not breaker.is_open(1.0)
    assert breaker.failed(30.0).is_open(30.0)


def test_after_its_rest_the_first_failure_opens_it_anew() -> None:
    breaker = Breaker(most=1, span_s=0, rest_s=10).failed(0)
    assert breaker.is_open(9.9)
    assert not breaker.is_open(10)
    assert breaker.failed(10).is_open(19.9)
    assert not breaker.succeeded().is_open(10)
