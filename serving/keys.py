"""A file of keys: who may see what. It has the keys' hashes, never a key."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import indent
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, model_validator

from core.config.file import Manual, checked
from core.config.source import Model, Name
from core.errors import ConfigError, quote

_MANUAL = Manual("`freshet serve-key add` makes it", "docs/serve.md", "keys")
_PREFIX = "fsk_"
_BYTES = 32


class KeyDefaults(Model):
    """What answers are made of where a request doesn't say: docs/answers.md.

    customer  whose profile, as what stands behind `/v1/profiles/`
    indexes   which are searched; none: all that the key is for
    filter    what passes it alone is found, in each of these
    """

    customer: str | None = Field(None, min_length=1, max_length=1_000)
    indexes: tuple[Name, ...] = ()
    filter: dict[str, Any] = Field(default_factory=dict)


class Key(Model):
    """What who has a key may see.

    sha256      of the key, in hexadecimal
    indexes     by their names
    profiles    whether they may be asked for
    kpis        whether they may be looked at
    metrics     whether the server's own figures may be read
    filter      only what passes it is seen; as JSON, in the language of docs/filters.md
    per_minute  requests, the most; None: any number
    defaults    of answers
    """

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    indexes: tuple[Name, ...] = ()
    profiles: bool = False
    kpis: bool = False
    metrics: bool = False
    filter: dict[str, Any] = Field(default_factory=dict)
    per_minute: int | None = Field(None, ge=1, le=1_000_000)
    defaults: KeyDefaults = KeyDefaults()

    @model_validator(mode="after")
    def _sees_kpis_whole(self) -> Key:
        if self.kpis and self.filter:
            raise ValueError("filter can't be held to KPIs, which are of every tenant: make another key for kpis")
        return self


class Keys(Model):
    """Keys, by the names of whom they were given to. Where there is none, nobody is let in."""

    keys: Annotated[dict[Name, Key], BeforeValidator(lambda keys: {} if keys is None else keys)]


def read_keys(path: Path) -> Keys:
    """Read a file of keys. Raises ConfigError with one line a mistake."""
    return checked(path, Keys, _MANUAL)


def digest(key: str) -> str:
    """A key's hash, as files have it. Keys are random, so one round of hashing is as good as many."""
    return sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def add(path: Path, name: str, given: Mapping[str, Any]) -> str:
    """Make a key with such settings of `Key`, write its hash behind those that are in the file, and give it back.

    given  by their names, those that say nothing left out; `filter` as JSON text

    The file is made where it isn't there, readable for its owner alone.
    Raises ConfigError where the name is taken, or a setting is none.
    """
    allowed = {setting: value for setting, value in {**given, "filter": _object(given["filter"])}.items() if value}
    if not allowed.keys() & {"indexes", "profiles", "kpis", "metrics"}:
        raise ConfigError([f"the key of {name} would be for nothing: give --index, --profiles, --kpis or --metrics"])
    before = path.read_text(encoding="utf-8") if path.exists() else "keys:\n"
    there = read_keys(path).keys if path.exists() else {}
    if name in there:
        raise ConfigError([f"{path}: keys.{name} is there already: take another name, or remove it first"])
    key = _PREFIX + secrets.token_urlsafe(_BYTES)
    entry = yaml.safe_dump({name: {"sha256": digest(key), **allowed}}, sort_keys=False, allow_unicode=True, width=1000)
    more = ("" if before.endswith("\n") else "\n") + indent(entry, "  ")
    _check(path, before + more, {*there, name})
    # written behind what is there: its owner, mode and comments stay
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", encoding="utf-8") as file:
        file.write(more if path.stat().st_size else before + more)
    return key


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError([f"--filter is {quote(text)}, must be JSON: {error}"]) from None
    if not isinstance(found, dict):
        raise ConfigError([f'--filter is {quote(text)}, must be an object, as {{"tenant": "acme"}}'])
    return found


def _check(path: Path, text: str, names: set[str]) -> None:
    """Raises ConfigError where the file wouldn't say what it should, if it held this text."""
    with TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_text(text, encoding="utf-8")
        try:
            found = set(read_keys(copy).keys)
        except ConfigError as error:
            raise ConfigError([each.replace(str(copy), str(path)) for each in error.problems]) from None
    if found != names:
        raise ConfigError([f"{path}: keys must be its last setting, two spaces in, so that one can be added"])
