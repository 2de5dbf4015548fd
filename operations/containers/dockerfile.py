"""A Dockerfile's stages, as its instructions tell them ("Dockerfile reference")."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_INSTRUCTION = re.compile(r"^(?!#)([A-Z]+)\s+((?:.*\\\n)*.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Stage:
    """One stage: the image or stage that it begins with, and its instructions as (name, words), in their order."""

    base: str
    instructions: tuple[tuple[str, str], ...]

    @property
    def environment(self) -> dict[str, str]:
        """What ENV sets, with `$PATH` and the like as they stand there."""
        lines = (words for name, words in self.instructions if name == "ENV")
        return dict(word.split("=", 1) for line in lines for word in shlex.split(line.replace("\\\n", " ")))

    @property
    def folder(self) -> str:
        """The WORKDIR of its containers."""
        return self._last("WORKDIR", "/")

    @property
    def user(self) -> int:
        """The uid of its USER; 0 where it names none."""
        return int(self._last("USER", "0"))

    def _last(self, name: str, default: str) -> str:
        return next((words for each, words in reversed(self.instructions) if each == name), default)


def stages(file: Path) -> Mapping[str, Stage]:
    """Each stage by its name. A stage without a name can't be asked for, and is left out."""
    found: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    name = ""
    for instruction, words in _INSTRUCTION.findall(file.read_text(encoding="utf-8")):
        if instruction == "FROM":
            base, _, name = words.partition(" AS ")
            found[name] = (base, [])
        elif name:
            found[name][1].append((instruction, words))
    return {each: Stage(base, tuple(instructions)) for each, (base, instructions) in found.items() if each}
