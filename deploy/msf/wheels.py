"""The packages that the service doesn't have, as its Python has them installed."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from core.errors import FreshetError, Unavailable
from deploy.msf.archive import Entries


@dataclass(frozen=True, slots=True)
class Pinned:
    """Packages, with the hashes of each, and the platforms whose wheels will do, the newest first."""

    file: Path
    platforms: tuple[str, ...]


_OLD = ("manylinux2014", "manylinux_2_17", "manylinux_2_12", "manylinux2010", "manylinux_2_5", "manylinux1")
OF_A_JOB = Pinned(Path(__file__).with_name("requirements-msf.txt"), _OLD)
OF_A_MODEL = Pinned(Path(__file__).with_name("requirements-model.txt"), ("manylinux_2_28", *_OLD))
"""What a model in the bundle takes beside them. OpenVINO has no wheels for a glibc before 2.28."""

PYTHON = "3.12"
"""The service's version."""

_MACHINE = "x86_64"
_MADE_HERE = re.compile(
    r"\.lock|bin/.*|.*\.pyc|(.*/)?__pycache__/.*|[^/]+\.dist-info/(RECORD|INSTALLER|REQUESTED|direct_url\.json)"
)
"""What an installer adds to a wheel's files: scripts for this machine's Python, and its own records."""

_ASKED = "bedrock-runtime|dynamodb|dynamodbstreams|kinesis|rds|s3|sagemaker-runtime|secretsmanager|sqs|sso|sso-oidc|sts"
_NOT_ASKED = re.compile(rf"botocore/data/(?!({_ASKED})/)[^/]+/.*")
"""Descriptions of AWS services that no code of ours is a client of: half of all files, and a tenth of their size."""

_NO_CPUS = re.compile(
    r"openvino/(include|cmake|torch|tools)/.*|openvino/.*\.pyi|openvino/libs/(cache\.json|"
    r"libopenvino_(intel_gpu|intel_npu|auto|auto_batch|hetero)_plugin\.so|"
    r"libopenvino_(gguf|jax|paddle|pytorch|tensorflow|tensorflow_lite)_frontend\.so.*)"
)
"""What of OpenVINO is for other devices than CPUs, and other graphs than ONNX's and its own: half of its size."""


def vendored(cache: Path, python: str = PYTHON, of: Pinned = OF_A_JOB) -> Entries:
    """The files of all packages, by their paths below a folder of PYTHONPATH. Fetched once, and kept below `cache`.

    python  its version, for a rehearsal that has another one
    of      the packages

    Raises Unavailable where they can't be fetched, FreshetError where neither pip nor uv is here.
    """
    wanted = hashlib.sha256(of.file.read_bytes()).hexdigest()[:16]
    folder = cache / f"{wanted}-cp{python.replace('.', '')}-{_MACHINE}"
    if not folder.is_dir():
        _install(folder, python, of)
    return {
        name: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and _goes_in(name := path.relative_to(folder).as_posix())
    }


def _goes_in(name: str) -> bool:
    return not (_MADE_HERE.fullmatch(name) or _NOT_ASKED.fullmatch(name) or _NO_CPUS.fullmatch(name))


def _install(folder: Path, python: str, of: Pinned) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".installing-") as temporary:
        target = Path(temporary) / "packages"
        faults = []
        for command in _commands(target, python, of):
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
            if not ran.returncode:
                # the name never means a half of it
                _keep(target, folder)
                return
            shutil.rmtree(target, ignore_errors=True)
            faults.append("\n".join((ran.stdout + ran.stderr).strip().splitlines()[-8:]))
    raise Unavailable(f"the packages of {of.file.name} could not be fetched:\n{faults[-1]}")


def uv() -> str | None:
    """uv's program, beside this Python's own or on the path; None where there is none."""
    return shutil.which("uv", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))


def _keep(made: Path, folder: Path) -> None:
    try:
        made.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was first
            raise


def _commands(target: Path, python: str, of: Pinned) -> list[list[str]]:
    """uv takes a tenth of pip's time, and doesn't read pip's settings: where those are needed, pip is next."""
    common = ["--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:", "--target", str(target)]
    common += ["--python-version", python, "-r", str(of.file)]
    found = []
    if (program := uv()) is not None:
        found.append([program, "pip", "install", "--python-platform", f"{_MACHINE}-{of.platforms[0]}", *common])
    if importlib.util.find_spec("pip") is not None:
        platforms = [option for each in of.platforms for option in ("--platform", f"{each}_{_MACHINE}")]
        pip = [sys.executable, "-m", "pip", "install", "--no-compile", "--implementation", "cp", *platforms]
        found.append([*pip, *common])
    if not found:
        raise FreshetError("neither pip nor uv is here to fetch the bundle's packages: install one beside Freshet")
    return found
