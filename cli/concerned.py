"""Which tests a change concerns: those that `freshet test --quick` adds to the pure ones."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Collection
from pathlib import Path

from core.errors import FreshetError


def changed_since(revision: str, root: Path) -> list[str]:
    """The files that differ from a revision of git's, and those that it doesn't know; relative to `root`.

    Raises FreshetError where git says no.
    """
    differing = _git(root, "diff", "--name-only", "--diff-filter=d", revision, "--")
    return sorted({*differing, *_git(root, "ls-files", "--others", "--exclude-standard")})


def _git(root: Path, *arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FreshetError(f"git {' '.join(arguments)} failed: {done.stderr.strip()}")
    return done.stdout.splitlines()


def concerned(changed: Collection[str], root: Path) -> list[str]:
    """The files of tests that were changed, import a changed module, or are named as one; relative to `root`.

    `tests/connectors/test_pgvector.py` is named as `connectors/pgvector.py`, and as `connectors/pgvector/sql.py` too.
    """
    modules = {_module(path) for path in changed if path.endswith(".py")}
    found = []
    for test in sorted((root / "tests").rglob("test_*.py")):
        own = test.relative_to(root).as_posix()
        if own in changed or modules & _imported(test) or any(_is_named_as(own, path) for path in changed):
            found.append(own)
    return found


def _imported(test: Path) -> frozenset[str]:
    """The modules that a file imports, by their full names; of `from a import b` both `a` and `a.b`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(test.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
    return frozenset(found)


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _is_named_as(test: str, path: str) -> bool:
    folder, _, name = test.removeprefix("tests/").rpartition("/")
    stem = name.removeprefix("test_").removesuffix(".py")
    if not (path.endswith(".py") and path.startswith(f"{folder}/")):
        return False
    changed = path.removeprefix(f"{folder}/").removesuffix(".py").replace("/", "_")
    return changed == stem or changed.startswith(f"{stem}_")
