"""Programs that tests use and that are no Python package: where one is missing, the test is skipped and says so."""

import shutil

import pytest

PACKAGES = {"git": "git", "openssl": "openssl"}
"""Program to Debian's package; .ci/run installs them where it can."""


def needed(program: str) -> str:
    """The program's path. Skips the test where there is none."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} isn't installed: apt install {PACKAGES[program]}")
    return found
