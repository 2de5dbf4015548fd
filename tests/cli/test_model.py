"""`freshet model serve` on the command line: what it refuses, and what it says of itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from statistics import median

import httpx
import pytest

from tests.model_server import model_server

ROOT = Path(__file__).parents[2]


def failing(*arguments: str) -> str:
    command = [sys.executable, "-m", "cli", "model", "serve", *arguments]
    wide = {**os.environ, "COLUMNS": "250"}
    ran = subprocess.run(command, cwd=ROOT, env=wide, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode != 0
    return ran.stdout + ran.stderr


def test_a_file_without_a_key_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("\n \n", encoding="utf-8")
    assert "has no key: write one a line" in failing("--model=hash", "--api-key-file", str(tmp_path / "keys"))


def test_a_model_that_is_not_there_is_named() -> None:
    assert "embedding.model: '/no/such': there is no such folder" in failing("--model=/no/such")


def test_an_address_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "address already in use" in failing("--model=hash", f"--port={taken.getsockname()[1]}").lower()


@pytest.mark.parametrize("number", [2, 15])
def test_it_says_where_it_is_and_that_everyone_is_let_in_and_ends(tmp_path: Path, number: int) -> None:
    with model_server(tmp_path, "--model=hash") as running:
        assert running.described == "hash on cpu, float32, 384 dimensions"
        assert httpx.post(f"{running.url}/embeddings", json={"input": "a"}).status_code == 200
        assert running.stop(number) == 0
    assert running.log.read_text(encoding="utf-8") == ""


def test_an_answer_does_not_wait_for_the_clients_kernel(tmp_path: Path) -> None:
    """Nagle's algorithm and delayed ACKs together cost 40 ms a request."""
    with model_server(tmp_path, "--model=hash") as running, httpx.Client() as client:
        taken = [
            client.post(f"{running.url}/embeddings", json={"input": f"{number}"}).elapsed.total_seconds()
            for number in range(41)
        ]
    assert median(taken) < 0.03
