"""Reading a file of settings, a pipeline file above all: once, with every mistake reported together."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from core.config import yaml as config_yaml
from core.config.msf import overridden
from core.config.pipeline import Pipeline
from core.config.problems import Place, distinct, place_of, sentence
from core.config.secrets import Reference, Secret, nobody_tells, refers, resolved
from core.config.source import Model
from core.errors import ConfigError

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NAMES_USER = re.compile(r"https?://[^\s/?#]*@", re.IGNORECASE)
_TEXTS = ("documents", "profiles")
"""Sections whose texts go into documents and reach no server."""

Checked = TypeVar("Checked", bound=Model)


def load(
    path: Path,
    environment: Mapping[str, str] = os.environ,
    properties: Mapping[str, str] = MappingProxyType({}),
    secret: Secret = nobody_tells,
) -> Pipeline:
    """Read a pipeline file; `properties` are settings in place of the file's: `core.config.msf.overridden`.

    Raises ConfigError as `checked` does.
    """
    return checked(path, Pipeline, _PIPELINES, environment, properties, secret)


@dataclass(frozen=True, slots=True)
class Manual:
    """What is said of a file that isn't there, or has nothing in it.

    missing   what to do where there is no file
    page      where a whole one is shown
    settings  some that it has
    """

    missing: str
    page: str
    settings: str


_PIPELINES = Manual("`freshet init` writes one for a table", "docs/pipeline-file.md", "name, source, format and so on")


def checked(
    path: Path,
    model: type[Checked],
    manual: Manual,
    environment: Mapping[str, str] = os.environ,
    properties: Mapping[str, str] = MappingProxyType({}),
    secret: Secret = nobody_tells,
) -> Checked:
    """Read a file of settings, with `${NAME}`, `${file:PATH}` and `${secretsmanager:NAME:KEY}` replaced.

    environment  what variables are
    properties   settings in place of the file's
    secret       who is asked for secrets, of each once; its settings remember whom to ask for what it is later

    Raises ConfigError with one line a mistake: its place, the value seen and what would be right. Values of
    variables, of settings that may hold a secret and of URLs that name a user are never quoted.
    """
    raw, where = _read(path, _text(path, manual), manual)
    if properties:
        # a value's line isn't the file's any more
        raw, where = overridden(raw, properties), _Lines(path, {})
    filling = _Filling(environment, secret)
    filled = filling.of(raw)
    missing = filling.missing
    users = set(_with_users({name: value for name, value in filled.items() if name not in _TEXTS}, ()))
    missing += [(place, f"{'.'.join(place)}: a URL names a user; users and passwords have settings") for place in users]
    problems = [f"{where.of(place)}: {line}" for place, line in missing]
    try:
        found = model.model_validate(filled)
    except ValidationError as error:
        others = [dict(each) for each in error.errors() if tuple(map(str, each["loc"])) not in users]
        for problem in distinct(others):
            said = sentence(problem, raw, model)
            problems.append(f"{where.of(place_of(problem), said)}: {said}")
        raise ConfigError(problems) from None
    if problems:
        raise ConfigError(problems)
    for place, reference in filling.references.items():
        _refer(found, place, reference)
    found.locate(where.of)
    return found


@dataclass(frozen=True, slots=True)
class _Lines:
    path: Path
    lines: Mapping[Place, int]

    def of(self, place: Place, said: str = "") -> str:
        """The file, and the line of a setting, or of the part that it is missing in.

        said  what is wrong: where that begins with a deeper setting's name, the line is that one's
        """
        place = self._named(place, said.partition(" ")[0].rstrip(":"))
        for length in range(len(place), 0, -1):
            if (line := self.lines.get(place[:length])) is not None:
                return f"{self.path}, line {line}"
        return str(self.path)

    def _named(self, place: Place, name: str) -> Place:
        """The deepest place from here on whose keys, joined by dots, `name` begins with."""
        here = ".".join(place)
        if name != here and name.startswith(f"{here}." if here else ""):
            for inner in self.lines:
                joined = ".".join(inner)
                if inner[:-1] == place and (name == joined or name.startswith(f"{joined}.")):
                    return self._named(inner, name)
        return place


def _text(path: Path, manual: Manual) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        problem = f"there is no such file; {manual.missing}"
    except IsADirectoryError:
        problem = "is a folder, must be a file"
    except UnicodeDecodeError as error:
        found = f"byte {error.object[error.start]:#x} at place {error.start:,}"
        problem = f"is not written in UTF-8: {found}; save it so"
    except OSError as error:
        problem = f"can't be read: {error.strerror or error}"
    raise ConfigError([f"{path}: {problem}"])


def _read(path: Path, text: str, manual: Manual) -> tuple[dict[str, Any], _Lines]:
    try:
        raw = config_yaml.read(text)
    except yaml.YAMLError as error:
        line, why = config_yaml.reason(error)
        raise ConfigError([f"{path}{'' if line is None else f', line {line}'}: {why}"]) from None
    if raw is None:
        raise ConfigError([f"{path}: the file is empty; {manual.page} has a whole one"])
    if not isinstance(raw, dict):
        held = "a list" if isinstance(raw, list) else "one value"
        raise ConfigError([f"{path}: the file holds {held}; it must hold settings: {manual.settings}"])
    return raw, _Lines(path, config_yaml.lines(text))


@dataclass(frozen=True, slots=True)
class _Filling:
    """Puts what variables, secrets and files say in the place of what names them.

    missing     places where one says nothing, and why
    references  places that refer to secrets, with their texts, in which variables are filled in
    """

    environment: Mapping[str, str]
    secret: Secret
    missing: list[tuple[Place, str]] = field(default_factory=list)
    references: dict[Place, Reference] = field(default_factory=dict)

    def of(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """A whole file's."""
        asked = cache(self.secret)
        return {str(name): self._at((str(name),), value, asked) for name, value in raw.items()}

    def _at(self, place: Place, value: Any, asked: Secret) -> Any:
        if isinstance(value, dict):
            return {str(name): self._at((*place, str(name)), each, asked) for name, each in value.items()}
        if isinstance(value, list):
            return [self._at((*place, str(at)), each, asked) for at, each in enumerate(value)]
        return self._text(place, value, asked) if isinstance(value, str) else value

    def _text(self, place: Place, value: str, asked: Secret) -> str:
        # variables first: what a secret or a file says is taken as it is
        text = VARIABLE.sub(lambda found: self._variable(place, found), value)
        if not refers(text):
            return text
        self.references[place] = Reference(text, self.secret)
        try:
            return resolved(text, asked)
        except ConfigError as error:
            self.missing.append((place, f"{'.'.join(place)}: {error}"))
            return text

    def _variable(self, place: Place, found: re.Match[str]) -> str:
        if found[1] not in self.environment:
            what = f"{'.'.join(place)} uses ${{{found[1]}}}, which is not in the environment: set it"
            self.missing.append((place, what))
        return self.environment.get(found[1], found[0])


def _refer(found: Model, place: Place, reference: Reference) -> None:
    """Leave a reference with the settings that its place is in; with nobody where validation made something else."""
    node: Any = found
    for name in place[:-1]:
        node = _within(node, name)
    if isinstance(node, Model):
        node.refer(place[-1], reference)


def _within(node: Any, name: str) -> Any:
    if isinstance(node, Model):
        fields = type(node).model_fields.items()
        return next((getattr(node, field) for field, of in fields if name in (field, of.alias)), None)
    if isinstance(node, Mapping):
        return node.get(name)
    return node[int(name)] if isinstance(node, list | tuple) and int(name) < len(node) else None


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
