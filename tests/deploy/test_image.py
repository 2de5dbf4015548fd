"""The Dockerfile without an engine: a stage's tree is made of its COPY lines, its wheel built, what it starts run.

Nothing is installed: what the wheel needs is there, in the environment that runs the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

from deploy.msf.bundle import ours
from flink_jobs.engine.modules import OURS
from operations.containers.dockerfile import stages
from tests.pages import ROOT

FOLDER = ROOT / "deploy" / "docker"
STAGES = stages(FOLDER / "Dockerfile")


def sent(path: Path) -> bool:
    """Whether a file of the checkout goes to the engine: of Dockerfile.dockerignore the last line that fits decides."""
    name, goes = path.relative_to(ROOT).as_posix(), True
    for line in (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.removeprefix("!").replace("**/", "*")
        if fnmatch(name, pattern) or fnmatch(name, f"{pattern}/*"):
            goes = line.startswith("!")
    return goes


def tree(name: str, folder: Path) -> None:
    """What COPY lines of a stage, and of those it is built on, put into the working folder."""
    stage = STAGES[name]
    if stage.base in STAGES:
        tree(stage.base, folder)
    for instruction, words in stage.instructions:
        if instruction != "COPY" or words.startswith("--from"):
            continue
        *sources, target = words.split()
        for source in sources:
            place = ROOT / source
            assert place.exists(), f"COPY {words}: there is no {source}"
            for file in [place] if place.is_file() else sorted(place.rglob("*")):
                if file.is_file() and sent(file):
                    inside = target.rstrip("/") + "/" + (file.name if place.is_file() else "")
                    to = folder / (inside if place.is_file() else f"{target}/{file.relative_to(place)}")
                    to.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, to)


READ = ("json", "lock", "sql", "properties")
"""What modules read beside them, by the ends of its names."""


@pytest.fixture(scope="module", params=["flink-packages", "tools-packages"])
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the wheel that a stage installs, unpacked as in site-packages, and its tree beside it."""
    folder = tmp_path_factory.mktemp(request.param)
    tree(request.param, folder / "tree")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    built = subprocess.run([*command, str(folder / "tree")], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = folder.glob("*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(folder / "packages")
    yield folder


def ran(image: Path, *arguments: str) -> str:
    """Run by a Python that sees the wheel, and of this checkout nothing."""
    environment = {**os.environ, "PYTHONPATH": str(image / "packages"), "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-P", *arguments], cwd=image, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_has_every_package_and_what_they_read(image: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for package in project["tool"]["setuptools"]["packages"]:
        of_checkout = ROOT / package.replace(".", "/")
        of_wheel = image / "packages" / package.replace(".", "/")
        assert {each.name for each in of_checkout.glob("*.py")} == {each.name for each in of_wheel.glob("*.py")}
        read = {each.name for kind in READ for each in of_checkout.glob(f"*.{kind}")}
        assert read == {each.name for each in of_wheel.iterdir() if each.suffix.removeprefix(".") in READ}


def test_a_bundle_has_what_a_jobs_modules_read() -> None:
    there = {name for name in ours() if not name.endswith((".py", ".pem"))}
    read = {each for package in OURS for kind in READ for each in (ROOT / package).rglob(f"*.{kind}")}
    assert there == {each.relative_to(ROOT).as_posix() for each in read}
    assert "udfs/sentiment/head.json" in there


def test_what_the_image_starts_can_be_started(image: Path) -> None:
    where = ran(image, "-c", "import cli, deploy.msf; print(cli.__file__)")
    assert where.startswith(str(image / "packages"))
    assert "Commands" in ran(image, "-m", "cli", "--help")
    ran(image, "-c", "import flink_jobs.job, flink_jobs.steps.apply, bench.machinery, deploy.msf.main")


def test_the_tools_start_from_their_folder(tmp_path: Path) -> None:
    tree("tools-packages", tmp_path)
    compose = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))["services"]
    python, flag, script, *_ = compose["aws"]["command"]
    assert (python, flag) == ("python", "-P") and (tmp_path / script).is_file()
    module = compose["loader"]["command"][-1]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "NO_COLOR": "1"}
    helped = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert helped.returncode == 0 and "Commits a second" in helped.stdout, helped.stderr


def test_a_folder_that_is_not_copied_breaks_the_wheel(tmp_path: Path) -> None:
    tree("flink-packages", tmp_path)
    shutil.rmtree(tmp_path / "deploy")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    broken = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
    assert broken.returncode != 0
