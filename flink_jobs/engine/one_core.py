"""One processor for those operators that run Python inside the JVM all the time.

They share one interpreter and its lock. Each time the lock goes to a thread on another processor, the memory that the
interpreter works on follows it, and a step takes twice as long: on two cores the job of profiles does 1,000 changes a
second where the threads are anywhere, 1,850 where they are on one (`python -m bench.profiles`).
"""

from __future__ import annotations

import os
import random
import sys

_VARIABLE = "FRESHET_ONE_CORE"


def choose() -> None:
    """Choose the processor, for the JVM that this process starts from now on: a machine of one user is free to.

    Nobody does on a cluster, whose machines may have other work on the same processor. Linux alone knows how.
    """
    if sys.platform == "linux":
        os.environ[_VARIABLE] = str(random.choice(sorted(os.sched_getaffinity(0))))


def stay() -> None:
    """Have the calling thread run on the chosen processor from now on; where none was chosen, anywhere."""
    chosen = os.environ.get(_VARIABLE)
    if chosen is not None and sys.platform == "linux":
        os.sched_setaffinity(0, {int(chosen)})
