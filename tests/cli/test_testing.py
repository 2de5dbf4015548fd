"""What `freshet test` adds to pytest: the tests that a change concerns, and each folder's budget."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cli import testing
from cli.concerned import changed_since, concerned
from core.errors import FreshetError
from tests import budgets
from tests.programs import needed

ALLOWED = {"tests/core": 100.0, "tests": 10.0}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small project in git, with one commit."""
    files = {
        "connectors/pgvector/store.py": "",
        "connectors/pgvector/sql.py": "",
        "core/change.py": "",
        "tests/connectors/test_pgvector.py": "import connectors.pgvector.store",
        "tests/connectors/test_contract.py": "from connectors.pgvector import sql",
        "tests/core/test_change.py": "from core.change import Change",
        "tests/test_house.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "All"]):
        subprocess.run([needed("git"), *command], cwd=tmp_path, check=True)
    return tmp_path


def test_what_a_change_concerns_is_what_imports_it_or_is_named_as_it(checkout: Path) -> None:
    assert concerned(changed_since("HEAD", checkout), checkout) == []
    (checkout / "connectors/pgvector/sql.py").write_text("x = 1")
    assert concerned(changed_since("HEAD", checkout), checkout) == [
        "tests/connectors/test_contract.py",
        "tests/connectors/test_pgvector.py",
    ]
    (checkout / "tests/core/test_new.py").write_text("")
    assert "tests/core/test_new.py" in concerned(changed_since("HEAD", checkout), checkout)
    (checkout / "connectors/pgvector/store.py").unlink()
    assert changed_since("HEAD", checkout) == ["connectors/pgvector/sql.py", "tests/core/test_new.py"]


def test_a_revision_that_is_none_is_refused(checkout: Path) -> None:
    with pytest.raises(FreshetError, match="nothing-of-the-kind"):
        changed_since("nothing-of-the-kind", checkout)


def test_without_its_tools_the_command_says_what_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "find_spec", lambda _: None)
    with pytest.raises(FreshetError, match=r"`\./freshet test`, in the checkout, gets it first"):
        testing.test()


@pytest.mark.parametrize(
    ("types", "tests", "code"), [(0, 0, 0), (1, 0, 1), (0, 5, 5)], ids=["well", "a type is wrong", "a test fails"]
)
def test_the_first_that_fails_decides(types: int, tests: int, code: int) -> None:
    begun = [_exits(types, 0), _exits(tests, 60 if types else 0.3)]
    assert testing.both(*begun) == code


def _exits(code: int, after_s: float) -> subprocess.Popen[bytes]:
    lines = f"import sys, time\ntry:\n time.sleep({after_s})\nexcept KeyboardInterrupt:\n sys.exit(2)\nsys.exit({code})"
    return subprocess.Popen([sys.executable, "-c", lines])


def test_every_folder_has_a_budget() -> None:
    page = (budgets.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tests = [path.relative_to(budgets.ROOT).as_posix() for path in budgets.ROOT.glob("tests/**/test_*.py")]
    assert {budgets.folder_of(test) for test in tests} == set(budgets.budgets(page))


@pytest.mark.parametrize(
    ("test", "folder"),
    [
        ("tests/core/formats/test_rows.py::test_a[x/y::z]", "tests/core"),
        ("tests/cli/test_run.py::test_b", "tests/cli"),
        ("tests/test_docs.py::test_c", "tests"),
    ],
)
def test_a_test_counts_to_the_folder_below_tests(test: str, folder: str) -> None:
    assert budgets.folder_of(test) == folder


@pytest.mark.parametrize(
    ("spent", "slowness", "begins"),
    [
        ({"tests/core": 125.0, "tests": 0.1}, 0.8, []),
        ({"tests/core": 126.0}, 0.8, ["tests/core took 126 s, its budget is 100 s: "]),
        ({"tests/core": 240.0}, 2.0, []),
        (
            {"tests/core": 251.0},
            2.0,
            ["tests/core took 251 s, its budget is 200 s (on this machine, 2.0 "],
        ),
        ({"tests/new": 0.1}, 1.0, ["tests/new took 0 s, its budget is 0 s"]),
    ],
)
def test_a_budget_may_be_passed_by_a_quarter(spent: dict[str, float], slowness: float, begins: list[str]) -> None:
    lines = budgets.passed(spent, ALLOWED, slowness)
    assert len(lines) == len(begins)
    assert all(line.startswith(begin) for line, begin in zip(lines, begins, strict=True))
