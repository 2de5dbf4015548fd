"""How many requests an endpoint bears at once, and when to leave it alone. Times are seconds of the caller's clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

_SLOW = 3.0
_NOISE_S = 0.05
_FORGETS = 1.02


@dataclass(frozen=True, slots=True)
class Pace:
    """Requests in flight: one more for each round that goes well, half as many where the endpoint refuses.

    Additive increase, multiplicative decrease (Chiu, Jain 1989). Answers that take three times as long as the best of
    like size count as a queue in the endpoint, and take off a fifth: more in flight would only wait there.

    limit       how many may be in flight now; its whole part counts
    best        the shortest answer by the request's size, as a power of two; it grows slowly, to forget better times
    eased_at    when the limit last fell: answers to earlier requests say nothing about the lower limit
    not_before  until when the endpoint asked to be left alone
    """

    ceiling: int
    limit: float = 4.0
    best: Mapping[int, float] = field(default_factory=dict)
    eased_at: float = float("-inf")
    not_before: float = float("-inf")

    @property
    def allowed(self) -> int:
        """How many requests may be in flight."""
        return max(1, min(self.ceiling, int(self.limit)))

    def answered(self, size: int, sent: float, now: float, full: bool) -> Pace:
        """Note an answer to a request of `size` bytes. `full`: whether as many were in flight as were allowed."""
        took, kind = now - sent, size.bit_length()
        best = min(took, self.best.get(kind, took) * _FORGETS)
        known = {**self.best, kind: best}
        if took > _SLOW * best + _NOISE_S:
            if sent < self.eased_at or self.limit <= 2:
                return replace(self, best=known)
            return replace(self, best=known, limit=max(2.0, self.limit * 0.8), eased_at=now)
        more = 1 / self.limit if full else 0.0
        return replace(self, best=known, limit=min(float(self.ceiling), self.limit + more))

    def refused(self, sent: float, now: float, wait_s: float) -> Pace:
        """Note that there were too many requests. `wait_s`: how long the endpoint asked to be left alone."""
        later = max(self.not_before, now + wait_s)
        if sent < self.eased_at:
            return replace(self, not_before=later)
        return replace(self, limit=max(1.0, self.limit / 2), eased_at=now, not_before=later)


@dataclass(frozen=True, slots=True)
class Breaker:
    """Whether an endpoint is asked at all: after failures in a row, over some time, it is left alone for a while.

    Then requests go through again; the first that succeeds closes it, the first that fails opens it anew.

    most     failures in a row that open it, if the first is `span_s` old: a short restart does not
    rest_s   how long it stays open
    """

    most: int = 10
    span_s: float = 30.0
    rest_s: float = 10.0
    failures: int = 0
    since: float = 0.0
    open_until: float = float("-inf")

    def failed(self, now: float) -> Breaker:
        """Note a request that the endpoint didn't answer, or answered with an error of its own."""
        since = self.since if self.failures else now
        opens = self.failures + 1 >= self.most and now - since >= self.span_s
        until = now + self.rest_s if opens else self.open_until
        return replace(self, failures=self.failures + 1, since=since, open_until=until)

    def succeeded(self) -> Breaker:
        """Note an answer."""
        return replace(self, failures=0, open_until=float("-inf")) if self.failures else self

    def is_open(self, now: float) -> bool:
        """Whether nothing is to be asked now."""
        return now < self.open_until
