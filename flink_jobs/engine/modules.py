"""How our modules are found where one JVM's Python runs several jobs, as in a session cluster's TaskManager.

Flink gives each job its files in a folder that goes with it. Python inside the JVM keeps the packages that the first
job imported, and would look for their other modules, which it imports when it needs them, in that job's folder.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

OURS = ("core", "connectors", "udfs", "flink_jobs")
"""The packages that run in a job, and so go with it."""


class _InThePresentJobsFolder(MetaPathFinder):
    """Looks for a module of ours in all folders of `sys.path`, once its package's own folder hasn't it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's place; None where it is none of ours, or nowhere."""
        *packages, _ = fullname.split(".")
        if not packages or packages[0] not in OURS:
            return None
        folders = [str(Path(place, *packages)) for place in sys.path]
        return PathFinder.find_spec(fullname, folders, target)


def find_in_later_jobs() -> None:
    """Let later jobs in this process find their own modules. Can be repeated."""
    if not any(isinstance(finder, _InThePresentJobsFolder) for finder in sys.meta_path):
        sys.meta_path.append(_InThePresentJobsFolder())
