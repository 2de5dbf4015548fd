"""Reading a pipeline file: once, with every mistake told together."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import ValidationError

from core.config import Pipeline
from core.errors import ConfigError
from core.msf import overridden

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_REFERENCE = re.compile(r"\$\{secretsmanager:((?:arn:[^:}]+:secretsmanager:[^:}]*:\d*:secret:)?[^:}]+)(?::([^:}]+))?\}")
_SECRET = re.compile(r"password|secret|\btoken\b|jaas|credential|dsn|api[-_.]?key", re.IGNORECASE)
_NAMES_USER = re.compile(r"https?://[^\s/?#]*@", re.IGNORECASE)
_TEXTS = ("documents", "profiles")
"""Sections whose texts go into documents and reach no server."""

_SETTING_FIRST = re.compile(r"[a-z_.-]+ is ")

Secret = Callable[[str, str | None], str]
"""The value of a secret, by its name or ARN, and of one key of it."""


def nobody_tells(name: str, key: str | None) -> str:
    """Where nothing was set up to ask for secrets. Raises ConfigError."""
    raise ConfigError([f"secret {name} can't be asked for here"])


def load(
    path: Path,
    environment: Mapping[str, str] = os.environ,
    properties: Mapping[str, str] = MappingProxyType({}),
    secret: Secret = nobody_tells,
) -> Pipeline:
    """Read a pipeline file, with `${NAME}` and `${secretsmanager:NAME:KEY}` replaced.

    environment  what variables are
    properties   settings in place of the file's: `core.msf.overridden`
    secret       who is asked for secrets

    Raises ConfigError with one line a mistake: its place, the value seen and what would be right. Values of
    variables, of settings that may hold a secret and of URLs that name a user are never quoted.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except FileNotFoundError:
        raise ConfigError([f"{path}: can't be read: it isn't there; `freshet init` writes one for a table"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: can't be read: {error}"]) from None
    except yaml.YAMLError as error:
        raise ConfigError([f"{path}: not YAML: {error}"]) from None
    if not isinstance(raw, dict):
        raise ConfigError([f"{path}: holds {type(raw).__name__}, must be a mapping with name, source, format, …"])
    raw = overridden(raw, properties)
    missing: list[str] = []
    filled = _fill(raw, environment, secret, (), missing)
    users = set(_with_users({name: value for name, value in filled.items() if name not in _TEXTS}, ()))
    missing += [f"{'.'.join(place)}: a URL names a user; users, passwords and keys have settings" for place in users]
    problems = [f"{path.name}: {line}" for line in missing]
    try:
        pipeline = Pipeline.model_validate(filled)
    except ValidationError as error:
        others = [dict(problem) for problem in error.errors() if tuple(map(str, problem["loc"])) not in users]
        written = [_line(path.name, raw, problem) for problem in others]
        raise ConfigError(problems + written) from None
    if problems:
        raise ConfigError(problems)
    return pipeline


class _UniqueKeys(yaml.SafeLoader):
    """YAML lets the last of two equal keys win silently; here it is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, as SafeLoader makes it, if no key comes twice."""
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", key_node.start_mark)
            seen.add(key if isinstance(key, str) else id(key_node))
        return super().construct_mapping(node, deep)


def _fill(
    value: Any, environment: Mapping[str, str], secret: Secret, place: tuple[str, ...], missing: list[str]
) -> Any:
    if isinstance(value, dict):
        return {str(k): _fill(v, environment, secret, (*place, str(k)), missing) for k, v in value.items()}
    if isinstance(value, list):
        return [_fill(v, environment, secret, (*place, str(i)), missing) for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        if match[1] not in environment:
            missing.append(f"{'.'.join(place)} uses ${{{match[1]}}}, which is not in the environment: set it")
        return environment.get(match[1], match[0])

    def tell(match: re.Match[str]) -> str:
        try:
            return secret(match[1], match[2])
        except ConfigError as error:
            missing.append(f"{'.'.join(place)}: {error}")
            return match[0]

    # variables first: a secret's own text is taken as it is
    return _REFERENCE.sub(tell, VARIABLE.sub(fill, value))


def _with_users(value: Any, place: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The places of URLs that name a user, and so perhaps a password."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _with_users(each, (*place, str(name)))
    elif isinstance(value, list):
        for at, each in enumerate(value):
            yield from _with_users(each, (*place, str(at)))
    elif isinstance(value, str) and _NAMES_USER.search(value):
        yield place


def _line(file: str, raw: dict[str, Any], problem: Mapping[str, Any]) -> str:
    place = [str(part) for part in problem["loc"]]
    where = f"{file}: {'.'.join(place)}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"{where} is missing; it is required"
    if problem["type"] == "extra_forbidden":
        return f"{where} is no setting; check its spelling and its indentation"
    if not place:
        return f"{file}: {message}"
    if place[-1:] == ["[key]"]:
        return f"{file}: {'.'.join(place[:-1])} {message}"
    if _SETTING_FIRST.match(message):
        return f"{where}.{message}"
    seen = _seen(raw, place)
    if seen is None or isinstance(seen, dict | list):
        return f"{where}: {message}"
    return f"{where} is {_show(place, seen)}: {message[:1].lower()}{message[1:]}"


def _seen(raw: Any, place: list[str]) -> Any:
    for part in place:
        if isinstance(raw, dict):
            raw = raw.get(part)
        elif isinstance(raw, list) and part.isdecimal() and int(part) < len(raw):
            raw = raw[int(part)]
    return raw


def _show(place: list[str], seen: Any) -> str:
    shown = repr(seen)
    if any(_SECRET.search(part) for part in place) or ("://" in shown and "@" in shown):
        return "(not shown)"
    return shown if len(shown) <= 80 else shown[:80] + "…"
