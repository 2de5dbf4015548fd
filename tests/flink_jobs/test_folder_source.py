"""A folder watched by the job: what is there, what comes, changes and goes, also while no job runs."""

from __future__ import annotations

import signal
from pathlib import Path

import psycopg

from tests.flink_jobs.conftest import Job, Workshop, eventually, kill
from tests.replay import differences
from tests.udfs.test_parsing import slow_pdf

QUICK = {"execution.checkpointing.interval": "500 ms", "execution.checkpointing.min-pause": "100 ms"}


def away(workshop: Workshop, docs: Path) -> list[str]:
    """What keeps the store from being the folder."""
    truth = {
        f"notes/{path.relative_to(docs).as_posix().replace('%', '%25').replace('/', '%2F')}": path.read_text()
        for path in docs.rglob("*.md")
    }
    try:
        return differences(workshop.rows(), truth)
    except psycopg.errors.UndefinedTable:
        return ["nothing is there yet"]


def equal(workshop: Workshop, docs: Path) -> None:
    try:
        eventually(lambda: not away(workshop, docs), "the store to equal the folder")
    except AssertionError:
        raise AssertionError(away(workshop, docs)[:5], workshop.printed()[-2000:]) from None


def test_a_folder_and_what_happens_in_it(workshop: Workshop) -> None:
    docs = workshop.folder / "my notes"
    (docs / "sub").mkdir(parents=True)
    for number in range(1_200):
        (docs / f"{number % 5}+ü {number}.md").write_text(f"# Note {number}\n\nIt says {number}.\n")
    (docs / ".hidden.md.swp").write_text("of an editor")
    (docs / "out").symlink_to(workshop.folder)
    file = workshop.pipeline(
        source={"file": {"path": "my notes"}},
        format="files",
        documents={"notes": {"text": "{text}", "metadata": ["key", "title"]}},
        dead_letters={
            "kafka": {"topic": workshop.dead_letters, "properties.bootstrap.servers": workshop.bootstrap_servers}
        },
        flink=QUICK,
        parallelism=2,
    )
    seen = workshop.freshet("check", file)
    assert "my notes has 1,200 files; left out: 1 names that begin with a dot; 'out' in" in seen
    with workshop.running(file) as job:
        equal(workshop, docs)
        _change(docs, 0)
        equal(workshop, docs)
        _checkpointed(workshop)
        kill(job)
    # what happens while nobody looks
    _change(docs, 100)
    with workshop.running(file) as job:
        equal(workshop, docs)
        assert "resuming from" in workshop.printed()
        (docs / "broken.pdf").write_bytes(b"%PDF-1.7 and no more")
        eventually(workshop.has_letters, "a dead letter")
        (docs / "broken.pdf").unlink()
        _change(docs, 200)
        equal(workshop, docs)
        _ended(job)
    assert [headers["freshet.document"] for _, _, headers in workshop.letters()] == [b"notes/broken.pdf"]


def test_files_that_take_longer_than_a_checkpoint_may(workshop: Workshop) -> None:
    docs = workshop.folder / "notes"
    docs.mkdir()
    for number in range(6):
        (docs / f"slow {number}.pdf").write_bytes(slow_pdf())
    (docs / "many.csv").write_text("id,text\n" + "".join(f"{number},row {number}\n" for number in range(95_000)))
    file = workshop.pipeline(
        source={"file": {"path": "notes"}},
        format={"files": {"key": ["id"]}},
        documents={"notes": {"text": "{text}", "metadata": ["key"]}},
        flink=QUICK | {"execution.checkpointing.timeout": "60 s"},
        dead_letters={
            "kafka": {
                "topic": workshop.dead_letters,
                "properties.bootstrap.servers": workshop.bootstrap_servers,
            }
        },
    )
    with workshop.running(file) as job:
        eventually(lambda: workshop.prepared() and bool(workshop.rows(_ROWS_OF_MANY)), "the first rows of many")
        for number in range(20):
            (docs / f"neighbour {number}.md").write_text(f"It says {number}.")
        eventually(lambda: len(workshop.rows(_NEIGHBOURS)) == 20, "the neighbours")
        for _ in range(3):
            _checkpointed(workshop)
        job.send_signal(signal.SIGTERM)
        assert job.wait(90) == 0, workshop.printed()[-2000:]
    (savepoint,) = (workshop.folder / ".freshet" / "pipelines" / "documents" / "savepoints").iterdir()
    assert f"resumes from {savepoint.name}" in workshop.printed()
    assert len(workshop.rows("SELECT document_id, ordinal, text FROM documents")) < 95_000


_NEIGHBOURS = "SELECT document_id, ordinal, text FROM documents WHERE text LIKE 'It says %'"
_ROWS_OF_MANY = "SELECT document_id, ordinal, text FROM documents WHERE text LIKE 'row %' LIMIT 1"


def _change(docs: Path, first: int) -> None:
    """Some come, some change, some go, one moves."""
    files = sorted(docs.glob("*.md"))
    for number, path in enumerate(files[first : first + 60]):
        if number % 3 == 0:
            path.unlink()
        elif number % 3 == 1:
            path.write_text(f"# Edited\n\n{path.name} was edited after {first}.\n")
        else:
            (docs / "sub" / path.name).write_text("# A copy\n\nof another note\n")
    files[first + 70].rename(docs / "sub" / f"moved {first}.md")


def _checkpointed(workshop: Workshop) -> None:
    checkpoints = workshop.folder / ".freshet" / "pipelines" / "documents" / "checkpoints"
    before = set(checkpoints.glob("*/chk-*"))
    eventually(lambda: len(set(checkpoints.glob("*/chk-*/_metadata")) - before) > 0, "a checkpoint")


def _ended(job: Job) -> None:
    assert job.poll() is None, "the job goes on after a dead letter"
