"""How long each folder of tests takes, and may take: CONTRIBUTING.md has the budgets, a run that passes one fails."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
SLACK = 1.25
"""How much of a budget may be used before a run fails."""
REFERENCE_S = 0.07
"""What `yardstick` takes on the machine that the budgets were measured on, with nothing else at work."""

_ROW = re.compile(r"^\| `(tests(?:/\w+)?)/` \| (\d+) s \|", re.MULTILINE)


def budgets(page: str) -> dict[str, float]:
    """Folder to seconds, from the table of CONTRIBUTING.md."""
    return {folder: float(seconds) for folder, seconds in _ROW.findall(page)}


def folder_of(test: str) -> str:
    """The folder that a test counts to: `tests/cli`, or `tests` for the files beside the folders."""
    parts = test.partition("::")[0].split("/")
    return "/".join(parts[:2]) if len(parts) > 2 else parts[0]


def yardstick() -> float:
    """Seconds of CPU that a fixed piece of work takes, the best of five: tells a slow machine from slow tests."""
    return min(_work() for _ in range(5))


def _work() -> float:
    begin = time.process_time()
    sum(len(str(number)) for number in range(600_000))
    return time.process_time() - begin


def passed(spent: Mapping[str, float], allowed: Mapping[str, float], slowness: float) -> list[str]:
    """The folders that took more than they may, a line each. `slowness`: 2 on a machine half as fast; at least 1."""
    scale = max(1.0, slowness)
    return [
        f"{folder} took {seconds:.0f} s, its budget is {allowed.get(folder, 0.0) * scale:.0f} s{_because(scale)}: "
        'CONTRIBUTING.md, "Budgets", says how to win it back'
        for folder, seconds in sorted(spent.items())
        if seconds > SLACK * scale * allowed.get(folder, 0.0)
    ]


def _because(scale: float) -> str:
    return "" if scale == 1 else f" (on this machine, {scale:.1f} times as slow as the reference)"


def table(spent: Mapping[str, float], allowed: Mapping[str, float]) -> list[str]:
    """Each folder with its time, the longest first, and the sum."""
    rows = sorted(spent.items(), key=lambda each: -each[1])
    lines = [f"{seconds:7.0f} s of {allowed.get(folder, 0):5.0f} s  {folder}" for folder, seconds in rows]
    return [
        *lines,
        f"{sum(spent.values()):7.0f} s of {sum(allowed.values()):5.0f} s  in all, of every process together",
    ]
