"""A small benchmark, end to end, as a user runs it. It measures nothing worth telling; it shows that it measures."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from bench import shares
from bench.figures import Measurement, percentiles
from bench.shares import cpu_seconds, of_server
from bench.showing import measurable
from core.errors import ConfigError
from stack.local import Connect, Kafka, Postgres, Server, Stack
from udfs.embedding import engines


@pytest.mark.jobs
def test_the_machinery_and_its_latency_without_a_model(stack: Stack, tmp_path: Path) -> None:
    folder = stack.folder.parents[1]
    found = bench(
        folder, tmp_path / "figures.json", "machinery_changes_per_second", "topic_to_row_ms", "search_over_bare"
    )

    assert found["machinery_changes_per_second"] > 0
    assert found["machinery_recorded_changes_per_second"] > 0
    assert found["machinery_with_schemas_changes_per_second"] > 0
    for machinery in (found["machinery"], found["machinery_with_schemas"], found["machinery_recorded"]):
        assert 0 < machinery["changes"] < 3000
        shares = machinery["shares"]
        assert shares["cpu"]["PostgreSQL"] > 0
        all_of_it = sum(shares["cpu"].values()) + shares["others"] + shares["idle"]
        # two clocks, one of which ticks a hundred times a second
        assert all_of_it == pytest.approx(shares["cores"] * shares["seconds"], rel=0.1, abs=0.2)
        # measured every 5 s, so mostly 0
        assert all(0 <= busy <= 1 for busy, _ in shares["vertex"].values())
    latency = found["topic_to_row_ms"]
    assert latency["n"] == 40
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
    asking = found["asking"]["pgvector"]
    assert asking["chunks"] == 2000
    assert found["search_over_bare"] == asking["vector_ms"] / asking["bare_ms"] > 0.3
    assert 0 < found["server_own_ms"] < asking["query_ms"] < 1000 * found["first_answer_s"] + 1000
    assert 0 < asking["empty_ms"] < asking["vector_ms"]
    answering = asking["answering"]
    assert found["context_beside_search_ms"] == answering["context_ms"] - answering["search_ms"]
    own = answering["first_token_ms"] - answering["search_ms"] - answering["model_ms"]
    assert found["chat_own_ms"] == own and answering["model_ms"] > 0
    assert found["wait_for_ms"]["n"] == 60
    assert 0 < found["wait_for_ms"]["p50"] <= found["wait_for_ms"]["p99"]
    assert found["machine"]["cores"] == os.cpu_count()
    assert not list((folder / ".freshet" / "pipelines").glob("bench*"))


def test_what_an_edit_history_saves_needs_no_server(tmp_path: Path) -> None:
    found = bench(tmp_path, tmp_path / "figures.json", "embeddings_saved", articles=60)

    savings = found["savings"]
    assert 0.5 < found["embeddings_saved"] < 1
    assert savings["share"] == 1 - savings["chunks_embedded"] / savings["chunks_of_all_versions"]
    assert not (tmp_path / ".freshet").exists()


def test_the_engine_against_encode_needs_no_server(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    found = bench(tmp_path, tmp_path / "figures.json", "engine_over_float32_encode", articles=8)

    engine = found["engine"]
    assert found["engine_over_float32_encode"] == max(each["ratio"] for each in engine["precisions"].values()) > 0
    assert engine["chunks"] >= 8 and engine["rounds"] == 3
    assert engine["precisions"]["float32"]["cosine"] > 1 - 1e-5
    assert all(each["cosine"] > 0.999 for each in engine["precisions"].values())
    assert not (tmp_path / ".freshet").exists()


def test_what_is_compared_with_torch_is_left_out_where_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    console, wanted = Console(file=shown, width=300), [Measurement.SAVINGS, Measurement.ENGINE]
    assert measurable(wanted, console) == wanted
    monkeypatch.setattr(engines, "is_installed", lambda module: module != "torch")
    assert measurable(wanted, console) == [Measurement.SAVINGS]
    assert "left out: engine_over_float32_encode needs torch" in shown.getvalue()
    with pytest.raises(ConfigError, match="FRESHET_TORCH=yes"):
        measurable([Measurement.ENGINE], console)


def test_percentiles_lie_between_the_latencies() -> None:
    found = percentiles([0.001 * number for number in range(101)])

    assert [round(value, 6) for value in (found.p50, found.p95, found.p99)] == [50, 95, 99]


FORKS = """
import os, time
child = os.fork()
while time.process_time() < 0.2:
    pass
if child:
    os.read(0, 1)
    os.kill(child, 9)
    os.waitpid(child, 0)
    print("ended", flush=True)
    os.read(0, 1)
time.sleep(600)  # the child: what is written is for its parent
"""


def test_what_a_server_spent_does_not_fall_when_one_of_its_processes_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None and server.stdout is not None
        found = psutil.Process(server.pid)
        while of_server(found) < 0.3:
            time.sleep(0.05)
        before = of_server(found)
        server.stdin.write(b"x")
        server.stdin.flush()
        assert server.stdout.readline() == b"ended\n"
        assert of_server(found) >= before
        server.kill()


def test_a_server_that_the_bench_has_started_counts_once() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        server, none = Server(True, busy.pid, 0, Path()), Server(False, None, 0, Path())
        postgres = Postgres("", server)
        stack = Stack(Path(), postgres, Kafka("", none), Connect("", none), None, None)
        before = cpu_seconds(stack)  # other tests' servers may be children of this process as well
        while of_server(psutil.Process(busy.pid)) < before["PostgreSQL"] + 0.6:
            time.sleep(0.05)
        found = cpu_seconds(stack)
        busy.kill()
    others = [spent - before[name] for name, spent in found.items() if name not in ("this process", "PostgreSQL")]
    assert found["PostgreSQL"] >= before["PostgreSQL"] + 0.6 > 2 * sum(others)


def test_shares_are_taken_where_a_system_counts_no_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    of_macos = namedtuple("of_macos", ["user", "nice", "system", "idle"])
    monkeypatch.setattr(shares.psutil, "cpu_times", lambda: of_macos(1.5, 0.25, 2.0, 90.0))
    assert shares._machine_seconds() == 3.75


def bench(folder: Path, file: Path, *names: str, articles: int = 300) -> Any:
    """Run the command in a folder with a stack; the JSON it writes."""
    only = [word for name in names for word in ("--only", name)]
    sizes = ["--changes", "2000", "--seconds", "2", "--documents", str(articles)]
    command = [sys.executable, "-m", "cli", "bench", *only, "--json", str(file), *sizes]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=480, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(file.read_text())
