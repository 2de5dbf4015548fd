"""A folder in the place of a bucket: read as it is now, watched, and nothing outside of it seen."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from connectors.folder.files import Folder
from core.change import Event
from core.documents.objects import Fetched, Gone, ObjectChange
from core.errors import ConfigError, ObjectError, Unavailable
from core.formats.s3 import decode


def any_size(size: int) -> None:
    pass


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path / "docs"


@pytest.fixture
def folder(docs: Path) -> Folder:
    return Folder(str(docs), "notes")


def changes(folder: Folder, known: dict[str, str]) -> list[tuple[str, bool]]:
    """Keys of what changed, and whether it went, by its notifications; `known` is brought to date."""
    found = []
    for key, listed in folder.changes(known):
        (change,) = decode(Event("t", 0, 0, None, folder.notification(key, listed)))
        assert isinstance(change, ObjectChange)
        assert (change.bucket, change.key) == ("notes", key)
        found.append((change.key, change.gone))
        if listed is None:
            del known[key]
        else:
            assert change.etag == listed.etag
            known[key] = listed.etag or ""
    return found


def test_a_folder_is_a_bucket(folder: Folder, docs: Path) -> None:
    for key in ("b.txt", "b/c.txt", "b!/d.txt", "a+b %2F😀.md"):
        (docs / key).parent.mkdir(exist_ok=True)
        (docs / key).write_text(key)
    found = list(folder.listing())
    assert [each.key for each in found] == sorted(["b.txt", "b/c.txt", "b!/d.txt", "a+b %2F😀.md"])
    read = folder.fetch(folder.bucket, "b/c.txt", any_size)
    assert isinstance(read, Fetched)
    assert (read.content, read.etag) == (b"b/c.txt", found[-1].etag)
    assert isinstance(folder.fetch(folder.bucket, "b", any_size), Gone)
    assert isinstance(folder.fetch(folder.bucket, "b.txt/c", any_size), Gone)


@pytest.mark.parametrize("key", ["../secret.txt", "/etc/passwd", "a/../../secret.txt", "link", "a\x00"])
def test_nothing_outside_the_folder_is_read(folder: Folder, docs: Path, key: str) -> None:
    (docs / "link").symlink_to(docs.parent / "secret.txt")
    with pytest.raises(ObjectError, match=r"no path within the folder|leads out of the folder"):
        folder.fetch(folder.bucket, key, any_size)
    assert list(folder.listing()) == []


def test_what_lies_below_a_link_is_not_there(folder: Folder, docs: Path) -> None:
    (docs / "kept").mkdir()
    (docs / "kept" / "secret.txt").write_text("kept")
    known: dict[str, str] = {}
    assert changes(folder, known) == [("kept/secret.txt", False)]
    # a link in a folder's place: what was known of the folder's files goes, as they are not listed any more
    (docs / "kept").rename(docs / "moved")
    (docs / "kept").symlink_to("moved")
    (docs / "out").symlink_to(docs.parent)
    assert changes(folder, known) == [("moved/secret.txt", False), ("kept/secret.txt", True)]
    for key in ("kept/secret.txt", "out/secret.txt"):
        assert isinstance(folder.fetch(folder.bucket, key, any_size), Gone)


@pytest.mark.parametrize("target", ["../secret.txt", "re"])
def test_a_link_that_is_left_out_hides_nothing_else(folder: Folder, docs: Path, target: str) -> None:
    """The deletions of files whose names begin with its own, say."""
    for name in ("readme.txt", "report.txt"):
        (docs / name).write_text(name)
    known: dict[str, str] = {}
    changes(folder, known)
    (docs / "re").symlink_to(target)
    for name in known:
        (docs / name).unlink()
    assert changes(folder, known) == [("readme.txt", True), ("report.txt", True)]


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_file_that_cannot_be_read_is_reported_again_when_it_can() -> None:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        file = Path(place, "a.txt")
        file.write_text("hello")
        file.chmod(0)
        folder, known = Folder(place, "notes"), dict[str, str]()
        with as_nobody():
            assert [changes(folder, known) for _ in range(2)] == [[("a.txt", False)], []]
            with pytest.raises(ObjectError, match="can't be read: Permission denied"):
                folder.fetch("notes", "a.txt", any_size)
        file.chmod(0o644)
        with as_nobody():
            assert [changes(folder, known) for _ in range(2)] == [[("a.txt", False)], []]
            assert isinstance(folder.fetch("notes", "a.txt", any_size), Fetched)
        # what was read once and didn't change is no news when it can't be read
        file.chmod(0)
        with as_nobody():
            assert changes(folder, known) == []


def test_what_is_left_out_is_said_once(folder: Folder, docs: Path, caplog: pytest.LogCaptureFixture) -> None:
    (docs / "kept").write_text("kept")
    (docs / ".hidden").write_text("x")
    (docs / "re").symlink_to("../secret.txt")
    (docs / os.fsdecode(b"\xff")).mkdir()
    (docs / os.fsdecode(b"\xff") / "a.txt").write_text("x")
    os.mkfifo(docs / "pipe")
    known: dict[str, str] = {}
    for _ in range(3):
        changes(folder, known)
    said = {record.getMessage().removeprefix(f"{docs}: left out: ") for record in caplog.records}
    assert len(caplog.records) == len(said) == 3
    link = f"'re' in {docs} is a link that leads out of the folder"
    assert said == {link, "'pipe' is no regular file", "'\\udcff' is a name that isn't UTF-8: rename it"}
    whole = folder.summary()
    assert whole.startswith(f"{docs} has 1 files; left out: 1 names that begin with a dot; ") and link in whole
    # what is mended and breaks again is news, and of very much at once only the first are named
    (docs / "re").unlink()
    changes(folder, known)
    caplog.clear()
    for number in range(30):
        (docs / f"{number}").symlink_to("nothing")
    changes(folder, known)
    assert len(caplog.records) == 11 and caplog.records[-1].getMessage().endswith("20 more")


def test_a_file_that_has_another_name_elsewhere_is_not_read_until_it_has_one_alone(folder: Folder, docs: Path) -> None:
    (docs / "kept").write_text("kept")
    known: dict[str, str] = {}
    assert changes(folder, known) == [("kept", False)]
    (docs / "linked").hardlink_to(docs.parent / "secret.txt")
    (docs.parent / "another").hardlink_to(docs / "kept")
    for key in ("linked", "kept"):
        with pytest.raises(ObjectError, match=r"'(linked|kept)' has 2 hard links"):
            folder.fetch(folder.bucket, key, any_size)
    # what is known is not gone for that
    assert (list(folder.listing()), changes(folder, known)) == ([], [])
    (docs.parent / "secret.txt").unlink()
    assert changes(folder, known) == [("linked", False)]


def test_what_is_no_file_or_hidden_does_not_stop_anyone(folder: Folder, docs: Path) -> None:
    os.mkfifo(docs / "pipe")
    with pytest.raises(ObjectError, match="no regular file"):
        folder.fetch(folder.bucket, "pipe", any_size)
    (docs / os.fsdecode(b"\xff.txt")).write_text("x")
    (docs / "loop").symlink_to("loop")
    (docs / "lost").symlink_to("nothing")
    (docs / ".git").mkdir()
    (docs / ".git" / "config").write_text("x")
    (docs / ".note.md.swp").write_text("x")
    assert list(folder.listing()) == []


def test_watching_a_folder_tells_what_came_changed_and_went(folder: Folder, docs: Path) -> None:
    for name in ("a", "b", "c"):
        (docs / name).write_text(name)
    known: dict[str, str] = {}
    assert changes(folder, known) == [("a", False), ("b", False), ("c", False)]
    assert changes(folder, known) == []
    (docs / "a").write_text("longer")
    (docs / "b").unlink()
    os.utime(docs / "c", ns=(1, 1))
    assert changes(folder, known) == [("a", False), ("c", False), ("b", True)]
    (docs / "a").rename(docs / "z")
    assert changes(folder, known) == [("z", False), ("a", True)]
    assert changes(folder, known) == []


def test_a_folder_that_is_away_has_lost_nothing(folder: Folder, docs: Path) -> None:
    (docs / "a").write_text("a")
    known: dict[str, str] = {}
    changes(folder, known)
    docs.rename(docs.parent / "elsewhere")
    with pytest.raises(Unavailable, match="mount it, or make it again"):
        folder.changes(known)
    with pytest.raises(Unavailable, match="mount it, or make it again"):
        folder.fetch(folder.bucket, "a", any_size)
    (docs.parent / "elsewhere").rename(docs)
    assert changes(folder, known) == []


def test_what_cannot_be_looked_into_is_not_gone(folder: Folder, docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (docs / "closed").mkdir()
    (docs / "closed" / "a").write_text("a")
    (docs / "b").write_text("b")
    known: dict[str, str] = {}
    changes(folder, known)
    scandir = os.scandir

    def refuses(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    # root may look into everything
    monkeypatch.setattr(os, "scandir", refuses)
    (docs / "b").unlink()
    assert changes(folder, known) == [("b", True)]
    monkeypatch.undo()
    (docs / "closed" / "a").unlink()
    (docs / "closed").rmdir()
    assert changes(folder, known) == [("closed/a", True)]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"source\.file: .* is no folder"):
        Folder(str(tmp_path / "no"), "notes")
