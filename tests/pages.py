"""The documentation, taken apart: its blocks of code, what a terminal shows in them, links and headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]

_FENCE = re.compile(
    r"^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block. `title` is the file that a reader is to make of it, empty where it isn't one."""

    language: str
    title: str
    text: str


@dataclass(frozen=True)
class Step:
    """What a reader does in a terminal, and what the page shows then.

    typed  a command, `^C`, or nothing: only looking at what the job that runs says
    shown  lines, in which … stands for anything
    """

    typed: str
    shown: tuple[str, ...]


def blocks(page: Path) -> Iterator[Block]:
    """A page's blocks, in order."""
    for found in _FENCE.finditer(page.read_text(encoding="utf-8")):
        yield Block(found["language"], found["title"] or "", found["text"])


def steps(block: Block) -> list[Step]:
    """The steps of a `console` block."""
    found: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ ") or line == "^C":
            found.append((line.removeprefix("$ "), []))
        else:
            if not found:
                found.append(("", []))
            found[-1][1].append(line)
    return [Step(typed, tuple(shown)) for typed, shown in found]


def commands(page: Path) -> list[str]:
    """Every command that a page tells its readers to type."""
    typed = []
    for block in blocks(page):
        if block.language == "console":
            typed += [step.typed for step in steps(block) if step.typed not in ("", "^C")]
        elif block.language in ("bash", "sh", "shell"):
            typed += block.text.splitlines()
    return typed


def prose(page: Path) -> str:
    """A page without its blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """The targets of a page's links."""
    return [found["target"] for found in _LINK.finditer(prose(page))]


def anchors(page: Path) -> set[str]:
    """What a link to a place on the page can name, as GitHub makes it of the headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(prose(page))}


def is_shown(shown: tuple[str, ...], printed: str, numbers_vary: bool = False) -> bool:
    """Whether each of the lines that a page shows was printed, in order; spaces count as one, … as anything."""
    lines = iter([_plain(line, numbers_vary) for line in printed.splitlines()])
    patterns = (re.escape(_plain(line, numbers_vary)).replace("…", ".*") for line in shown if line.strip(" …"))
    return all(any(re.fullmatch(pattern, line) for line in lines) for pattern in patterns)


def _plain(line: str, numbers_vary: bool) -> str:
    words = " ".join(line.split())
    return re.sub(r"\d[\d,.]*", "0", words) if numbers_vary else words
