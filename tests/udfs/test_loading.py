"""Loading: batches in order, bounded memory, and bombs that take nobody with them."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from connectors.folder.files import Folder
from core.change import Operation
from core.documents.objects import Fetched, Fetcher, Gone, Loaded, Row, ToLoad, rows_from_bytes
from core.documents.unfolding import ObjectSpec, ObjectState, unfold
from core.errors import ConfigError, ObjectError, Unavailable
from tests.udfs.test_parsing import parquet, pdf
from udfs.parsing import sandbox
from udfs.parsing.files import Limits, Options
from udfs.parsing.loading import Loader, Look
from udfs.parsing.sandbox import Sandboxes, TooSlow

FIXTURES = Path(__file__).parents[1] / "fixtures" / "s3"
SMALL = Limits(memory=300 * 2**20, seconds=5)


class Bucket:
    """Objects in memory, behind the interface of a fetcher; remembers what was asked, and how much at once."""

    def __init__(self, objects: dict[str, bytes | Exception], seconds: float = 0.0) -> None:
        self.objects = objects
        self.asked: list[str] = []
        self.held = 0
        self.most_held = 0
        self._seconds = seconds
        self._lock = threading.Lock()

    def fetch(self, bucket: str, key: str, admit: Callable[[int], None]) -> Fetched | Gone:
        self.asked.append(key)
        found = self.objects.get(key)
        if found is None:
            return Gone(7)
        if isinstance(found, Exception):
            raise found
        admit(len(found))
        with self._lock:
            self.held += len(found)
            self.most_held = max(self.most_held, self.held)
        time.sleep(self._seconds)
        with self._lock:
            self.held -= len(found)
        return Fetched(found, 1_700_000_000_000, "etag", "v1", "text/plain", 1_600_000_000_000)


def looks(*keys: str) -> list[ToLoad]:
    return [ToLoad("docs", key, number, bytes([number])) for number, key in enumerate(keys)]


def rows(loaded: Loaded) -> list[Row]:
    return [row for piece in loaded.rows for row in rows_from_bytes(piece)]


@pytest.fixture
def opened() -> Iterator[Callable[..., Loader]]:
    loaders: list[Loader] = []

    def make(fetch: Fetcher, **settings: Any) -> Loader:
        loaders.append(Loader({"": fetch}, **settings))
        return loaders[-1]

    yield make
    for loader in loaders:
        loader.close()


Opened = Callable[..., Loader]


def test_each_outcome_in_order_with_what_asked_for_it(opened: Opened) -> None:
    bucket = Bucket(
        {"a.txt": b"A", "b.pdf": b"no PDF", "c.csv": b"id,t\n1,x\n2,y\n", "d.txt": ObjectError("access denied")}
    )
    found = opened(bucket.fetch).load(looks("a.txt", "gone", "b.pdf", "c.csv", "d.txt"))
    assert [each.key for each in found] == ["a.txt", "gone", "b.pdf", "c.csv", "d.txt"]
    assert [(each.committed_ms, each.event) for each in found] == [(number, bytes([number])) for number in range(5)]
    assert [each.gone for each in found] == [False, True, False, False, False]
    assert [each.error for each in found] == [
        "",
        "",
        "b.pdf is named .pdf but begins with b'no PDF': it is broken, or something else",
        "",
        "access denied",
    ]
    assert found[0].columns == {
        "bucket": "docs", "key": "a.txt", "version": "v1", "etag": "etag", "content_type": "text/plain",
        "last_modified": "2020-09-13T12:26:40.000+00:00",
    }  # fmt: skip
    _, changes = unfold(None, found[3], ObjectSpec("s3.docs"))
    assert [change.row["t"] for change in changes] == ["x", "y"]
    assert changes[0].row["key"] == "c.csv"


def test_an_object_that_several_ask_for_is_looked_at_once(opened: Opened) -> None:
    bucket = Bucket({"a": b"A"})
    found = opened(bucket.fetch).load(looks("a", "a", "b", "a"))
    assert sorted(bucket.asked) == ["a", "b"]
    assert [each.gone for each in found] == [False, False, True, False]
    assert opened(bucket.fetch).load([]) == []


def test_options_are_of_the_object(opened: Opened) -> None:
    bucket = Bucket({"x/a.csv": b"id,t\n1,x\n", "y/a.csv": b"id,t\n1,x\n"})
    loader = opened(bucket.fetch, options=lambda bucket, key: Options(("id",) if key.startswith("x") else ("t",)))
    assert [rows(each)[0].row_id for each in loader.load(looks("x/a.csv", "y/a.csv"))] == ["1", "x"]


def test_what_stops_everyone_is_raised(opened: Opened) -> None:
    with pytest.raises(Unavailable):
        opened(Bucket({"a": Unavailable("away")}).fetch).load(looks("b", "a"))
    with pytest.raises(ConfigError):
        opened(Bucket({"a": ConfigError(["credentials"])}).fetch).load(looks("a"))


def test_a_bucket_that_nobody_named_is_an_error() -> None:
    loader = Loader({"docs": Bucket({}).fetch})
    (found,) = loader.load([ToLoad("file:/etc", "passwd")])
    assert found.error == "nothing is said of bucket 'file:/etc' in the pipeline file, in which 'passwd' is"
    loader.close()


def test_objects_are_loaded_at_once_but_not_more_bytes_than_agreed(opened: Opened) -> None:
    objects: dict[str, bytes | Exception] = {f"{number}.txt": b"x" * 1_000 for number in range(40)}
    bucket = Bucket(objects, seconds=0.01)
    found = opened(bucket.fetch, bytes_at_once=4_500).load(looks(*objects, *objects)[:40])
    assert not any(each.error for each in found)
    assert 2_000 <= bucket.most_held <= 4_500


def test_an_object_larger_than_the_budget_is_loaded_alone(opened: Opened) -> None:
    bucket = Bucket({"large": b"x" * 10_000, "a": b"x" * 10, "b": b"x" * 10})
    found = opened(bucket.fetch, bytes_at_once=100).load(looks("large", "a", "b"))
    assert not any(each.error for each in found)


def test_an_object_that_is_too_large_is_not_read(opened: Opened) -> None:
    bucket = Bucket({"a.txt": b"x" * 1_001})
    (found,) = opened(bucket.fetch, limits=Limits(size=1_000)).load(looks("a.txt"))
    assert found.error == "a.txt has 1,001 bytes, more than 1,000: split it, or raise the limit"
    assert bucket.most_held == 0


def test_a_fetch_that_asks_twice_holds_its_bytes_once(opened: Opened) -> None:
    def fetch(bucket: str, key: str, admit: Callable[[int], None]) -> Fetched:
        for _ in range(3):
            admit(900)
        return Fetched(b"x", 1)

    found = opened(fetch, bytes_at_once=1_000).load(looks("a", "b", "c"))
    assert not any(each.error for each in found)


@pytest.fixture(scope="module")
def bombs() -> dict[str, bytes | Exception]:
    files = [FIXTURES / name for name in ("bomb.pdf", "cell.parquet", "cell.avro")]
    return {file.name: file.read_bytes() for file in files}


def test_bombs_are_refused_and_the_next_file_is_read(opened: Opened, bombs: dict[str, bytes | Exception]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # a server of other tests, perhaps
    objects = {**bombs, "rows.parquet": parquet({"text": ["x" * 1_000] * 20_000}), "good.pdf": pdf("good")}
    limits = Limits(text=2**20, memory=300 * 2**20, seconds=20)
    loader = opened(Bucket(objects).fetch, limits=limits, processes=1)
    found = loader.load(looks(*objects, "bomb.pdf"))
    # pypdf's own limit or the process's, whichever comes first: that depends on what it has parsed before
    limit = "bomb.pdf is no PDF that can be read: LimitReachedError", "bomb.pdf needs more than 300 MiB of memory"
    assert found[0].error.startswith(limit)
    assert found[1].error.startswith("cell.parquet needs more than 300 MiB of memory")
    assert found[2].error.startswith("cell.avro needs more than 300 MiB of memory")
    assert found[3].error.startswith("rows.parquet has more than 1,048,576 characters of text")
    assert rows(found[4])[0].columns["text"] == "good"
    assert found[5].error == found[0].error
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss <= max(largest, 1024 * 1024)


def _run(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Has the parsers apart do something else than parse."""
    begin = "import udfs.parsing.sandbox as s; from core.documents.objects import Row, pieces; "
    monkeypatch.setattr(sandbox, "_RUN", f"{begin}s.encoded = lambda content, key, *_: {code}; s.serve()")


def test_a_parser_that_does_not_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    _run(monkeypatch, "__import__('time').sleep(60) if key == 'slow' else list(pieces([Row('', {'text': 'quick'})]))")
    boxes = Sandboxes(1, Limits(seconds=3))
    with pytest.raises(TooSlow):
        boxes.parse(b"", "slow", None, Options())
    assert b"quick" in bytes(boxes.parse(b"", "a", None, Options())[0])
    boxes.close()


def test_a_parser_ends_by_itself_where_nobody_is_left_to_stop_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _run(monkeypatch, "__import__('time').sleep(60)")
    boxes = Sandboxes(1, Limits(seconds=0.3))
    monkeypatch.setattr(threading.Timer, "start", lambda timer: None)  # as if whoever started it were dead
    begun = time.monotonic()
    with pytest.raises(ObjectError):
        boxes.parse(b"", "a", None, Options())
    assert time.monotonic() - begun < 20
    boxes.close()


def test_closing_stops_what_is_at_work(monkeypatch: pytest.MonkeyPatch, opened: Opened) -> None:
    _run(monkeypatch, "__import__('time').sleep(60)")
    loader = opened(Bucket(dict.fromkeys("abcd", b"x")).fetch, processes=1)
    looks_at = [loader.look("docs", name) for name in "abcd"]
    while not loader._quick._running:
        time.sleep(0.01)
    begun = time.monotonic()
    loader.close()
    assert all(look.result(10).error for look in looks_at)
    assert time.monotonic() - begun < 10


def test_a_slow_file_is_put_aside_and_others_go_on(
    monkeypatch: pytest.MonkeyPatch, opened: Opened, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    waits = f"[__import__('time').sleep(0.05) for _ in iter(lambda: __import__('os').path.exists({str(flag)!r}), True)]"
    _run(monkeypatch, f"({waits} if 'slow' in key else 0, list(pieces([Row('', {{'text': key}})])))[1]")
    bucket = Bucket(dict.fromkeys(["slow 0", "slow 1", "slow 2", "a", "b"], b"x"))
    loader = opened(bucket.fetch, processes=1, quick_s=0.5)
    *aside, first, second = [loader.look("docs", name) for name in bucket.objects]
    assert [rows(each.result(60))[0].columns["text"] for each in (first, second)] == ["a", "b"]
    assert [each.done() for each in aside] == [False] * 3
    flag.touch()
    assert [rows(each.result(60))[0].columns["text"] for each in aside] == ["slow 0", "slow 1", "slow 2"]
    # they were read anew, and nobody had held their bytes meanwhile
    assert bucket.asked.count("slow 0") == 2


def test_rows_that_nobody_has_forgotten_are_bounded(opened: Opened) -> None:
    bucket = Bucket({f"{number}.txt": b"x" * 1_000 for number in range(6)})
    loader = opened(bucket.fetch, bytes_at_once=4_500)
    waiting = {loader.look("docs", name) for name in bucket.objects}
    done: set[Look] = set()
    while waiting:
        done, waiting = wait(waiting, 20, FIRST_COMPLETED)
        assert done
        time.sleep(0.1)
        assert sum(look.done() for look in waiting | done) <= 4
        for look in done:
            assert rows(look.result())[0].columns["text"]
            loader.forget(look)
    kept = [loader.look("docs", name) for name in bucket.objects]
    assert wait(kept, 0.5).not_done
    loader.lift()
    assert not wait(kept, 20).not_done


@pytest.mark.parametrize("code", ["b'x' * 2**40", "[b'x' * 2**27 for _ in range(4)]", "__import__('os').abort()"])
def test_a_parser_that_takes_too_much_memory_or_crashes_is_an_error(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    _run(monkeypatch, code)
    boxes = Sandboxes(1, SMALL)
    with pytest.raises(ObjectError, match="a needs more than 300 MiB of memory"):
        boxes.parse(b"", "a", None, Options())
    boxes.close()


def test_what_a_parser_prints_does_not_come_between(monkeypatch: pytest.MonkeyPatch) -> None:
    _run(monkeypatch, "(print('hello', flush=True), list(pieces([Row('', {'text': 'quiet'})])))[1]")
    boxes = Sandboxes(1, SMALL)
    for _ in range(2):
        assert b"quiet" in bytes(boxes.parse(b"", "a", None, Options())[0])
    boxes.close()


def test_parsers_that_can_not_start_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_RUN", "import no_such_module")
    boxes = Sandboxes(1, SMALL)
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"can't be started with .*no_such_module"):
            boxes.parse(b"", "a", None, Options())
    boxes.close()


def test_parsers_take_no_module_of_the_folder_that_they_are_started_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "struct.py").write_text("raise SystemExit('run')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    boxes = Sandboxes(1, SMALL)
    assert b"quiet" in bytes(boxes.parse(b"quiet", "a.txt", None, Options())[0])
    boxes.close()


def test_parsers_apart_are_shared_by_many_threads_and_end() -> None:
    boxes = Sandboxes(2, Limits())
    with ThreadPoolExecutor(6) as threads:
        answers = list(
            threads.map(lambda number: boxes.parse(pdf(f"text {number}"), "a.pdf", None, Options()), range(30))
        )
    assert [f"text {number}".encode() in bytes(answer[0]) for number, answer in enumerate(answers)] == [True] * 30
    processes = [process for process in list(boxes._free.queue) if process is not None]
    assert 1 <= len(processes) <= 2
    boxes.close()
    assert all(process.poll() is not None for process in processes)


def test_files_of_a_folder(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Title\n\nText")
    folder = Folder(str(tmp_path), "notes")
    loader = Loader({folder.bucket: folder.fetch})
    read, outside = loader.load([ToLoad(folder.bucket, "a.md"), ToLoad(folder.bucket, "../a.md")])
    assert rows(read)[0].columns["title"] == "Title"
    assert "no path within the folder" in outside.error
    loader.close()


def test_markers_have_no_rows_and_the_rows_that_they_had_go(opened: Opened) -> None:
    bucket = Bucket({"docs/": b"", "out/_SUCCESS": b"{}", "docs/a.txt": b""})
    folder, job, file = opened(bucket.fetch).load(looks("docs/", "out/_SUCCESS", "docs/a.txt"))
    assert [rows(each) for each in (folder, job)] == [[], []]
    assert len(rows(file)) == 1
    _, changes = unfold(ObjectState(1, row_ids=("",), digests=b"x" * 8, run=1), folder, ObjectSpec("s3.docs"), run=2)
    assert [change.operation for change in changes] == [Operation.DELETE]


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.csv", "a.json", "a.pdf"])
def test_every_kind_of_file_has_a_deadline(opened: Opened, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    _run(monkeypatch, "__import__('time').sleep(60)")
    content = pdf("slow") if name == "a.pdf" else b"slow"
    (found,) = opened(Bucket({name: content}).fetch, limits=Limits(seconds=0.5)).load(looks(name))
    assert found.error == f"{name} takes more than 0.5 s to parse: give it smaller, or not at all"
