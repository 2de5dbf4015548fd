"""What an edit history costs where only new chunks are embedded, against embedding every version whole."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

from bench.rig import CHUNK
from core.change import Change, Operation, Position
from core.documents.step import Chunker, DocumentSpec, DocumentState, step
from core.plans import Plan
from udfs.embedding.tokenizing import model_chunker

_SPEC = DocumentSpec("public.pages", "{body}")
_EDITS_A_PAGE = 10
_SENTENCES = re.compile(r"(?<=[.!?]) +(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Savings:
    """Of the chunks that the versions after each document's first one have, the share that was not embedded."""

    share: float
    edits: int
    chunks_embedded: int
    chunks_of_all_versions: int


def of_edits(model: str) -> Savings:
    """Of edits to the pages of Python's own reference, by the model's chunks of 256 tokens with an overlap of 32.

    Ten on each of some 80 pages, one after the other: a paragraph or a sentence is replaced, inserted or removed, each
    of the six as often; what comes in is from any page. Texts and sizes are real, places and kinds are drawn.
    """
    pages = {name: [block for block in re.split(r"\n\s*\n", page) if block.strip()] for name, page in topics.items()}
    chance = random.Random(0)
    pool = [block for blocks in pages.values() for block in blocks]
    return _savings((_edited(blocks, pool, chance) for blocks in pages.values()), model)


def of_git(model: str, checkout: Path) -> Savings | None:
    """Of the true history of a checkout's documentation and Python files; None where there is none."""
    try:
        histories = list(_git_histories(checkout))
    except (OSError, subprocess.CalledProcessError):
        return None
    savings = _savings(histories, model) if histories else None
    return savings if savings is not None and savings.edits else None


def _savings(histories: Iterable[Iterable[str]], model: str) -> Savings:
    chunker = model_chunker(model, CHUNK["tokens"], CHUNK["overlap"])
    edits = embedded = there = 0
    for number, versions in enumerate(histories):
        state: DocumentState | None = None
        held: frozenset[str] = frozenset()
        for version, text in enumerate(versions):
            state, plan = _plan(state, number, version, text, chunker)
            if version:
                new = sum(chunk not in held for chunk in plan.chunk_ids)
                edits, embedded, there = edits + 1, embedded + new, there + len(plan.chunk_ids)
            held = frozenset(plan.chunk_ids)
    return Savings(1 - embedded / max(1, there), edits, embedded, there)


def _plan(
    state: DocumentState | None, number: int, version: int, text: str, chunker: Chunker
) -> tuple[DocumentState | None, Plan]:
    position = Position(f"{version + 1:016x}")
    change = Change(_SPEC.table, {"id": number}, Operation.UPSERT, position, {"body": text})
    state, [plan] = step(state, change, _SPEC, "model", chunker)
    assert isinstance(plan, Plan)
    return state, plan


def _edited(page: Sequence[str], pool: Sequence[str], chance: random.Random) -> Iterator[str]:
    """A page and its versions after each of ten edits."""
    blocks = list(page)
    yield "\n\n".join(blocks)
    for _ in range(_EDITS_A_PAGE):
        if chance.random() < 0.5:
            _edit(blocks, pool, chance)
        else:
            at = chance.randrange(len(blocks))
            sentences = _SENTENCES.split(blocks[at])
            _edit(sentences, _SENTENCES.split(chance.choice(pool)), chance)
            blocks[at] = " ".join(sentences)
        yield "\n\n".join(blocks)


def _edit(pieces: list[str], pool: Sequence[str], chance: random.Random) -> None:
    """Replace, insert or remove one of the pieces; the last one is replaced rather than removed."""
    at = chance.randrange(len(pieces))
    kind = chance.choice(("replace", "insert", "remove"))
    if kind == "insert":
        pieces.insert(at, chance.choice(pool))
    elif kind == "remove" and len(pieces) > 1:
        del pieces[at]
    else:
        pieces[at] = chance.choice(pool)


def _git_histories(checkout: Path) -> Iterator[list[str]]:
    """The versions of each documentation and Python file, oldest first; merges and renames are not followed."""
    log = _git(checkout, "log", "--reverse", "--no-merges", "--no-renames", "--format=%x00%H", "--name-only", "--",
               "*.md", "*.py")  # fmt: skip
    commits: dict[str, list[str]] = {}
    for entry in filter(None, log.split("\0")):
        commit, *paths = filter(None, entry.splitlines())
        for path in paths:
            commits.setdefault(path, []).append(commit)
    for path, changed_in in commits.items():
        if len(changed_in) > 1:
            yield [text for commit in changed_in if (text := _text(checkout, commit, path)) is not None]


def _text(checkout: Path, commit: str, path: str) -> str | None:
    """The file as a commit left it; None where it removed it."""
    try:
        return _git(checkout, "show", f"{commit}:{path}")
    except subprocess.CalledProcessError:
        return None


def _git(checkout: Path, *arguments: str) -> str:
    command = ["git", "-C", str(checkout), *arguments]
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8", errors="replace").stdout
