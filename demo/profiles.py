"""`freshet demo profiles`: three systems' rows become one person, and come apart again."""

from __future__ import annotations

import shutil
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
from rich.console import Console

from connectors.opening.stores import open_profiles, stores_of
from core.config.file import load
from core.config.pipeline import Pipeline
from core.config.profiles import Profiles
from core.errors import Unavailable
from core.letters import PREFIX
from core.profiles.merging import Profile
from core.stores.contract import ProfileStore
from demo import people as tables
from demo import screen
from demo import world as worlds
from demo.people import DEVICE, HOME, ROWS, WORK, People
from demo.stage import Evidence, at_least, brief, milliseconds_since, until
from flink_jobs.running.jobs import Job
from operations import run
from operations.job_file import home
from operations.profiles import explained, known
from operations.resuming import Beginning
from stack import local as stack
from terminal.lines import printer
from terminal.plain import shown
from terminal.profiles import tree

_SNAPSHOT_SECONDS = 240.0
_TIMES = 5
_INSERT = "INSERT INTO demo_profiles.orders VALUES ({}, 1, '{}', 20.10, '{}')"
_UPDATE = "UPDATE demo_profiles.orders SET email = '{}' WHERE id = 10"
_ROWS_AND_PROFILES = """
SELECT (SELECT count(*) FROM demo_profiles."demo-profiles_records"),
       (SELECT coalesce(sum(n::int), 0)
        FROM demo_profiles."demo-profiles_profiles", jsonb_each_text(records) AS r (t, n)),
       (SELECT count(DISTINCT profile_id) FROM demo_profiles."demo-profiles_records"),
       (SELECT count(*) FROM demo_profiles."demo-profiles_profiles")
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """The running demo, as its claims need it."""

    console: Console
    people: People
    job: Job
    rules: Profiles
    store: ProfileStore

    def who(self, identifier: str) -> Profile | None:
        """The profile behind an identifier."""
        return known(self.rules, self.store, identifier)

    def draw(self, profile: Profile) -> None:
        """Show what makes a profile."""
        self.console.print(tree(self.rules, explained(self.store, profile, events=3)), soft_wrap=True)


def together(scene: Scene) -> Evidence:
    """What the snapshot of three tables comes to."""
    kari, laptop = scene.who("customer_id=1"), scene.who(f"device={DEVICE}")
    brothers = [scene.who(f"customer_id={number}") for number in (2, 3)]
    assert kari is not None and laptop is not None
    scene.draw(kari)
    return Evidence(
        (
            ("crm, shop", f"customer 1 and her order: {_shown(kari)}"),
            ("web", f"three visits from {DEVICE}: {_shown(laptop)}"),
            ("phone", "customers 2 and 3 share a phone, and stay two: customer_id has limit 1"),
        ),
        f"{ROWS} rows of three systems are {_count(scene)} profiles",
        holds=kari.profile_id != laptop.profile_id
        and kari.records == {"demo_profiles.customers": 1, "demo_profiles.orders": 1}
        and kari.values["total_spent"] == "99.9"
        and None not in brothers
        and brothers[0] != brothers[1],
    )


def merge(scene: Scene) -> Evidence:
    """An order names the customer and an address that is known from the web; five times, undone in between."""
    laptop = scene.who(f"device={DEVICE}")
    assert laptop is not None
    took, done = [], None
    for number in range(_TIMES):
        if number:
            scene.people.commit("DELETE FROM demo_profiles.orders WHERE id = 10")
            until(lambda: _apart(scene), "two profiles again")
        done = scene.people.commit(_INSERT.format(10, WORK, "2026-01-05T10:00:00Z"))
        until(lambda: _one(scene), "one profile of both")
        took.append(milliseconds_since(done.sent))
    one = _one(scene)
    assert one is not None and done is not None
    scene.draw(one)
    alias = scene.store.get(laptop.profile_id)
    return Evidence(
        ((done.what, done.text), ("after", _shown(one)), ("alias", f"{laptop.profile_id[:12]}… leads to {HOME}")),
        f"commit → one person: {statistics.median(took):.0f} ms (median of {_TIMES}), {max(took):.0f} ms (worst)",
        holds=alias == one and one.values["total_spent"] == "120" and sum(one.records.values()) == 6,
    )


def split(scene: Scene) -> Evidence:
    """The order's address is corrected: nothing links the laptop to the customer any longer."""
    done = scene.people.commit(_UPDATE.format(HOME))
    until(lambda: _apart(scene), "two profiles again")
    took = milliseconds_since(done.sent)
    kari, laptop = scene.who("customer_id=1"), scene.who(f"device={DEVICE}")
    assert kari is not None and laptop is not None
    (audit,) = scene.store.history(laptop.profile_id, 1)
    return Evidence(
        ((done.what, done.text), ("crm, shop", _shown(kari)), ("web", _shown(laptop)), ("audit", audit.reason)),
        f"commit → two persons again: {took:.0f} ms; the web's has the id that it had",
        holds=kari.values["total_spent"] == "120" and laptop.records == {"demo_profiles.visits": 3},
    )


def watched(scene: Scene) -> Evidence:
    """A reader looks as fast as it can while the two merge and part."""
    seen: list[tuple[int, ...]] = []
    ended = threading.Event()

    def look() -> None:
        with psycopg.connect(scene.people.world.dsn, autocommit=True) as connection:
            while not ended.is_set():
                seen.append(connection.execute(_ROWS_AND_PROFILES.encode()).fetchall()[0])

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for _ in range(_TIMES):
            scene.people.commit(_UPDATE.format(WORK))
            until(lambda: _one(scene), "one profile")
            scene.people.commit(_UPDATE.format(HOME))
            until(lambda: _apart(scene), "two profiles")
    finally:
        ended.set()
        reader.join()
    torn = [each for each in seen if each[0] != each[1] or each[2] != each[3]]
    return Evidence(
        (
            ("sql", f"{_TIMES} merges and {_TIMES} splits"),
            ("reader", f"looked {len(seen)} times: rows, rows counted in profiles, profiles of rows, profiles"),
        ),
        f"{len(torn)} of {len(seen)} looks saw half a merge",
        holds=not torn and len({each[3] for each in seen}) == 2,
    )


def poison(scene: Scene) -> Evidence:
    """A clock ten years ahead: the row is a dead letter, and the next one goes through."""
    bad = scene.people.commit(_INSERT.format(11, HOME, "2046-01-01T00:00:00Z"))
    world = scene.people.world
    (letter,) = until(lambda: at_least(worlds.events(world, world.dead_letters), 1), "the dead letter")
    reason = dict(letter.headers())[f"{PREFIX}reason"].decode()
    done = scene.people.commit(_INSERT.format(12, HOME, "2026-01-06T10:00:00Z"))
    until(lambda: _orders(scene, 3), "the order after it")
    return Evidence(
        ((bad.what, bad.text), ("letter", brief(reason))),
        f"a dead letter; the next order was in the profile in {milliseconds_since(done.sent):.0f} ms",
        holds="ahead of its arrival" in reason,
    )


CLAIMS: tuple[tuple[str, Callable[[Scene], Evidence]], ...] = (
    ("Rows of three systems become profiles", together),
    ("An order makes two profiles one", merge),
    ("A corrected e-mail takes them apart", split),
    ("No reader sees half a merge", watched),
    ("A clock that is ahead becomes a dead letter", poison),
)


def play(console: Console, folder: Path, leave: bool) -> int:
    """Run the demo; the command's exit code, 0 only where every claim held. Raises as `demo.showing.demo` does."""
    screen.section(console, "PostgreSQL, Kafka and Debezium, on this machine")
    with console.status("starting the servers"):
        servers = stack.up(Path.cwd(), lambda line: console.print(f"  [dim]{shown(line)}[/]"))
        people = tables.make(servers, folder)
    with closing(people):
        people.begin()
        screen.section(console, "The pipeline")
        screen.pipeline_file(console, people.world.file)
        pipeline = load(people.world.file)
        shutil.rmtree(home(pipeline), ignore_errors=True)
        with console.status("starting Flink"):
            run.prepare(pipeline, printer(console))
            job = run.start(pipeline, printer(console), Beginning(without_state=True))
        try:
            claims = _perform(console, pipeline, people, job, leave)
        finally:
            if not job.ended():
                savepoint = job.stop_with_savepoint(home(pipeline) / "savepoints")
                console.print(f"\nThe job stopped with {Path(savepoint).name}; the servers go on.")
    if leave:
        screen.ended(console, claims, [("in all", time.time() - psutil.Process().create_time())])
    file = shown(str(people.world.file))
    for command in (f"freshet run {file}", f"freshet profile explain {file} {HOME}", "freshet stack down"):
        console.print(f"  [bold]{command}[/]")
    return 0 if screen.held(claims) else 1


def _perform(console: Console, pipeline: Pipeline, people: People, job: Job, leave: bool) -> list[tuple[str, Evidence]]:
    profiles = pipeline.profiles_job.profiles
    with closing(open_profiles(stores_of(pipeline))) as store:
        scene = Scene(console, people, job, profiles, store)
        screen.section(console, "Snapshot: the rows that are there already")
        with console.status("waiting for the rows"):
            until(lambda: _whole(scene), "the rows of the snapshot", _SNAPSHOT_SECONDS)
        claims = screen.claims(console, CLAIMS, scene)
        if not leave:
            _prompt(scene)
    return claims


def _prompt(scene: Scene) -> None:
    screen.section(scene.console, "Ask it yourself")
    where = shown(scene.people.world.dsn)
    scene.console.print(
        f"The job goes on: change rows of {tables.SCHEMA} at {where}. Ctrl-C, or an empty line, ends it."
    )
    try:
        while who := scene.console.input("[bold cyan]who ›[/] ").strip():
            found = scene.who(who)
            if found is None:
                scene.console.print("nobody")
            else:
                scene.draw(found)
    except (EOFError, KeyboardInterrupt):
        scene.console.print()


def _whole(scene: Scene) -> bool | None:
    if scene.job.ended():
        raise Unavailable(f"the job ended ({scene.job.progress().failure}); see {home(load(scene.people.world.file))}")
    time.sleep(0.1)
    return True if _looked(scene)[:2] == (ROWS, ROWS) else None


def _looked(scene: Scene) -> tuple[Any, ...]:
    with psycopg.connect(scene.people.world.dsn) as connection:
        found: tuple[Any, ...] = connection.execute(_ROWS_AND_PROFILES.encode()).fetchall()[0]
        return found


def _count(scene: Scene) -> int:
    return int(_looked(scene)[3])


def _one(scene: Scene) -> Profile | None:
    kari, laptop = scene.who("customer_id=1"), scene.who(f"device={DEVICE}")
    return kari if kari is not None and kari == laptop else None


def _apart(scene: Scene) -> bool | None:
    kari, laptop = scene.who("customer_id=1"), scene.who(f"device={DEVICE}")
    return True if kari is not None and laptop is not None and kari.profile_id != laptop.profile_id else None


def _orders(scene: Scene, count: int) -> bool | None:
    kari = scene.who("customer_id=1")
    return True if kari is not None and kari.values["orders"] == count else None


def _shown(profile: Profile) -> str:
    held = ", ".join(each.value for each in profile.identifiers)
    return f"{profile.profile_id[:12]}… of {sum(profile.records.values())} rows: {held}"
