"""However a history is read, the store ends with its rows, or a dead letter says of which document it doesn't.

In a run of the tests each course takes a second or two. For longer: `FRESHET_MODEL_S=600 ./freshet test
tests/core/test_model.py`; what is found is named by its seed, which `run` plays again.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from itertools import count

import pytest

from cli.testing import QUICK
from tests.core.histories import Course
from tests.core.model import run

PUTS, UPDATES, MOVES = ("put",) * 4, ("update",) * 4, ("move",) * 3
ALL = (*PUTS, *UPDATES, "delete", *MOVES)
COURSES = {
    "moves and truncates": Course((*ALL, "truncate")),
    "and crashes": Course((*ALL, "truncate"), crashes=True),
    "lost places": Course((*ALL, "lose"), crashes=True),
    "all of it, and the source can be asked": Course((*ALL, "truncate", "lose"), crashes=True, reselects=True),
    "compressed transactions": Course((*ALL, "truncate"), compressed=True, crashes=True),
    "MySQL, and its connector is killed": Course((*ALL, "truncate"), mysql=True, repeats=True, crashes=True),
    "compressed, and its connector is killed": Course((*ALL, "truncate"), compressed=True, repeats=True, crashes=True),
    "PostgreSQL's connector is killed": Course((*ALL, "truncate"), repeats=True, crashes=True),
    "grown, whole rows": Course((*PUTS, "delete"), grows=True, crashes=True),
    "grown, updates": Course((*PUTS, *UPDATES, "delete"), grows=True, crashes=True),
    "grown, moves": Course(ALL, grows=True, crashes=True),
    "grown, and all that clears": Course((*ALL, "truncate", "lose"), grows=True, crashes=True),
    "grown, and the source can be asked": Course((*ALL, "truncate"), grows=True, crashes=True, reselects=True),
    "grown, and its connector is killed": Course((*ALL, "truncate"), grows=True, repeats=True, crashes=True),
    "grown, compressed transactions": Course(ALL, grows=True, compressed=True, crashes=True),
}
LONGER = "FRESHET_MODEL_S"
SECONDS = float(os.environ.get(LONGER, "0.3" if QUICK in os.environ else "1.2"))
FEWEST = 20

# who asks for longer isn't held to what a test may take
pytestmark = [pytest.mark.timeout(0)] if LONGER in os.environ else []


@pytest.mark.parametrize("name", COURSES)
def test_no_document_is_wrong_without_a_word(name: str) -> None:
    course, end, seen = COURSES[name], time.process_time() + SECONDS, Counter[str]()
    for seed in count():
        if seed >= FEWEST and time.process_time() > end:
            break
        job, outcome = run(seed, course)
        assert not outcome.wrong, f"seed {seed}: {outcome}"
        assert not outcome.left, f"seed {seed}: {outcome}"
        assert not outcome.learned, f"seed {seed}: {outcome}"
        assert not outcome.ghosts, f"seed {seed}: {outcome}"
        seen.update(runs=1, with_letters=outcome.with_letters, asked=outcome.asked, forgotten=job.forgotten)
    print(name, dict(seen))
    assert bool(seen["forgotten"]) is bool({"truncate", "lose"}.intersection(course.actions))
