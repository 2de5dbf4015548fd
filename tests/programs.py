"""Programs and packages that tests use and may be missing: then the test is skipped, and says so."""

import os
import shutil
from importlib.util import find_spec

import pytest

PACKAGES = {name: name for name in ("chromium", "curl", "git", "openssl", "pgbouncer", "prometheus", "wget")}
"""Program to Debian's package; .ci/run installs them where it can."""


def needed(program: str) -> str:
    """The program's path. Skips the test where there is none."""
    # Debian has pgbouncer where root alone looks
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin")
    if found is None:
        pytest.skip(f"{program} isn't installed: apt install {PACKAGES[program]}")
    return found


def needed_package(name: str) -> None:
    """Skips a file of tests where a package is missing.

    Nothing is imported: each process of a run collects every file, and torch alone takes seconds of each.
    """
    if find_spec(name) is None:
        pytest.skip(f"{name} isn't installed", allow_module_level=True)
