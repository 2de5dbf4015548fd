"""What is kept of a round that didn't end equal, where the run goes on: a folder that tells all that was seen."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from chaos.compare import details
from chaos.job import Job
from chaos.rounds import Round
from chaos.world import World
from connectors.kafka import source as kafka
from connectors.kafka.topics import ends, messages, reading
from connectors.opening.dead_letters import place_of_letters
from core.config.source import Kafka
from core.config.store import Pgvector
from core.errors import FreshetError
from terminal.plain import json_bytes

_EXPLAINED = 50
_STORED = {
    "ledger": ("_ledger", "COPY (SELECT * FROM {} ORDER BY document_id) TO STDOUT (FORMAT csv, HEADER)"),
    "chunks": ("", "COPY (SELECT document_id, ordinal, text FROM {} ORDER BY 1, 2) TO STDOUT (FORMAT csv, HEADER)"),
}


def keep(world: World, job: Job, found: Round, folder: Path) -> Path:
    """Write what is known of the round into a folder of its own below `folder`, and say where.

    The job's state is copied while it runs, and a checkpoint may be deleted under the copy: those that are whole have
    a _metadata file. What a server that is away doesn't tell is left out.
    """
    place = folder / "evidence" / f"{world.name}-round-{found.number}"
    place.mkdir(parents=True, exist_ok=True)
    differences = [{"store": store, "document": each.document_id, "kind": each.kind, "what": each.what}
            for store, each in found.found.differences]  # fmt: skip
    _json(place / "round.json", {
        "round": found.number, "verdict": found.verdict, "strikes": [str(each) for each in found.strikes],
        "waited_for": found.found.waited_for, "differences": differences, "notes": found.notes, "wrong": found.wrong,
        "letters": [dict(each.details) for each in found.letters],
    })  # fmt: skip
    shutil.copy(world.file, place)
    for log in folder.glob(f"{world.name}-run-*.log"):
        shutil.copy(log, place)
    with suppress(shutil.Error, OSError):
        shutil.copytree(job.home, place / "pipeline", dirs_exist_ok=True)
    with suppress(FreshetError, psycopg.Error):
        _stored(world, place)
    with suppress(FreshetError):
        _topics(world, place)
    with suppress(FreshetError, psycopg.Error):
        documents = list(dict.fromkeys(each.document_id for _, each in found.found.differences))[:_EXPLAINED]
        _json(place / "documents.json", {name: _explained(world, name) for name in documents})
    return place


def _explained(world: World, document: str) -> dict[str, Any]:
    known = details(world, document)
    return {"ledgers": dict(known.ledgers), "events": list(known.events)}


def _stored(world: World, place: Path) -> None:
    if world.pipeline.store.pgvector is None:
        return
    for name, (suffix, statement) in _STORED.items():
        table = sql.Identifier(world.pipeline.store.of(Pgvector).table + suffix)
        with (
            psycopg.connect(world.place.dsn, connect_timeout=5) as connection,
            connection.cursor() as cursor,
            gzip.open(place / f"{name}.csv.gz", "wb") as file,
            cursor.copy(sql.SQL(statement).format(table)) as rows,
        ):
            for row in rows:
                file.write(row)


def _topics(world: World, place: Path) -> None:
    sources = [(world.pipeline.letters, place_of_letters(world.pipeline).name)]
    if world.pipeline.reads_kafka:
        sources += [(world.pipeline.kafka, topic) for topic in kafka.check(world.pipeline.kafka)]
    for cluster, topic in sources:
        with gzip.open(place / f"{topic}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(each) + "\n" for each in _messages(cluster, topic))


def _messages(cluster: Kafka, topic: str) -> Iterator[dict[str, Any]]:
    with reading(cluster) as consumer:
        for each in messages(consumer, cluster, topic, ends(consumer, cluster, topic)):
            yield {
                "topic": topic, "partition": each.partition, "offset": each.offset, "time_ms": each.time_ms,
                "key": json_bytes(each.key), "value": json_bytes(each.value),
                "headers": [[name, json_bytes(raw)] for name, raw in each.headers],
            }  # fmt: skip


def _json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
