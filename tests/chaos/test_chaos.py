"""Chaos: what a seed decides, that a difference is seen, and two rounds as a user starts them."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from uuid import uuid4

import numpy as np
import pytest

from chaos import world
from chaos.compare import details, settle
from chaos.debezium import ARTICLES, FAULTS, NOTES, Debezium
from chaos.evidence import keep
from chaos.items import Items
from chaos.job import Job
from chaos.objects import Objects
from chaos.patience import Patience
from chaos.playing import chaos_faults, chaos_feed, chaos_stores
from chaos.rounds import Round
from chaos.rows import DMS, KINESIS, ROWS
from chaos.strikes import Fault, possible, strikes
from chaos.writers import plans
from core.change import Position
from core.errors import FreshetError
from core.plans import Chunk, Plan, chunk_id
from core.stores.verification import Kind
from operations.servers import stores
from stack import local as local_stack
from stack.local import Stack


def test_a_seed_decides_what_writers_do_and_what_fails() -> None:
    for seed in range(20):
        one, other = ([*plans(Random(seed), 4, 1.0), *strikes(Random(seed), 4.0, FAULTS)] for _ in range(2))
        assert one == other
    assert plans(Random(1), 1, 1.0) != plans(Random(2), 1, 1.0)


def test_every_fault_comes_and_none_to_a_server_that_is_not_there() -> None:
    for there in (("pgvector",), ("pgvector", "opensearch"), ("pgvector", "opensearch", "milvus")):
        for faults in (Debezium.faults, FAULTS, DMS.faults, KINESIS.faults, ROWS.faults, Items.faults, Objects.faults):
            seen = {
                strike.fault for seed in range(500) for strike in strikes(Random(seed), 4.0, possible(faults, there))
            }
            away = tuple(name for name in ("OpenSearch", "Milvus") if name.lower() not in there)
            without = {fault for fault in Fault if fault.startswith(away)}
            assert seen == set(faults) - without
    of_all = {*Debezium.faults, *DMS.faults, *KINESIS.faults, *ROWS.faults, *Items.faults, *Objects.faults}
    assert of_all == set(Fault)


def test_the_writers_do_all_that_a_stream_can_tell() -> None:
    written = [
        statement.sql.split()[0:2]
        for seed in range(20)
        for plan in plans(Random(seed), 4, 4.0)
        for transaction in plan
        for statement in transaction.statements
    ]
    for words in (["INSERT", "INTO"], ["UPDATE", "articles"], ["UPDATE", "notes"], ["DELETE", "FROM"]):
        assert written.count(words) > 100
    assert any(words[0] == "TRUNCATE" for words in written)
    assert ["ROLLBACK", "TO"] in written


def test_stores_are_named() -> None:
    assert chaos_stores("opensearch, pgvector", "dms") == ("opensearch", "pgvector")
    assert chaos_stores(None, "debezium") == ("pgvector", "opensearch")
    assert chaos_stores(None, "dms") == ("pgvector",)
    assert chaos_stores(None, "feedback") == ("postgres",)
    with pytest.raises(FreshetError, match="'pgvector', must be of postgres"):
        chaos_stores("pgvector", "feedback")
    with pytest.raises(FreshetError, match="'pinecone', must be of"):
        chaos_stores("pinecone", "debezium")


def test_feeds_are_named() -> None:
    assert chaos_feed("dms") == "dms"
    with pytest.raises(FreshetError, match="'carrier pigeon', must be one of debezium, dms, kinesis, dynamodb, s3, "):
        chaos_feed("carrier pigeon")


def test_faults_are_named() -> None:
    assert chaos_faults(None, "rows", ("pgvector",)) == ()
    assert chaos_faults("topics made anew, job killed", "rows", ("pgvector",)) == (Fault.TOPIC, Fault.JOB)
    with pytest.raises(FreshetError, match="'database restored', must be of rows's: worker killed, "):
        chaos_faults("database restored", "rows", ("pgvector",))
    with pytest.raises(FreshetError, match="'OpenSearch killed', must be of"):
        chaos_faults("OpenSearch killed", "debezium", ("pgvector",))


@pytest.fixture
def here(stack: Stack, tmp_path: Path) -> Iterator[world.World]:
    made = world.make(stack, tmp_path, f"chaos_{uuid4().hex[:6]}", ("pgvector",), Random(1), Debezium, None)
    yield made
    world.end(made)


def test_what_differs_is_seen_explained_and_kept(here: world.World, tmp_path: Path) -> None:
    ghost, text = f"{ARTICLES}/100000", "nobody wrote this"
    chunk = Chunk(chunk_id(ghost, "hash", "c", text, 0), 0, text)
    (store,) = stores(here.pipeline).values()
    store.apply([Plan(ghost, Position("1"), (chunk.chunk_id,), (chunk,))], [np.eye(1, 384, dtype=np.float32)])
    store.close()
    found = settle(here, Patience(1.0, 1.0))  # no job runs, so nothing else comes
    kinds = {difference.kind for _, difference in found.differences}
    assert kinds == {Kind.MISSING, Kind.GHOST}
    assert [each.document_id for _, each in found.differences if each.kind is Kind.GHOST] == [ghost]
    assert "markers in pgvector" in found.waited_for
    assert details(here, ghost).ledgers["pgvector"].startswith(f"{ghost} at 1")
    missing = next(each.document_id for _, each in found.differences if each.document_id.startswith(NOTES))
    assert " op r " in details(here, missing).events[0] or " op c " in details(here, missing).events[0]

    job = Job(here, tmp_path)
    (job.home / "log").mkdir(parents=True)
    (job.home / "log" / "flink.log").write_text("said", encoding="utf-8")
    assert (job.read(), found.late) == (0, False)
    kept = keep(here, job, Round(3, 9.0, 5, (), found, (), ("a note",)), tmp_path)
    summary = json.loads((kept / "round.json").read_text(encoding="utf-8"))
    assert (summary["verdict"], summary["round"], summary["notes"]) == ("DIFFERS", 3, ["a note"])
    assert {each["kind"] for each in summary["differences"]} == {"missing", "ghost"}
    assert (kept / "pipeline" / "log" / "flink.log").read_text(encoding="utf-8") == "said"
    assert ghost in gzip.decompress((kept / "ledger.csv.gz").read_bytes()).decode()
    assert text in gzip.decompress((kept / "chunks.csv.gz").read_bytes()).decode()
    events = [file for file in kept.glob("*.jsonl.gz") if gzip.decompress(file.read_bytes())]
    assert events and (kept / here.file.name).exists() and (kept / "documents.json").exists()


@pytest.mark.timeout(1200)
def test_two_rounds_end_equal(tmp_path: Path) -> None:
    # named, so that a strike that is new doesn't change which are drawn, and how long the rounds take
    faults = "Postgres frozen, Kafka killed, Kafka frozen, worker killed"
    command = [sys.executable, "-m", "cli", "chaos", "--seed", "1", "--rounds", "2", "--stores", "pgvector"]
    command += ["--fault", faults]
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "250"}
    try:
        ran = subprocess.run(
            [*command, "--dir", str(tmp_path)], env=environment, capture_output=True, text=True, timeout=1180
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert ran.stdout.count("  equal  ") == 2
        assert "0 differences, 0 dead letters" in ran.stdout
        assert not local_stack.status(tmp_path).running
    finally:
        local_stack.down(tmp_path, wipe=True)
