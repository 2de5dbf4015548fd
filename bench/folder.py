"""A watched folder: what large files take in memory, and how soon a change is seen among very many.

`python -m bench.folder large [FILES]`, on servers of its own in a folder that is forgotten: so many files of 15 MB, CSV
and lines of JSON by turns, lie in the folder as the job starts, each of 1,500 rows of 10 kB of which a title is
embedded. What the job holds is looked at twice a second until the last row is stored: the JVM, and the Python workers
with the sandboxes that files are parsed in.

`python -m bench.folder many [FILES]`: 50,000 notes, where not said, in 100 directories. When all are stored, notes are
edited one after the other, and the clock goes from the write to the committed rows; then nothing happens for two
minutes, and the processor time of the job's processes is taken. Beside it the same folder is watched by a bare
`FolderWatch`, whose own processor time that is.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql

from bench.rig import Rig, ledger, own_rig, pgvector, running
from connectors.folder.files import Folder
from connectors.folder.watch import FolderWatch
from core.config.pipeline import Pipeline
from core.errors import FreshetError
from flink_jobs.running.jobs import Job

_FOLDER = Path("watched")
_NAME = "notes"
_ROWS, _ROW_BYTES = 1_500, 10_000
_DIRECTORIES = 100
_EDITS = 20
_IDLE_S = 120.0
_STANDS_STILL_S = 300.0
_MIB = 2**20


def _pipeline(rig: Rig, text: str, kind: dict[str, Any]) -> Pipeline:
    servers = {"properties.bootstrap.servers": rig.stack.kafka.bootstrap_servers}
    return Pipeline.model_validate(
        {
            "name": f"{rig.prefix}-folder",
            "source": {"file": {"path": str(_FOLDER)}},
            "format": {"files": kind},
            "documents": {_NAME: {"text": text}},
            "embedding": {"model": "hash"},
            "store": {"pgvector": {"dsn": rig.dsn, "table": "watched"}},
            "dead_letters": {"kafka": {"topic": f"{rig.prefix}-folder.dead-letters", **servers}},
            "parallelism": 2,
        }
    )


def _rows(number: int) -> Iterator[dict[str, str]]:
    body = f"The body of a row of file {number}, which is read and not embedded. "
    body *= _ROW_BYTES // len(body)
    return ({"id": f"{number}-{row}", "title": f"row {row} of file {number}", "body": body} for row in range(_ROWS))


def _write_large(files: int) -> int:
    """Writes the files; how many bytes they have together."""
    _FOLDER.mkdir()
    for number in range(files):
        if number % 2:
            (_FOLDER / f"{number:03}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in _rows(number)))
        else:
            lines = ('{id},{title},"{body}"\n'.format(**row) for row in _rows(number))
            (_FOLDER / f"{number:03}.csv").write_text("id,title,body\n" + "".join(lines))
    return sum(each.stat().st_size for each in _FOLDER.iterdir())


def _write_many(files: int) -> None:
    for number in range(files):
        file = _note(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# Note {number}\n\nIt says {number}.\n")


def _note(number: int) -> Path:
    return _FOLDER / f"{number % _DIRECTORIES:02}" / f"{number:06}.md"


def _processes() -> tuple[list[psutil.Process], list[psutil.Process]]:
    """The job's JVM, and its Python workers with what they parse in; not the servers beside it."""
    jvm: list[psutil.Process] = []
    others: dict[int, psutil.Process] = {}
    for each in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            command = " ".join(each.cmdline())
            if "PythonGatewayServer" in command:
                jvm.append(each)
            if "PythonGatewayServer" in command or "fn_execution" in command:
                others.update((child.pid, child) for child in (each, *each.children(recursive=True)))
    return jvm, [each for pid, each in others.items() if pid not in {java.pid for java in jvm}]


def _held(processes: list[psutil.Process]) -> int:
    total = 0
    for each in processes:
        with suppress(psutil.Error):
            total += each.memory_info().rss
    return total


def _processor_s(processes: list[psutil.Process]) -> float:
    total = 0.0
    for each in processes:
        with suppress(psutil.Error):
            times = each.cpu_times()
            total += times.user + times.system
    return total


def _until_stored(pipeline: Pipeline, wanted: int, job: Job, look: Callable[[], None]) -> float:
    """Seconds until so many documents are stored; looks twice a second meanwhile."""
    began = grew = time.monotonic()
    there = 0
    count = sql.SQL("SELECT count(*) FROM {}").format(ledger(pipeline))
    with psycopg.connect(pgvector(pipeline).dsn, autocommit=True) as connection:
        while there < wanted:
            time.sleep(0.5)
            look()
            ((now,),) = connection.execute(count).fetchall()
            if now > there:
                there, grew = now, time.monotonic()
            if time.monotonic() > grew + _STANDS_STILL_S or job.ended():
                raise FreshetError(f"bench: {there:,} of {wanted:,} documents came; {job.progress()}")
    return time.monotonic() - began


def large(rig: Rig, files: int) -> None:
    """Prints what the job held at most."""
    size = _write_large(files)
    pipeline = _pipeline(rig, "{title}", {"key": ["id"]})
    most = [0, 0]

    def look() -> None:
        for at, processes in enumerate(_processes()):
            most[at] = max(most[at], _held(processes))

    with running(pipeline) as job:
        look()
        before = list(most)
        seconds = _until_stored(pipeline, files * _ROWS, job, look)
    print(
        f"{files} files, {size / 1e6:.0f} MB, {files * _ROWS:,} rows stored in {seconds:.0f} s; load {_load()}\n"
        f"at most {most[0] // _MIB} MiB in the JVM and {most[1] // _MIB} in workers and sandboxes; "
        f"{before[0] // _MIB} and {before[1] // _MIB} as it began"
    )


def many(rig: Rig, files: int) -> None:
    """Prints how soon edits are stored, and what it takes to watch."""
    _write_many(files)
    pipeline = _pipeline(rig, "{text}", {})
    with running(pipeline) as job:
        seconds = _until_stored(pipeline, files, job, lambda: None)
        print(f"{files:,} files stored in {seconds:.0f} s; load {_load()}", flush=True)
        time.sleep(5)
        seen = sorted(map(partial(_seen_after_s, pipeline), range(0, files, max(1, files // _EDITS))))
        median = statistics.median(seen)
        print(f"{len(seen)} edits stored after {median:.2f} s in the median, {seen[-1]:.2f} at most; load {_load()}")
        processes = [each for some in _processes() for each in some]
        before = _processor_s(processes)
        time.sleep(_IDLE_S)
        print(f"idle, the job takes {100 * (_processor_s(processes) - before) / _IDLE_S:.1f} % of a processor")
    _watch_alone()


def _seen_after_s(pipeline: Pipeline, number: int) -> float:
    said = f"It says something else now, {number} and {time.time_ns()}."
    table = sql.Identifier(pgvector(pipeline).table)
    chunk = sql.SQL("SELECT count(*) FROM {} WHERE document_id = %s AND text LIKE %s").format(table)
    document = f"{_NAME}/{_note(number).relative_to(_FOLDER).as_posix().replace('/', '%2F')}"
    began = time.monotonic()
    _note(number).write_text(f"# Note {number}\n\n{said}\n")
    with psycopg.connect(pgvector(pipeline).dsn, autocommit=True) as connection:
        for _ in repeat(None):
            ((found,),) = connection.execute(chunk, (document, f"%{said}%")).fetchall()
            if found or time.monotonic() > began + _STANDS_STILL_S:
                break
            time.sleep(0.02)
    return time.monotonic() - began


def _watch_alone() -> None:
    watch = FolderWatch(Folder(str(_FOLDER), _NAME))
    known: dict[str, str] = {}
    began, processor = time.monotonic(), time.process_time()
    for _ in range(2):
        known |= {key: found.etag or "" for key, found in watch.changes(known) if found is not None}
    listed = time.process_time() - processor
    began, processor = time.monotonic(), time.process_time()
    while time.monotonic() < began + _IDLE_S:
        if watch.changes(known):
            raise FreshetError("bench: something has changed in the folder")
    share = 100 * (time.process_time() - processor) / (time.monotonic() - began)
    watch.close()
    print(f"{len(known):,} files listed twice in {listed:.2f} s of a processor; watched, idle, {share:.2f} % of one")


def _load() -> str:
    return f"{os.getloadavg()[0]:.0f}"


def main(what: str = "large", files: str = "") -> None:
    """Starts the servers and measures in a folder of its own, which is forgotten."""
    with own_rig() as bench:
        if what == "large":
            large(bench, int(files or 30))
        else:
            many(bench, int(files or 50_000))


if __name__ == "__main__":
    main(*sys.argv[1:])
