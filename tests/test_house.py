"""The rules of the house (CONTRIBUTING.md), held by tests where no tool holds them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cli.testing import CHECKS
from tests.conftest import LONGEST
from tests.programs import PACKAGES, needed
from tests.test_order import LEVELS

ROOT = Path(__file__).parents[1]
LONGEST_FILE = 400

# in parts, so that this file doesn't hold what it forbids
REGISTRIES = ["pypi" + ".org", "pythonhosted" + ".org", "maven" + ".org", "maven.apache" + ".org", "npmjs" + ".org"]
REGISTRIES += ["docker" + ".io", "ghcr" + ".io", "quay" + ".io", "--index" + "-url", "--extra-index" + "-url"]
PLACES = [f"/{top}/" for top in ("work", "home", "Users", "root")] + ["/tmp/" + "dv", "/tmp/" + "v/"]

FORBIDDEN = [
    ("core/new.py", "import pyflink.table"),
    ("core/new.py", "from pyflink.common import Row"),
    ("core/new.py", "import torch"),
    ("core/new.py", "from sentence_transformers import SentenceTransformer"),
    ("core/new.py", "import psycopg"),
    ("core/new.py", "from confluent_kafka import Consumer"),
    ("core/new.py", "import httpx"),
    ("core/new.py", "import requests"),
    ("core/new.py", "import boto3"),
    ("core/new.py", "from time import time"),
    ("core/new.py", "import time"),
    ("core/formats/new.py", "import datetime\n\nprint(datetime.datetime.now())"),
    ("core/formats/new.py", "from datetime import datetime\n\nprint(datetime.now())"),
    ("core/new.py", "from udfs.embedding.embedder import embedder"),
    ("core/new.py", "import connectors.kafka.source"),
    ("core/new.py", "from connectors import kafka"),
    ("core/new.py", "from flink_jobs import vectorize"),
    ("core/new.py", "from cli import main"),
    ("core/config/new.py", "from workloads import articles"),
    ("udfs/new.py", "from connectors.pgvector import store"),
    ("udfs/new.py", "from flink_jobs.running import jobs"),
    ("udfs/new.py", "import stack.jars"),
    ("connectors/new.py", "from udfs.embedding.embedder import embedder"),
    ("connectors/kafka/new.py", "from flink_jobs.running.jobs import Job"),
    ("connectors/new.py", "import cli"),
    ("connectors/new.py", "from workloads import feeds"),
    ("connectors/new.py", "from pyflink.table import DataTypes"),
    ("flink_jobs/new.py", "from stack.jars import fetch"),
    ("flink_jobs/new.py", "from bench import machinery"),
    ("stack/new.py", "from operations import run"),
    ("deploy/new.py", "from bench import machinery"),
    ("deploy/msf/new.py", "from operations import run"),
    ("operations/new.py", "from cli import main"),
    ("operations/new.py", "from rich.console import Console"),
    ("operations/new.py", "import rich"),
    ("operations/new.py", "import typer"),
    ("operations/new.py", "from terminal import status"),
    ("terminal/new.py", "from chaos import world"),
    ("terminal/new.py", "from rich.markup import escape"),
    ("demo/new.py", "from chaos import world"),
]
ALLOWED = [
    ("core/new.py", "from core.errors import ConfigError"),
    ("core/new.py", "from datetime import UTC"),
    ("udfs/new.py", "from pyflink.table.udf import udf"),
    ("connectors/new.py", "import psycopg"),
    ("flink_jobs/new.py", "from connectors.kafka import source"),
    ("operations/new.py", "from stack.jars import fetch"),
    ("terminal/new.py", "from rich.table import Table"),
    ("cli/new.py", "from operations import run"),
    ("deploy/msf/new.py", "from flink_jobs.engine.environment import service_options"),
]


def tracked(*patterns: str) -> list[Path]:
    """The files that git knows, or will know."""
    command = [needed("git"), "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def holding(pattern: str) -> list[str]:
    """Each line of a file of ours that matches, with its place; recorded data excepted."""
    found = []
    for path in tracked():
        if path == Path(__file__) or "fixtures" in path.parts:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            if re.search(pattern, line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    return found


def test_no_file_names_a_registry() -> None:
    assert holding("|".join(map(re.escape, REGISTRIES))) == []


def test_no_file_names_a_place_on_someones_machine() -> None:
    assert holding("|".join(map(re.escape, PLACES))) == []


@pytest.mark.parametrize("name", sorted(LEVELS))
def test_no_file_is_long(name: str) -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in tracked(f"{name}/*.py")}
    assert {str(path): length for path, length in lengths.items() if length > LONGEST_FILE} == {}


def test_files_that_pages_name_are_there() -> None:
    named = re.compile(r"`((?:[a-z_]+/)+[a-z_.0-9]*)`")
    pages = [ROOT / "CONTRIBUTING.md", ROOT / "docs" / "design.md"]
    paths = {path for page in pages for path in named.findall(page.read_text(encoding="utf-8"))}
    ours = {path for path in paths if path.partition("/")[0] in {*LEVELS, "tests", "docs", "deploy"}}
    assert {path for path in ours if not (ROOT / path).exists()} == set()


def test_no_module_is_a_box_for_odds_and_ends() -> None:
    assert [path.name for path in tracked("*.py") if re.search(r"helper|manager|registry|utils?\b", path.stem)] == []


def test_tests_mirror_the_tree() -> None:
    folders = {path.parent.relative_to(ROOT / "tests") for path in tracked("tests/**/test_*.py")}
    assert [str(folder) for folder in folders if not (ROOT / folder).is_dir()] == []


def banned(path: str, code: str) -> bool:
    """Whether ruff refuses this code as a file of this name because of what it imports."""
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--no-cache", "--stdin-filename", path, "-"]
    checked = subprocess.run(command, cwd=ROOT, input=code, capture_output=True, text=True, check=False)
    assert checked.returncode in (0, 1), checked.stderr
    return "TID251" in checked.stdout


@pytest.mark.parametrize(("path", "code"), FORBIDDEN)
def test_imports_against_the_arrows_are_refused(path: str, code: str) -> None:
    assert banned(path, code)


@pytest.mark.parametrize(("path", "code"), ALLOWED)
def test_imports_along_the_arrows_are_not(path: str, code: str) -> None:
    assert not banned(path, code)


@pytest.mark.parametrize("name", sorted(set(LEVELS) - {"bench", "cli"}))
def test_a_folders_rules_are_added_to_those_of_all(name: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--stdin-filename", f"{name}/new.py", "-"]
    checked = subprocess.run(command, cwd=ROOT, input="import os\n", capture_output=True, text=True, check=False)
    assert "F401" in checked.stdout
    assert "D100" in checked.stdout


def test_pre_commit_checks_what_the_tests_check_and_fetches_nothing() -> None:
    configuration = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repository in configuration["repos"] for hook in repository["hooks"]]
    assert {repository["repo"] for repository in configuration["repos"]} == {"local"}
    assert {hook["language"] for hook in hooks} == {"system"}
    assert [hook["entry"] for hook in hooks] == [f".venv/bin/{' '.join(check)}" for check in CHECKS]
    command = [sys.executable, "-m", "pre_commit", "validate-config", str(ROOT / ".pre-commit-config.yaml")]
    assert subprocess.run(command, check=False).returncode == 0


@pytest.mark.parametrize("name", ["freshet", ".ci/run"])
def test_what_is_started_can_be(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)


def test_the_files_that_begin_first_are_there() -> None:
    assert [name for name in LONGEST if not (ROOT / name).is_file()] == []


def test_ci_installs_what_tests_would_be_skipped_for() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    (named,) = re.findall(r"^for program in (.*); do$", script, re.MULTILINE)
    assert named.split() == sorted(PACKAGES)
    # the script installs a program under its own name
    assert all(program == package for program, package in PACKAGES.items())
