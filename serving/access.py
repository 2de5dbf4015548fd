"""Who may see what: the filter of each index for whoever asks, and how often."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from core.errors import ConfigError, FilterError
from core.stores.filters.language import EVERYTHING, Filter, parse
from serving.keys import Keys, digest
from serving.problems import Refused

_SCHEME = "bearer"


class Pace:
    """A limit of requests a minute, as a token bucket. For one thread."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._most = float(per_minute)
        self._left = float(per_minute)
        self._clock = clock
        self._seen = clock()

    def take(self) -> float:
        """Take one request: 0, or the seconds until there is one again."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._seen) * self._most / 60)
        self._seen = now
        if self._left < 1:
            return (1 - self._left) * 60 / self._most
        self._left -= 1
        return 0.0


@dataclass(frozen=True, slots=True)
class Defaults:
    """What an answer is made of where a request doesn't say.

    customer  whose profile
    indexes   which are searched; none: all that may be
    filter    JSON of what is held against each of them; "": nothing
    """

    customer: str | None = None
    indexes: tuple[str, ...] = ()
    filter: str = ""


NO_DEFAULTS = Defaults()


@dataclass(frozen=True, slots=True)
class Grant:
    """What one who asks may see.

    indexes   by name, each with the filter that what is seen must pass
    people    the filter that a profile must pass; None: no profiles
    figures   whether the server's own figures may be read
    kpis      whether they may be looked at
    pace      what each request is charged to; None: any number
    name      of the key or token: whose conversations are
    defaults  of answers
    """

    indexes: Mapping[str, Filter]
    people: Filter | None
    figures: bool
    kpis: bool = False
    pace: Pace | None = None
    name: str = ""
    defaults: Defaults = NO_DEFAULTS

    @property
    def filtered(self) -> bool:
        """Whether profiles are seen through a filter."""
        return self.people is not None and self.people != EVERYTHING


LetIn = Callable[[str], Grant]
"""What whoever sends an `Authorization` header may see, "" for none; raises Refused where it is nothing.

Charges nobody: `charge` does, once a request.
"""


def to_everyone(indexes: Sequence[str]) -> LetIn:
    """Everyone sees all."""
    grant = Grant(dict.fromkeys(indexes, EVERYTHING), EVERYTHING, figures=True, kpis=True)
    return lambda authorization: grant


def nobody(_: str) -> Grant:
    """Let in nobody: raises Refused."""
    asked = "send a key that this server knows, as Authorization: Bearer KEY"
    raise Refused(401, asked, "", {"WWW-Authenticate": "Bearer"})


def charge(grant: Grant) -> None:
    """Count a request. Raises Refused where there were too many."""
    if grant.pace is not None and (wait_s := grant.pace.take()):
        enough = "whoever this key or token is of has asked often enough: ask again"
        raise Refused(429, enough, "", {"Retry-After": f"{math.ceil(wait_s)}"})


def by_keys(
    keys: Keys,
    indexes: Mapping[str, frozenset[str]],
    people: frozenset[str],
    paces: Mapping[str, Pace] = MappingProxyType({}),
) -> tuple[LetIn, Mapping[str, Pace]]:
    """Access by keys: who sends one sees what it is for; and each key's pace, by its hash.

    indexes, people  the names that filters of them may have
    paces            of the same keys so far: what they have used up stays used up

    Raises ConfigError where a key names an index that isn't there, its filter doesn't fit one of its indexes, or it has
    two entries: the later one could let it see more.
    """
    grants, problems = _grants(keys, indexes, people, paces)
    if problems:
        raise ConfigError(problems)

    def let_in(authorization: str) -> Grant:
        scheme, _, key = authorization.partition(" ")
        grant = grants.get(digest(key.strip())) if scheme.lower() == _SCHEME else None
        return nobody(authorization) if grant is None else grant

    return let_in, {digest_: grant.pace for digest_, grant in grants.items() if grant.pace is not None}


def _grants(
    keys: Keys, indexes: Mapping[str, frozenset[str]], people: frozenset[str], paces: Mapping[str, Pace]
) -> tuple[dict[str, Grant], list[str]]:
    grants: dict[str, Grant] = {}
    problems: list[str] = []
    names: dict[str, str] = {}
    for name, key in keys.keys.items():
        place = f"keys.{name}"
        if (other := names.setdefault(key.sha256, name)) != name:
            problems.append(f"{place}.sha256 is that of keys.{other} too: a key has one entry; remove one of them")
        problems += [
            f"{place}.indexes names {each}, which isn't served; there are {', '.join(indexes) or 'none'}"
            for each in key.indexes
            if each not in indexes
        ]
        usual = key.defaults
        problems += [
            f"{place}.defaults.indexes names {each}, which the key isn't for"
            for each in usual.indexes
            if each not in key.indexes
        ]
        try:
            seen = {
                each: parse(key.filter, indexes[each], f"{place}.filter") for each in key.indexes if each in indexes
            }
            for each in usual.indexes or key.indexes:
                parse(usual.filter, indexes.get(each, frozenset()), f"{place}.defaults.filter")
            of_people = parse(key.filter, people, f"{place}.filter") if key.profiles else None
        except FilterError as error:
            problems.append(str(error))
            continue
        pace = None if key.per_minute is None else _pace(paces.get(key.sha256), key.per_minute)
        among = json.dumps(usual.filter) if usual.filter else ""
        defaults = Defaults(usual.customer, usual.indexes, among)
        grants[key.sha256] = Grant(seen, of_people, key.metrics, key.kpis, pace, name, defaults)
    return grants, problems


def _pace(before: Pace | None, per_minute: int) -> Pace:
    return before if before is not None and before.per_minute == per_minute else Pace(per_minute)
