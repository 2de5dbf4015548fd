import hashlib
from pathlib import Path

import pytest

from core.errors import FreshetError
from stack import jars
from udfs.pinned import Jar, read

CONTENT = b"not really a JAR"
JAR = Jar("org.example", "thing", "1.0", "", "jar", hashlib.sha256(CONTENT).hexdigest())
SLF4J = "org.slf4j slf4j-api 1.7.36 - jar d3ef575e3e4979678dc01bf1dcce51021493b4d11fb7f1be8ad982877c16a1c0"


def write(content: bytes) -> jars.Download:
    def download(_: Jar, folder: Path) -> Path:
        file = folder / "download"
        file.write_bytes(content)
        return file

    return download


def test_a_file_with_another_hash_is_refused_and_never_gets_its_name(tmp_path: Path) -> None:
    found = hashlib.sha256(b"changed").hexdigest()
    with pytest.raises(FreshetError, match=rf"(?s)org\.example:thing:1\.0:jar.*{found}.*{JAR.sha256}"):
        jars.install(JAR, tmp_path, write(b"changed"))
    assert list(tmp_path.iterdir()) == []


def test_a_sound_file_replaces_what_was_there(tmp_path: Path) -> None:
    (tmp_path / JAR.file_name).write_bytes(b"cut")
    file = jars.install(JAR, tmp_path, write(CONTENT))
    assert file.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [file]


def test_a_lock_is_read_with_its_comments(tmp_path: Path) -> None:
    lock = tmp_path / "jars.lock"
    lock.write_text("# why\n\ng a 1 plugin tar.gz AB # note\ng b 2 - jar cd\n")
    assert read(lock) == [
        Jar("g", "a", "1", "plugin", "tar.gz", "ab"),
        Jar("g", "b", "2", "", "jar", "cd"),
    ]
    assert [jar.coordinate for jar in read(lock)] == ["g:a:1:plugin:tar.gz", "g:b:2:jar"]


def test_a_line_of_a_lock_that_lacks_its_hash_is_named(tmp_path: Path) -> None:
    lock = tmp_path / "jars.lock"
    lock.write_text("g a 1 - jar\n")
    with pytest.raises(FreshetError, match=r"jars\.lock:1: 'g a 1 - jar' has 5 fields"):
        read(lock)


def test_a_corrupt_cached_file_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    lock = tmp_path / "jars.lock"
    lock.write_text(SLF4J)
    (file,) = jars.fetch(lock)
    assert file.is_relative_to(tmp_path)
    sound = file.read_bytes()
    file.write_bytes(sound[:100])
    assert jars.fetch(lock) == [file]
    assert file.read_bytes() == sound


@pytest.mark.parametrize("lock", ["stack/jars.lock", "flink_jobs/jars.lock"])
def test_the_pinned_jars_each_have_a_hash_and_one_place(lock: str) -> None:
    pinned = read(Path(__file__).parents[2] / lock)
    assert all(len(bytes.fromhex(jar.sha256)) == 32 for jar in pinned)
    assert len({(jar.group, jar.artifact) for jar in pinned}) == len(pinned)
