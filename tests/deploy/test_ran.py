"""The table of what ran of every deployment file is whole, and names tests that there are."""

from __future__ import annotations

import ast
import subprocess
from fnmatch import fnmatch

from tests.deploy import ran
from tests.pages import ROOT
from tests.programs import needed


def test_every_deployment_file_is_in_it() -> None:
    listed = [needed("git"), "ls-files", "deploy", "docker-compose.yaml", ".env"]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    patterns = [pattern for row in ran.ROWS for pattern in row.files]
    left_out = ("__init__.py", "ruff.toml", ".gitignore")
    missing = [each for each in files if not any(fnmatch(each, pattern) for pattern in patterns)]
    assert [each for each in missing if not each.endswith(left_out)] == []
    assert [pattern for pattern in patterns if not any(fnmatch(each, pattern) for each in files)] == []


def test_the_tests_that_it_names_are_there() -> None:
    for row in ran.ROWS:
        for each in row.tests:
            file, _, name = each.partition("::")
            module = ast.parse((ROOT / "tests/deploy" / file).read_text(encoding="utf-8"))
            assert name in {node.name for node in module.body if isinstance(node, ast.FunctionDef)}, each
