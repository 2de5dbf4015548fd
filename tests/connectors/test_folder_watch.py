"""A folder watched by the system's events: what they tell, what they can't tell, and what is not to be watched."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.folder.events import FolderEvents
from connectors.folder.files import Folder
from connectors.folder.watch import FolderWatch, Pace
from core.errors import Unavailable

NEVER = Pace(3600, 1)
"""Of listings, so that changes are heard of by events alone."""


class Watched:
    """What a folder's watcher reports of it, kept as a job keeps it."""

    def __init__(self, docs: Path, pace: Pace = NEVER) -> None:
        self.watch = FolderWatch(Folder(str(docs), "notes"), pace)
        self.known: dict[str, str] = {}
        # all is listed twice: what came before it was watched
        self.look()
        self.look()

    def look(self) -> None:
        for key, found in self.watch.changes(self.known):
            if found is None:
                del self.known[key]
            else:
                self.known[key] = found.etag or ""

    def until(self, *keys: str) -> None:
        """Look until these files alone are known."""
        deadline = time.monotonic() + 10
        while set(self.known) != set(keys) and time.monotonic() < deadline:
            self.look()
        assert set(self.known) == set(keys)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    (docs / "sub").mkdir(parents=True)
    (docs / "a").write_text("a")
    (docs / "sub" / "b").write_text("b")
    return docs


@pytest.fixture
def watched(docs: Path) -> Iterator[Watched]:
    made = Watched(docs)
    assert set(made.known) == {"a", "sub/b"}
    yield made
    made.watch.close()


def test_files_and_whole_folders_that_come_move_and_go(watched: Watched, docs: Path) -> None:
    (docs / "sub" / "c").write_text("c")
    (docs / ".c.swp").write_text("c")
    watched.until("a", "sub/b", "sub/c")
    before = watched.known["a"]
    (docs / "a").write_text("longer")
    deadline = time.monotonic() + 10
    while watched.known["a"] == before and time.monotonic() < deadline:
        watched.look()
    assert watched.known["a"] != before
    (docs / "new" / "deep").mkdir(parents=True)
    (docs / "new" / "deep" / "d").write_text("d")
    watched.until("a", "sub/b", "sub/c", "new/deep/d")
    (docs / "new" / "deep" / "e").write_text("e")
    (docs / "new").rename(docs / "old")
    watched.until("a", "sub/b", "sub/c", "old/deep/d", "old/deep/e")
    shutil.move(docs / "old", docs.parent)
    watched.until("a", "sub/b", "sub/c")
    (docs.parent / "old" / "f").write_text("f")
    shutil.move(docs.parent / "old", docs / "again")
    watched.until("a", "sub/b", "sub/c", "again/f", "again/deep/d", "again/deep/e")
    # a file in a folder's place
    (docs / "again" / "deep").rename(docs.parent / "deep")
    (docs / "again" / "deep").write_text("deep")
    watched.until("a", "sub/b", "sub/c", "again/f", "again/deep")
    shutil.rmtree(docs / "again")
    shutil.rmtree(docs / "sub")
    (docs / "sub").mkdir()
    (docs / "sub" / "z").write_text("z")
    watched.until("a", "sub/z")


def test_directories_that_come_by_and_by_are_all_heard_of(docs: Path) -> None:
    events = FolderEvents(str(docs.resolve()))
    events.cover(["", "sub"])
    for number in range(20):
        (docs / f"{number}").mkdir()
        events.cover([f"{number}"])
        (docs / f"{number}" / "f").write_text("f")
        while f"{number}/f" not in events.heard(10):
            pass
    assert len(events._parts) < 10 and len(events.directories) == 22
    (docs / "3" / "g").write_text("g")
    assert "3/g" in events.heard(10)
    events.close()


def test_nothing_outside_and_nothing_hidden_is_watched(tmp_path: Path, docs: Path) -> None:
    (docs / "out").symlink_to(tmp_path)
    (docs / ".git" / "objects").mkdir(parents=True)
    watched = Watched(docs)
    assert watched.watch._events is not None and watched.watch._events.directories == {"", "sub"}
    (docs / "sub").rename(docs / "moved")
    (docs / "sub").symlink_to("moved")
    watched.until("a", "moved/b")
    assert watched.watch._events.directories == {"", "sub", "moved"}
    watched.watch.close()


def test_a_name_that_is_not_utf8_keeps_nothing_else_from_being_seen(watched: Watched, docs: Path) -> None:
    # the library can't say such a name, and nothing more after it
    for number in range(3):
        (docs / os.fsdecode(b"\xff.txt")).write_text(f"{number}")
        (docs / f"{number}").write_text("x")
        watched.until("a", "sub/b", *map(str, range(number + 1)))
    assert watched.watch.left_out == 1


def test_a_folder_of_the_same_name(watched: Watched, docs: Path) -> None:
    docs.rename(docs.parent / "away")
    with pytest.raises(Unavailable, match="mount it, or make it again"):
        watched.look()
    docs.mkdir()
    watched.until()
    (docs / "c").write_text("c")
    watched.until("c")


def test_what_happens_without_an_event_is_found_and_said(docs: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Written through a mapping, of which inotify(7) tells nothing, as of what another machine writes."""
    maps = []
    for number in range(3):
        with (docs / f"{number}").open("wb+") as file:
            file.write(b"before")
            file.flush()
            maps.append(mmap.mmap(file.fileno(), 6))
    watched = Watched(docs, Pace(0.2, 0))
    before = dict(watched.known)
    time.sleep(0.02)
    for each in maps:
        each[:] = b"behind"
        each.flush()
    deadline = time.monotonic() + 10
    while not caplog.records and time.monotonic() < deadline:
        watched.look()
    assert {key for key, etag in watched.known.items() if etag != before[key]} == {"0", "1", "2"}
    (said,) = (record.getMessage() for record in caplog.records)
    assert "files change without an event of the system" in said and "'0' did" in said
    # what is heard of is no reason
    (docs / "c").write_text("c")
    watched.until(*before, "c")
    assert len(caplog.records) == 1
    watched.watch.close()


_LIMITED = """
import logging, pathlib, sys
from tests.connectors.test_folder_watch import Watched
logging.basicConfig(format="%(message)s")
docs = pathlib.Path(sys.argv[1])
watched = Watched(docs)
(docs / "sub" / "c").write_text("c")
watched.until("a", "sub/b", "sub/c")
"""


@pytest.mark.parametrize("limit", ["watches", "instances"])
def test_where_the_system_has_no_more_watches_the_folder_is_listed(docs: Path, limit: str) -> None:
    of = f"/proc/sys/user/max_inotify_{limit}"
    shell = f'echo 0 > {of} && exec "$@"'
    # a user namespace has limits of its own
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        shell,
        "sh",
        sys.executable,
        "-c",
        _LIMITED,
        str(docs),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=60)
    if "unshare" in done.stderr:
        pytest.skip(f"no user namespaces here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    (said,) = done.stderr.splitlines()
    assert said.startswith(f"{docs}: the system doesn't tell what happens in its 2 directories")
    assert f"raise fs.inotify.max_user_{limit}. All is listed again and again" in said
