"""The order of the folders, set once: each imports what stands before it, and none what stands beside or behind it."""

from __future__ import annotations

import ast
import graphlib
import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = (
    ("core",),
    ("connectors", "udfs"),
    ("flink_jobs",),
    ("stack",),
    ("workloads",),
    ("deploy",),
    ("operations",),
    ("serving", "terminal"),
    ("bench", "chaos", "demo"),
    ("cli",),
)
LEVELS = {folder: level for level, folders in enumerate(ORDER) for folder in folders}
MOST_ENTRIES = {"core": 16, "connectors": 20}
MOST_LINES_OF_CLI = 2_000


@cache
def modules() -> dict[str, Path]:
    """Our modules by their names."""
    files = [path for folder in LEVELS for path in (ROOT / folder).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


@cache
def imported(module: str) -> frozenset[str]:
    """Those of our modules that one imports, anywhere in its file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{each.name}" for each in node.names}
            found |= {name if name in modules() else node.module for name in names}
    return frozenset(found & modules().keys())


def test_each_folder_has_its_place() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages == set(LEVELS)


def test_imports_run_down_the_order() -> None:
    upwards = [
        f"{module} -> {other}"
        for module in modules()
        for other in imported(module)
        if (here := module.partition(".")[0]) != (there := other.partition(".")[0]) and LEVELS[there] >= LEVELS[here]
    ]
    assert upwards == []


def test_no_files_import_each_other() -> None:
    graphlib.TopologicalSorter({module: imported(module) for module in modules()}).prepare()


def test_no_folders_import_each_other() -> None:
    graph: defaultdict[str, set[str]] = defaultdict(set)
    for module in modules():
        here = _folder(module)
        for there in map(_folder, imported(module)):
            # a folder and one in it may
            if here != there and not f"{here}.".startswith(f"{there}.") and not f"{there}.".startswith(f"{here}."):
                graph[here].add(there)
    graphlib.TopologicalSorter(graph).prepare()


def _folder(module: str) -> str:
    return module if modules()[module].name == "__init__.py" else module.rpartition(".")[0]


@pytest.mark.parametrize("folder", sorted(set(LEVELS) - {"cli"}))
def test_ruff_holds_each_folder_to_it(folder: str) -> None:
    """An editor shows what the tests above would."""
    settings = tomllib.loads((ROOT / folder / "ruff.toml").read_text(encoding="utf-8"))
    banned = settings["lint"]["flake8-tidy-imports"]["banned-api"].keys() & LEVELS.keys()
    assert banned == {other for other, level in LEVELS.items() if level >= LEVELS[folder] and other != folder}


@pytest.mark.parametrize(("folder", "most"), MOST_ENTRIES.items())
def test_a_folder_can_be_read_at_a_glance(folder: str, most: int) -> None:
    entries = [path.name for path in (ROOT / folder).iterdir() if not path.name.startswith((".", "__pycache__"))]
    assert len(entries) <= most, entries


def test_the_command_line_is_thin() -> None:
    lines = [len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "cli").rglob("*.py")]
    assert sum(lines) <= MOST_LINES_OF_CLI


def test_every_package_is_installed() -> None:
    """Named one by one: a folder that an image's stage does not copy breaks its wheel; a search would leave it out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {module for module, path in modules().items() if path.name == "__init__.py"}
    assert set(project["tool"]["setuptools"]["packages"]) == packages
