"""The rehearsal itself, in namespaces of its own: its process is the first in them."""

from __future__ import annotations

import secrets
import signal
import time
from pathlib import Path
from types import FrameType

from core.errors import FreshetError, Unavailable
from operations.containers.compose_file import Service, profiles, read
from operations.containers.engine import Container, Engine
from operations.containers.images import Image, image_of
from operations.reporting import Line, Say, Tone

_JOB = "job"
_FIRST_ROW_S = 180.0
_SEARCH_S = 120.0
# by what the job itself has: its pipeline file, and the secret that it names
_ROWS = (
    "import pathlib, sys, psycopg; from operations.pipeline_file import load; "
    "of = load(pathlib.Path(sys.argv[1])).store.pgvector; "
    "print(psycopg.connect(of.dsn).execute(f'SELECT count(*) FROM {of.table}').fetchone()[0])"
)


def play(file: Path, folder: Path, question: str, say: Say) -> int:
    """Up, wait, search, down. The exit code: 0 where all of it came about."""
    signal.signal(signal.SIGTERM, _interrupted)
    services = read(file)
    asked = set(profiles(file))
    here = [each for each in services if not each.profiles or asked & set(each.profiles)]
    playing = _playing(here, folder, say)
    names = {name for each, _ in playing for name in each.secrets}
    engine = Engine(folder, {name: secrets.token_hex(24) for name in names}, lambda line: say(Line(line)))
    try:
        engine.up(playing)
        job = engine.running[_JOB]
        say(Line(f"first row {_first_row(job, engine):.1f} s after the start"))
        return _search(job, question, say)
    except KeyboardInterrupt:
        return 130
    except FreshetError as error:
        say(Line(str(error), tone=Tone.BAD))
        return 1
    finally:
        engine.down()


def _playing(services: list[Service], folder: Path, say: Say) -> list[tuple[Service, Image]]:
    """Those that something stands in for; the others are named, with why."""
    playing: list[tuple[Service, Image]] = []
    for each in services:
        missing = set(each.after) - {other.name for other, _ in playing}
        image = image_of(each, folder / "images" / each.name)
        if isinstance(image, str):
            say(Line(f"{each.name} isn't run: {image}"))
        elif missing:
            say(Line(f"{each.name} isn't run: it waits for {', '.join(sorted(missing))}"))
        else:
            playing.append((each, image))
    return playing


def _first_row(job: Container, engine: Engine) -> float:
    pipeline = job.service.command[-1]
    deadline = time.monotonic() + _FIRST_ROW_S
    while True:
        counted = job.run(["python", "-c", _ROWS, pipeline], _SEARCH_S)
        if counted.returncode == 0 and int(counted.stdout) > 0:
            return engine.seconds()
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    said = (counted.stdout + counted.stderr).strip().splitlines()[-1:]
    raise Unavailable(
        f"no row is in the store {_FIRST_ROW_S:.0f} s after all services were well: {''.join(said)}; see {job.log}"
    )


def _search(job: Container, question: str, say: Say) -> int:
    command = ["freshet", "search", job.service.command[-1], question]
    say(Line(f"docker compose exec job {' '.join(command[:-1])} {question!r}"))
    found = job.run(command, _SEARCH_S)
    say(Line(found.stdout + found.stderr))
    return found.returncode


def _interrupted(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
