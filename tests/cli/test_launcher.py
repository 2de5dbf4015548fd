import ast
import os
import re
import shutil
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from udfs.embedding.engines import DRIVERS

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
    for name in ("freshet", *launcher.MORE.values(), *launcher.INPUTS, *launcher.LOCKS):
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


def test_what_the_tests_take_is_a_set_up_of_its_own(checkout: Path) -> None:
    assert launcher.is_complete(checkout) and launcher.lacking(checkout, ["torch", "test"]) == ["torch", "test"]
    for part in ("torch", "test"):
        launcher.put_stamp(launcher.place_of(checkout, part), launcher.stamp_of(checkout, part))
    assert not launcher.lacking(checkout, ["torch", "test"])
    with (checkout / launcher.MORE["test"]).open("a") as file:
        file.write("# changed\n")
    assert launcher.is_complete(checkout) and launcher.lacking(checkout, ["torch", "test"]) == ["test"]


@pytest.mark.parametrize(
    ("said", "gpu", "testing", "torch", "why"),
    [
        ("", False, False, False, "No GPU is seen: .* without torch; FRESHET_TORCH=yes brings it"),
        ("", True, False, True, "There is a GPU .*; FRESHET_TORCH=no leaves it out"),
        ("no", True, False, False, "without torch, as FRESHET_TORCH says"),
        ("yes", False, False, True, "with torch, as FRESHET_TORCH says"),
        ("", False, True, True, "the tests compare with it"),
        ("no", False, True, True, "the tests compare with it"),
    ],
)
def test_torch_comes_where_a_gpu_is_seen_or_it_is_asked_for(
    said: str,
    gpu: bool,
    testing: bool,
    torch: bool,
    why: str,
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(launcher, "GPUS", (str(checkout / "freshet") if gpu else str(checkout / "nothing"),))
    monkeypatch.setattr(launcher.sys, "platform", "linux")
    asked = launcher.asked_for_torch({launcher.TORCH: said})
    assert launcher.chosen(checkout, launcher.wanted(asked, testing), asked) is torch
    assert re.search(why, capsys.readouterr().err)


def test_a_set_up_in_place_of_one_with_torch_has_it_too(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "GPUS", ())
    monkeypatch.setattr(launcher.sys, "platform", "linux")
    assert not launcher.chosen(checkout, [], None)
    launcher.put_stamp(launcher.place_of(checkout, "torch"), "of requirements before")
    assert launcher.chosen(checkout, [], None) and not launcher.chosen(checkout, [], False)


def test_what_the_variable_cannot_say_is_refused() -> None:
    with pytest.raises(launcher.SetupError, match="FRESHET_TORCH is 'cuda': set it to yes or to no"):
        launcher.asked_for_torch({launcher.TORCH: "cuda"})


def test_a_gpu_that_brings_torch_is_one_that_an_engine_looks_for() -> None:
    assert set(launcher.GPUS) <= set(DRIVERS)


@pytest.mark.parametrize(("code", "complete"), [(0, True), (1, False)])
def test_only_test_gets_what_tests_take_and_an_interrupted_one_gets_it_again(
    checkout: Path, code: int, complete: bool
) -> None:
    log = checkout / "uv.log"
    (checkout / ".venv/bin/uv").write_text(f'#!/bin/sh\necho "$@" >> {log}\necho "no server" >&2\nexit {code}\n')
    (checkout / ".venv/bin/uv").chmod(0o755)
    command = [sys.executable, str(checkout / "freshet")]
    subprocess.run([*command, "search"], capture_output=True, check=True)
    assert not log.exists()
    done = subprocess.run([*command, "test", "--quick"], capture_output=True, text=True, check=False)
    assert log.read_text().startswith("pip install") and "--require-hashes" in log.read_text()
    assert launcher.has(checkout, "torch") is launcher.has(checkout, "test") is complete
    assert launcher.is_complete(checkout)
    assert done.stdout == ("test --quick\n" if complete else "")
    assert ("no server" in done.stderr and "ended with code 1" in done.stderr) is not complete
    subprocess.run([*command, "test"], capture_output=True, check=False)
    # torch, then what tests take: the first that fails is the last
    assert len(log.read_text().splitlines()) == 2


def test_torch_comes_later_where_it_is_asked_for_and_stays(checkout: Path) -> None:
    log = checkout / "uv.log"
    script(checkout / ".venv/bin/uv", f'echo "$@" >> {log}')
    command = [sys.executable, str(checkout / "freshet"), "demo"]
    for said in ("", "no", "yes", "yes", ""):
        environment = {**os.environ, launcher.TORCH: said}
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert ran.stdout == "demo\n"
    assert [line.split(" -r ")[1] for line in log.read_text().splitlines()] == [launcher.WITH_TORCH]


def test_the_pinned_files_are_of_one_resolution_and_tools_are_in_one_alone() -> None:
    def pins(name: str) -> dict[str, str]:
        lines = (ROOT / "requirements" / name).read_text().splitlines()
        return dict(line.split(" ")[0].split("==") for line in lines if "==" in line and not line.startswith(" "))

    base, tools, cpu = pins("requirements.txt"), pins("test.txt"), pins("cpu.txt")
    assert {name for name in tools if base.get(name, tools[name]) != tools[name]} == set()
    assert cpu.items() < base.items()
    lacks = base.keys() - cpu.keys()
    assert {"torch", "sentence-transformers", "transformers", "triton"} < lacks and "openvino" in cpu
    assert {"cfn-lint", "sympy", "networkx"}.isdisjoint(cpu), "moto's own extra would bring them"
    assert not [name for name in cpu if name.startswith(("nvidia", "cuda"))]
    assert {"pytest", "mypy", "ruff", "hypothesis", "pre-commit"} <= tools.keys() - base.keys()


def test_what_comes_is_said_before_it_begins_and_room_is_looked_for(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launcher, "size", lambda _: (3.7, 7.3))
    launcher.weigh(checkout, True)
    assert "3.7 GB of packages come now" in capsys.readouterr().err
    shutil.rmtree(checkout / ".venv")
    monkeypatch.setenv("UV_CACHE_DIR", str(checkout / "nothing"))
    monkeypatch.setattr(launcher.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 8, 10**9))
    with pytest.raises(launcher.SetupError, match=r"has 1\.0 GB free, and 7\.3 GB are needed"):
        launcher.weigh(checkout, False)


def test_of_what_uv_says_what_comes_is_shown_and_no_list(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = ["Downloading torch (1000.0MiB)", " Downloaded torch", "Installed 1 package in 1ms", " + torch==2.15.0"]
    uv = script(tmp_path / "uv", "\n".join(f"echo '{line}' >&2" for line in lines))
    launcher.fetch("Installing", [str(uv)], dict(os.environ))
    shown = capfd.readouterr().err
    assert "torch==" not in shown and "done, 1.0 GB came in" in shown


def test_what_is_on_its_way_is_named() -> None:
    coming: dict[str, float] = {}
    assert "installing what uv has already" in launcher.so_far(0.0, coming)
    assert launcher.heard("Downloading torch (512.5MiB)", coming) == 0
    assert launcher.heard("Downloading numpy (800.0KiB)", coming) == 0
    assert "0.0" in launcher.so_far(0.0, coming) and "on their way: torch, numpy" in launcher.so_far(0.0, coming)
    assert round(launcher.heard(" Downloaded torch", coming)) == 537
    assert launcher.heard(" + torch==2.15.0", coming) == 0 and coming.keys() == {"numpy"}


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


def test_pips_settings_hold_for_uv() -> None:
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
def test_uvs_own_settings_come_first(name: str) -> None:
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
