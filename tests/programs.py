"""Programs that tests use and that are no Python package: where one is missing, the test is skipped and says so."""

import os
import shutil

import pytest

PACKAGES = {name: name for name in ("curl", "git", "openssl", "pgbouncer", "prometheus", "wget")}
"""Program to Debian's package; .ci/run installs them where it can."""


def needed(program: str) -> str:
    """The program's path. Skips the test where there is none."""
    # Debian has pgbouncer where root alone looks
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin")
    if found is None:
        pytest.skip(f"{program} isn't installed: apt install {PACKAGES[program]}")
    return found
