"""JSON Web Tokens of another party: whose they are, and what they let see (RFC 7519, RFC 7517)."""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Annotated, Any

import httpx
import jwt
from pydantic import AfterValidator, Field

from core.config.source import Model
from core.errors import ConfigError, FilterError, Unavailable, quote
from core.stores.filters.language import parse
from serving.access import Defaults, Grant, LetIn, Pace
from serving.problems import Refused

_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Those with a public key: with a shared secret, whoever verifies could also sign (RFC 8725, 3.1)."""
_CLAIM = re.compile(r"\{([^{}]{1,200})\}")
_ANSWER_S = 10.0
_REFRESHED_S = 300.0
_LEEWAY_S = 30
_LARGEST = 1 << 20
_MOST_PACES = 10_000

_log = logging.getLogger(__name__)


def _is_place(jwks: str) -> str:
    if jwks.startswith("http:") and not re.match(r"http://(127\.0\.0\.1|\[::1\]|localhost)[:/]", jwks):
        raise ValueError("keys that verify must come by https, or from this machine")
    return jwks


class Tokens(Model):
    """Whose tokens let in, and what for. A text that is a claim's name in braces stands for the claim's value.

    jwks        the issuer's public keys: a file, or a URL, which is read again every five minutes
    issuer      what `iss` must be
    audience    what `aud` must be, or have among others
    indexes     by their names
    profiles    whether they may be asked for
    filter      only what passes it is seen
    per_minute  requests of one subject (`sub`), the most; None: any number
    customer    whose profile answers have where a request doesn't say; claims' names in braces stand for their values
    """

    jwks: Annotated[str, AfterValidator(_is_place)] = Field(min_length=1)
    issuer: str = Field(min_length=1)
    audience: str = Field(min_length=1)
    indexes: tuple[str, ...] = ()
    profiles: bool = False
    filter: dict[str, Any] = Field(default_factory=dict)
    per_minute: int | None = Field(None, ge=1, le=1_000_000)
    customer: str | None = Field(None, min_length=1, max_length=1_000)


class Jwks:
    """The issuer's public keys, by the ids that tokens name them by."""

    def __init__(self, place: str, beside: Path) -> None:
        """Read them. Raises ConfigError where they are none, Unavailable where their server doesn't answer."""
        self._place, self._beside = place, beside
        self._keys = self._read()

    def key(self, kid: object) -> jwt.PyJWK | None:
        """The key of an id; None where there is none. A set of one key serves tokens that name none."""
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid) if isinstance(kid, str) else None

    @contextmanager
    def refreshed(self) -> Iterator[None]:
        """Read them again and again, where they come from a server, until the block ends."""
        over = Event()
        thread = Thread(target=self._refresh, args=(over,), name="jwks", daemon=True)
        if self._is_remote:
            thread.start()
        try:
            yield
        finally:
            over.set()

    @property
    def _is_remote(self) -> bool:
        return self._place.startswith(("http://", "https://"))

    def _refresh(self, over: Event) -> None:
        while not over.wait(_REFRESHED_S):
            try:
                self._keys = self._read()
            except (ConfigError, Unavailable) as error:
                # those that are known go on
                _log.warning("%s", error)

    def _read(self) -> dict[str, jwt.PyJWK]:
        try:
            found = jwt.PyJWKSet.from_json(self._text()).keys
        except (jwt.PyJWTError, ValueError, AttributeError, TypeError, RecursionError) as error:
            raise ConfigError([f"tokens.jwks: {self._place} is no JSON Web Key Set: {error}"]) from None
        return {each.key_id or "": each for each in found if each.public_key_use in (None, "sig")}

    def _text(self) -> str:
        if not self._is_remote:
            try:
                return (self._beside / self._place).read_text(encoding="utf-8")
            except OSError as error:
                raise ConfigError([f"tokens.jwks is {self._place!r}, which can't be read: {error.strerror}"]) from None
        try:
            answer = httpx.get(self._place, timeout=_ANSWER_S).raise_for_status()
        except httpx.HTTPError as error:
            raise Unavailable(f"tokens.jwks: {self._place} doesn't answer: {error}") from None
        if len(answer.content) > _LARGEST:
            raise ConfigError([f"tokens.jwks: {self._place} answers with more than {_LARGEST:,} bytes"])
        return answer.text


def by_tokens(
    tokens: Tokens, keys: Jwks, indexes: Mapping[str, frozenset[str]], people: frozenset[str], others: LetIn
) -> LetIn:
    """Access by tokens: who sends one of the issuer's sees what its claims say; `others` decides of everyone else.

    indexes, people  the names that filters of them may have
    """
    paces: OrderedDict[str, Pace] = OrderedDict()

    def let_in(authorization: str) -> Grant:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or token.count(".") != 2:
            return others(authorization)
        claims = _verified(tokens, keys, token.strip())
        per_minute = tokens.per_minute
        pace = None if per_minute is None else _pace(paces, per_minute, str(claims.get("sub", "")))
        customer = None if tokens.customer is None else _customer(tokens.customer, claims)
        of = replace(_grant(tokens, claims, indexes, people), pace=pace, name=str(claims.get("sub", "")))
        return replace(of, defaults=Defaults(customer))

    return let_in


def _verified(tokens: Tokens, keys: Jwks, token: str) -> dict[str, Any]:
    try:
        key = keys.key(jwt.get_unverified_header(token).get("kid"))
        if key is None:
            raise _not_let_in("it is signed by a key that the issuer doesn't show")
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=[each for each in _ALGORITHMS if each == key.algorithm_name], leeway=_LEEWAY_S,
            audience=tokens.audience, issuer=tokens.issuer, options={"require": ["exp", "iss", "aud"]},
        )  # fmt: skip
    except (jwt.PyJWTError, ValueError) as error:
        raise _not_let_in(str(error)) from None
    return claims


def _not_let_in(why: str) -> Refused:
    return Refused(401, f"this token lets nobody in: {why}", "", {"WWW-Authenticate": 'Bearer error="invalid_token"'})


def _pace(paces: OrderedDict[str, Pace], per_minute: int, subject: str) -> Pace:
    """One a subject: those that asked last are remembered."""
    pace = paces.pop(subject, None) or Pace(per_minute)
    paces[subject] = pace
    if len(paces) > _MOST_PACES:
        paces.popitem(last=False)
    return pace


def _grant(
    tokens: Tokens, claims: Mapping[str, Any], indexes: Mapping[str, frozenset[str]], people: frozenset[str]
) -> Grant:
    named = [name for each in tokens.indexes for name in _names(each, claims)]
    passes = _filled(tokens.filter, claims)
    try:
        seen = {name: parse(passes, indexes[name], "filter") for name in named if name in indexes}
        of_people = parse(passes, people, "filter") if tokens.profiles else None
    except FilterError as error:
        raise Refused(403, f"this token's claims make no filter: {error}") from None
    return Grant(seen, of_people, figures=False)


def _names(name: str, claims: Mapping[str, Any]) -> list[str]:
    """An index's name, or those that a claim has, as one text or a list."""
    value = _claim(name, claims)
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]


def _customer(named: str, claims: Mapping[str, Any]) -> str | None:
    """Whose profile it is by a token's claims; None where it lacks one that is named."""
    found = {name: claims.get(name) for name in _CLAIM.findall(named)}
    if not all(isinstance(value, str | int) and not isinstance(value, bool) for value in found.values()):
        return None
    # what stands before is put first, so that no claim can say of which type it is
    return _CLAIM.sub(lambda each: str(found[each[1]]), named)


def _filled(value: Any, claims: Mapping[str, Any], is_list: bool = False) -> Any:
    """A filter with claims in place of their names in braces; its columns and operators stay.

    A claim is a value, and behind `in` a list of values: whatever else it is could say more than the filter does.
    """
    if isinstance(value, dict):
        return {name: _filled(each, claims, name == "in") for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, claims) for each in value]
    claim = _claim(value, claims)
    values = claim if is_list and isinstance(claim, list) else [claim]
    if not all(isinstance(each, str | int | float) for each in values):
        raise Refused(403, f"this token's claim {value} is of a kind that a filter can't take: text, number or boolean")
    return claim


def _claim(value: Any, claims: Mapping[str, Any]) -> Any:
    """The value, or the claim that it names in braces."""
    found = _CLAIM.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    if (claim := claims.get(found[1])) is None:
        raise Refused(403, f"this token has no claim {found[1]!r}, which decides what it may see")
    return claim


def check(tokens: Tokens, indexes: Mapping[str, frozenset[str]], people: frozenset[str]) -> list[str]:
    """The mistakes in what tokens let see, a sentence each. `indexes` and `people` as `by_tokens` has them."""
    named = [each for each in tokens.indexes if _CLAIM.fullmatch(each) is None]
    there = ", ".join(indexes) or "none"
    problems = [
        f"tokens.indexes names {each}, which isn't served; there are {there}" for each in named if each not in indexes
    ]
    columns = [indexes[each] for each in named if each in indexes] or list(indexes.values())
    problems += [
        f"tokens.filter has the text {quote(each)}: a claim's name in braces must be all of it"
        for each in _halves(tokens.filter)
    ]
    try:
        for each in [*columns, *([people] if tokens.profiles else [])]:
            parse(_sample(tokens.filter), each, "tokens.filter")
    except FilterError as error:
        problems.append(str(error))
    return problems


def _halves(value: Any) -> Iterator[str]:
    """The texts of a filter in which something stands in braces beside more: as they are, nothing is filled in."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _halves(each)
    elif isinstance(value, str) and _CLAIM.search(value) and not _CLAIM.fullmatch(value):
        yield value


def _sample(value: Any, is_list: bool = False) -> Any:
    """The filter with a text in place of each claim."""
    if isinstance(value, dict):
        return {name: _sample(each, name == "in") for name, each in value.items()}
    if isinstance(value, list):
        return [_sample(each) for each in value]
    is_claim = isinstance(value, str) and _CLAIM.fullmatch(value) is not None
    return ["claim"] if is_claim and is_list else "claim" if is_claim else value
