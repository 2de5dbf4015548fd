"""A pipeline as a Flink cluster of its own, as the FlinkDeployment's pods run it, with its checkpoints in S3."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pyflink
import pytest
import yaml

from connectors.aws.client import Aws
from deploy.docker import s3_plugin
from flink_jobs.running.target import TargetJob
from operations.rehearsal.cluster import Python, environment
from stack.layout import free_port
from tests.aws import moto_server
from tests.deploy.test_kubernetes import SPECS
from tests.flink_jobs.conftest import Workshop, eventually, workshop
from tests.flink_jobs.events import envelope, key, row
from tests.flink_jobs.test_target import with_python_in_lib
from tests.pages import ROOT
from tests.replay import differences, true_documents
from udfs.pinned import JARS, cache

__all__ = ["workshop"]

SPEC = SPECS["application"]
_OF_KUBERNETES = ("kubernetes.", "high-availability.", "fs.s3a.aws.credentials.provider", "env.java.opts.", "metrics.")
"""Options of the manifest that mean nothing without Kubernetes, say who one is on AWS, or take a port for both."""


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with moto_server() as server:
        yield server


@dataclass(frozen=True)
class Application:
    """Where the cluster's processes have their configuration, folders and environment."""

    folder: Path
    environment: Mapping[str, str]
    rest: str

    @contextmanager
    def running(self, file: Path, savepoint: str | None = None) -> Iterator[TargetJob]:
        """JobManager and TaskManager, from the manifest's words to the end of the block; the cluster's only job."""
        *words, _file = SPEC["job"]["args"]
        resumed = [] if savepoint is None else ["--fromSavepoint", savepoint]
        of_job = ["--job-classname", SPEC["job"]["entryClass"], *resumed, *words, str(file)]
        processes = [self._started("standalone-job", *of_job), self._started("taskmanager")]
        try:
            yield TargetJob(self.rest, self._job(processes[0]))
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(30)

    def _started(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log" / f"{name}.out").open("ab") as out:
            return subprocess.Popen(
                [f"{self.environment['FLINK_HOME']}/bin/{name}.sh", "start-foreground", *arguments],
                cwd=self.folder, env=dict(self.environment), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip

    def _job(self, process: subprocess.Popen[bytes]) -> str:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and process.poll() is None:
            # until a leader is elected the answer is an error's
            with suppress(httpx.HTTPError, ValueError, KeyError):
                found = httpx.get(f"{self.rest}/jobs", timeout=2).json()["jobs"]
                if found and found[0]["status"] == "RUNNING":
                    return str(found[0]["id"])
            time.sleep(0.2)
        raise AssertionError((self.folder / "log" / "standalone-job.out").read_text(errors="replace")[-6000:])


@pytest.fixture
def application(tmp_path: Path, aws: Aws) -> Application:
    boto3.client("s3", region_name=aws.region, endpoint_url=aws.endpoint).create_bucket(
        Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": aws.region}
    )
    packages, folder = with_python_in_lib(tmp_path / "packages"), tmp_path / "flink"
    for name in ("conf", "log", "tmp", "home"):
        (folder / name).mkdir(parents=True)
    s3_plugin.main(folder / "plugins")
    flink = Path(pyflink.__file__).parent
    for settings in (flink / "conf").glob("log4j*.properties"):
        (folder / "conf" / settings.name).write_bytes(settings.read_bytes())
    rest = free_port()
    (folder / "conf" / "config.yaml").write_text(yaml.safe_dump(configuration(folder, aws, rest)), encoding="utf-8")
    variables = environment(Python(Path(sys.executable), packages), folder) | {
        "FLINK_PLUGINS_DIR": str(folder / "plugins"),
        # Flink looks into no link for its JAR of Python
        "FLINK_OPT_DIR": str(flink / "opt"),
        # the image's Freshet is installed, and has its JARs in a cache of its own
        "PYTHONPATH": f"{packages}{os.pathsep}{ROOT}",
        "XDG_CACHE_HOME": str(cache(JARS).parents[1]),
    }
    return Application(folder, variables, f"http://127.0.0.1:{rest}")


def configuration(folder: Path, aws: Aws, rest: int) -> dict[str, Any]:
    """The manifest's, with addresses and places of this machine."""
    options = {name: value for name, value in SPEC["flinkConfiguration"].items() if not name.startswith(_OF_KUBERNETES)}
    shipped = yaml.safe_load((Path(pyflink.__file__).parent / "conf" / "config.yaml").read_text(encoding="utf-8"))
    return {
        **{name: value.replace("BUCKET", "bucket") for name, value in options.items()},
        "s3.endpoint": aws.endpoint,
        "s3.path.style.access": "true",
        "env.java.opts.all": shipped["env"]["java"]["opts"]["all"],
        "jobmanager.rpc.address": "127.0.0.1",
        "jobmanager.rpc.port": str(free_port()),
        "jobmanager.bind-host": "127.0.0.1",
        "jobmanager.memory.process.size": SPEC["jobManager"]["resource"]["memory"],
        "taskmanager.host": "127.0.0.1",
        "taskmanager.bind-host": "127.0.0.1",
        "taskmanager.memory.process.size": "1800m",
        "rest.address": "127.0.0.1",
        "rest.bind-address": "127.0.0.1",
        "rest.port": str(rest),
        "io.tmp.dirs": str(folder / "tmp"),
    }


@pytest.mark.timeout(600)
def test_the_pods_commands_end_in_the_true_table_and_go_on_from_a_savepoint_in_s3(
    workshop: Workshop, application: Application, aws: Aws
) -> None:
    file = workshop.pipeline(bounded=False)
    workshop.replay()
    with application.running(file) as job:
        eventually(lambda: workshop.prepared() and differences(workshop.rows(), true_documents()) == [], "the table")
        eventually(lambda: job.progress().checkpoints > 0, "a checkpoint")
        savepoint = stopped(job)
    s3 = boto3.client("s3", region_name=aws.region, endpoint_url=aws.endpoint)
    place = SPEC["flinkConfiguration"]["execution.checkpointing.savepoint-dir"].replace("BUCKET", "bucket")
    assert savepoint.startswith(f"{place}/savepoint-")
    prefixes = {each["Key"].split("/")[2] for each in s3.list_objects_v2(Bucket="bucket")["Contents"]}
    assert {"checkpoints", "savepoints"} <= prefixes
    before = {name: by for name, by, _ in written(workshop)}
    workshop.send(key(990_001), envelope(9_999_999_999_999, row(990_001, "After the savepoint")))
    with application.running(file, savepoint):
        eventually(lambda: len(written(workshop)) > len(before), "a change after the savepoint")
    after = {name: by for name, by, _ in written(workshop)}
    assert {name for name in after if after[name] != before.get(name)} == {"public.documents/990001"}


def written(workshop: Workshop) -> list[tuple[str, str, int]]:
    """Each document that the store knows of, with the transaction that wrote its entry."""
    found: list[Any] = workshop.rows(
        "SELECT document_id, xmin::text, 0 FROM documents_ledger WHERE document_id LIKE 'public.documents/%'"
    )
    return found


def stopped(job: TargetJob) -> str:
    """The savepoint with which the job was stopped as the operator does it: the cluster's configuration says where."""
    with httpx.Client(base_url=f"{job.rest}/jobs/{job.id}", timeout=10) as rest:
        trigger = rest.post("/stop", json={"drain": False}).raise_for_status().json()["request-id"]
        answer: dict[str, Any] = {}

        def is_there() -> bool:
            answer.update(rest.get(f"/savepoints/{trigger}").json())
            return bool(answer["status"]["id"] == "COMPLETED")

        eventually(is_there, "the savepoint")
    return str(answer["operation"]["location"])
