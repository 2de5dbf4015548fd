"""The job on a session cluster: submitted with its code, watched, left alone, found again and stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from operations.rehearsal.cluster import Cluster, Python, cluster
from tests.flink_jobs.conftest import FRESHET, Workshop, eventually, kill
from tests.flink_jobs.events import envelope, key, row
from tests.replay import differences, true_documents


def with_python_in_lib(folder: Path) -> Path:
    """This Python's packages by links, but that Flink's lib has flink-python, as a session cluster's must."""
    packages, flink = Path(sysconfig.get_path("purelib")), folder / "pyflink"
    for place, ours in (
        (packages, folder),
        (packages / "pyflink", flink),
        (packages / "pyflink" / "lib", flink / "lib"),
    ):
        ours.mkdir(parents=True, exist_ok=True)
        for each in place.iterdir():
            if each not in (packages / "pyflink", packages / "pyflink" / "lib"):
                (ours / each.name).symlink_to(each)
    for jar in (packages / "pyflink" / "opt").glob("flink-python-*.jar"):
        (flink / "lib" / jar.name).symlink_to(jar)
    return folder


@pytest.fixture
def flink(tmp_path: Path) -> Iterator[Cluster]:
    """JobManager and TaskManager with this Python's packages, and without ours."""
    packages = with_python_in_lib(tmp_path / "packages")
    with cluster(Python(Path(sys.executable), packages), tmp_path / "flink", 1) as made:
        yield made


@contextmanager
def running(workshop: Workshop, target: str) -> Iterator[subprocess.Popen[str]]:
    with (workshop.folder / "run.log").open("w", encoding="utf-8") as log:
        command = [*FRESHET, "run", "pipeline.yaml", "--target", target]
        job = subprocess.Popen(command, cwd=workshop.folder, stdout=log, stderr=log, text=True, start_new_session=True)
        try:
            yield job
        finally:
            kill(job)


def jobs(flink: Cluster) -> list[str]:
    """The states of all the cluster's jobs."""
    return sorted(job["status"] for job in httpx.get(f"{flink.rest}/jobs").json()["jobs"])


@pytest.mark.timeout(240)
def test_a_job_on_a_cluster_outlives_who_submitted_it_and_stops_with_a_savepoint(
    workshop: Workshop, flink: Cluster
) -> None:
    workshop.pipeline(bounded=False)
    workshop.replay()
    target = flink.rest.removeprefix("http://")
    with running(workshop, target) as first:
        eventually(lambda: "applied" in workshop.printed() or first.poll() is not None, "the first changes")
        assert first.poll() is None, workshop.printed()
    assert "starting without earlier state" in workshop.printed()
    # killed with all that it had started here: the job is the cluster's
    eventually(
        lambda: workshop.prepared() and not differences(workshop.rows(), true_documents()),
        "the documents of the workload",
    )
    with running(workshop, target) as second:
        eventually(lambda: "runs on" in workshop.printed() and " changes" in workshop.printed(), "the job to be found")
        second.send_signal(signal.SIGINT)
        assert second.wait(60) == 0, workshop.printed()
    assert jobs(flink) == ["FINISHED"]
    (savepoint,) = (workshop.folder / ".freshet" / "pipelines" / "documents" / "savepoints").iterdir()
    assert f"resumes from {savepoint.name}" in workshop.printed()
    before = len(workshop.rows())
    workshop.send(key(990_001), envelope(9_999_999_999_999, row(990_001, "After the savepoint")))
    with running(workshop, target) as third:
        eventually(
            lambda: len(workshop.rows()) > before or "restarting" in workshop.printed() or third.poll() is not None,
            "a change after the savepoint",
        )
        assert f"resuming from {savepoint.name}" in workshop.printed()
        assert len(workshop.rows()) == before + 1, workshop.printed()


@pytest.mark.parametrize("target", ["localhost", "localhost:", ":8081", "http://localhost:8081/", "localhost:http"])
def test_an_address_of_another_form_is_refused(workshop: Workshop, target: str) -> None:
    from core.errors import ConfigError
    from operations.run_target import address

    with pytest.raises(ConfigError, match="host:port"):
        address(target)


def test_a_cluster_that_is_not_there_is_reported(workshop: Workshop) -> None:
    workshop.pipeline()
    printed = workshop.freshet("run", "pipeline.yaml", "--target", "127.0.0.1:1", ok=False)
    assert "no Flink cluster answers at http://127.0.0.1:1" in printed
