import ast
import os
import shutil
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
# an environment made by uv has no pip
BASE_PYTHON = getattr(sys, "_base_executable", sys.executable)


def load() -> ModuleType:
    loader = SourceFileLoader("freshet_launcher", str(ROOT / "freshet"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


launcher = load()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose set-up is complete: its command `freshet` prints its arguments."""
    root = tmp_path / "checkout"
    for name in ("freshet", *launcher.INPUTS, *launcher.LOCKS):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    (root / ".venv/bin").mkdir(parents=True)
    (root / ".venv/bin/python").symlink_to(sys.executable)
    script(root / ".venv/bin/freshet", 'echo "$@"')
    (root / ".venv/freshet.stamp").write_text(launcher.stamp(root))
    return root


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_an_old_python_can_read_it() -> None:
    ast.parse((ROOT / "freshet").read_text(), feature_version=(3, 7))


def test_a_complete_set_up_is_handed_the_arguments_from_any_folder(checkout: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(checkout / "freshet"), "search", "two words"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("search two words\n", "")


@pytest.mark.parametrize("name", [*launcher.INPUTS, *launcher.LOCKS])
def test_a_changed_pin_is_set_up_anew(checkout: Path, name: str) -> None:
    assert launcher.is_complete(checkout)
    with (checkout / name).open("a") as file:
        file.write("# changed\n")
    assert not launcher.is_complete(checkout)


def test_a_moved_checkout_is_set_up_anew(checkout: Path) -> None:
    assert not launcher.is_complete(checkout.rename(checkout.with_name("moved")))


@pytest.mark.parametrize("part", ["bin/python", "bin/freshet", "freshet.stamp"])
def test_an_interrupted_set_up_is_set_up_anew(checkout: Path, part: str) -> None:
    (checkout / ".venv" / part).unlink()
    assert not launcher.is_complete(checkout)


def test_another_interpreter_behind_the_link_is_set_up_anew(checkout: Path, tmp_path: Path) -> None:
    link = checkout / ".venv/bin/python"
    link.unlink()
    link.symlink_to(script(tmp_path / "python3", "exit 0"))
    assert not launcher.is_complete(checkout)


def test_this_python_is_taken_where_it_will_do() -> None:
    assert launcher.find_python(sys.executable, "") == sys.executable


def test_the_first_python_on_the_path_that_will_do_is_taken(tmp_path: Path) -> None:
    old = script(tmp_path / "old/python3", "echo 3 9")
    # as a version manager's shim does for a version that isn't there
    script(tmp_path / "path/python3.12", "exit 127")
    right = script(tmp_path / "path/python3.11", "echo 3 11")
    assert launcher.find_python(str(old), str(tmp_path / "path")) == str(right)


def test_without_a_python_that_will_do_all_that_were_found_are_named(tmp_path: Path) -> None:
    old = script(tmp_path / "old/python3", "echo 3 13")
    broken = script(tmp_path / "path/python3.12", "exit 1")
    with pytest.raises(launcher.SetupError) as raised:
        launcher.find_python(str(old), str(tmp_path / "path"))
    assert f"{old}: Python 3.13" in str(raised.value)
    assert f"{broken}: doesn't run, or lacks venv or ensurepip" in str(raised.value)
    assert "apt install python3.12-venv" in str(raised.value)


def test_a_step_that_fails_says_which() -> None:
    with pytest.raises(launcher.SetupError, match=r"code 3: Making tea\n  sh -c exit 3"):
        launcher.step("Making tea", ["sh", "-c", "exit 3"])


def test_what_pip_was_told_holds_for_uv() -> None:
    settings = {"index-url": "mirror", "extra-index-url": "one\\ntwo", "cert": "/ca.pem", "timeout": "30"}
    made = launcher.uv_environment({"PATH": os.defpath, "PIP_USER": "1", "VIRTUAL_ENV": "/other"}, settings)
    assert made == {
        "PATH": os.defpath,
        "UV_DEFAULT_INDEX": "mirror",
        "UV_INDEX": "one two",
        "SSL_CERT_FILE": "/ca.pem",
        "UV_HTTP_TIMEOUT": "30",
    }


@pytest.mark.parametrize("name", ["UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_what_uv_was_told_itself_comes_first(name: str) -> None:
    made = launcher.uv_environment({name: "own", "UV_HTTP_TIMEOUT": "5"}, {"index-url": "mirror", "timeout": "30"})
    assert made == {name: "own", "UV_HTTP_TIMEOUT": "5"}


def test_the_settings_of_pip_are_read_with_the_environment_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nindex-url = from-file\ntimeout = 7\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_INDEX_URL", "from-environment")
    monkeypatch.delenv("PIP_DEFAULT_TIMEOUT", raising=False)
    settings = launcher.pip_settings([BASE_PYTHON, "-I", "-m", "pip"])
    assert (settings.get("index-url"), settings.get("timeout")) == ("from-environment", "7")
