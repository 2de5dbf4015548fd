"""Optional packages: which extra of Freshet's brings a module that isn't installed."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires

from core.errors import to_install

_OTHERWISE = {"opensearchpy": "opensearch-py", "google": "protobuf"}
"""Modules that aren't called as their packages are."""

_OF_EXTRA = re.compile(r"([A-Za-z0-9._-]+).*;.*extra == ['\"]([a-z]+)['\"]")


def remedy(error: ModuleNotFoundError) -> str:
    """What to install where a module of an extra's package isn't there; "" of any other module."""
    module = (error.name or "").partition(".")[0]
    package = _normal(_OTHERWISE.get(module, module))
    found = [extra for name, extra in _packages() if _normal(name) == package]
    if not found:
        return ""
    return f"this needs {module}, which isn't installed: {to_install(*found)}"


def _packages() -> list[tuple[str, str]]:
    """Each package that an extra brings, with the extra."""
    try:
        needed = requires("freshet") or []
    except PackageNotFoundError:
        return []
    return [(found[1], found[2]) for each in needed if (found := _OF_EXTRA.fullmatch(each))]


def _normal(name: str) -> str:
    """A name of a package as the index compares it ("Names and normalization" in Python's packaging guide)."""
    return re.sub(r"[-_.]+", "-", name).lower()
