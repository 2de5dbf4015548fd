"""Settings that refer to secrets instead of having them: `${secretsmanager:NAME:KEY}` and `${file:PATH}`.

A secret may change while a job runs (it is rotated). So a setting's reference stays beside its text, and whoever logs
in with the text asks for it anew once a server refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import ConfigError

READ_EVERY_S = 5.0
"""How far apart a secret is asked for anew, at least: what is refused may be refused for another reason."""

_REFERENCE = re.compile(
    r"\$\{(?:secretsmanager:((?:arn:[^:}]+:secretsmanager:[^:}]*:\d*:secret:)?[^:}]+)(?::([^:}]+))?|file:([^}]+))\}"
)
_LARGEST_FILE = 65_536  # bytes: a password, or a certificate

Secret = Callable[[str, str | None], str]
"""The value of a secret as it is now, by its name or ARN, and of one key of it.

Raises ConfigError where there is none, Unavailable where nobody tells.
"""


def nobody_tells(name: str, key: str | None) -> str:
    """What is asked for secrets where nothing was set up for that. Raises ConfigError."""
    raise ConfigError([f"secret {name} can't be asked for here"])


def refers(text: str) -> bool:
    """Whether a text refers to a secret."""
    return _REFERENCE.search(text) is not None


def resolved(text: str, secret: Secret) -> str:
    """A text with what its references mean now. What a secret or a file says is taken as it is.

    Raises ConfigError where one means nothing, which quotes no secret; Unavailable where nobody tells.
    """
    return _REFERENCE.sub(lambda found: _content(Path(found[3])) if found[3] else secret(found[1], found[2]), text)


@dataclass(frozen=True, slots=True)
class Reference:
    """A setting's text with its references, and who is asked for what they mean."""

    text: str
    secret: Secret = field(compare=False, repr=False)


class Rotation:
    """References of what one server is logged in to with. They are asked for anew once it refuses what they meant."""

    def __init__(self, references: Mapping[str, Reference]) -> None:
        """`references`: by their settings' names."""
        self._references = references
        self._next_s = float("-inf")

    def read(self, now_s: float) -> dict[str, str]:
        """What the settings are now, at `now_s` of any clock; none where they were asked for READ_EVERY_S ago or less.

        Raises as `resolved`.
        """
        if now_s < self._next_s:
            return {}
        self._next_s = now_s + READ_EVERY_S
        return {name: resolved(each.text, each.secret) for name, each in self._references.items()}


def _content(path: Path) -> str:
    """What a file holds, without the line end that editors leave. Raises ConfigError, which quotes nothing of it."""
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_FILE + 1)
        if len(raw) > _LARGEST_FILE:
            raise ConfigError([f"{path} has more than {_LARGEST_FILE:,} bytes, which is no secret"])
        return raw.decode().removesuffix("\n").removesuffix("\r")
    except FileNotFoundError:
        raise ConfigError([f"there is no file {path}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path} is not written in UTF-8"]) from None
    except OSError as error:
        raise ConfigError([f"{path} can't be read: {error.strerror or error}"]) from None
