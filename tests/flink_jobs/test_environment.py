"""The Python inside the JVM: that of the environment which starts the job, whatever else is on the path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from core.config_file import load
from flink_jobs.environment import local_options
from tests.cli.test_status import PIPELINE

ROOT = Path(__file__).parents[2]
JOB = """
import sys
from pyflink.common import Types
from flink_jobs.environment import local_environment

options = {"python.execution-mode": "thread", "python.executable": sys.executable}
environment = local_environment({**options, "python.client.executable": sys.executable})
environment.from_collection([1], Types.INT()).map(lambda n: __import__("ssl").__file__, Types.STRING()).print()
environment.execute("probe")
"""


def test_a_pipelines_own_options_open_what_they_name(tmp_path: Path) -> None:
    def options(flink: str) -> dict[str, str]:
        (tmp_path / "pipeline.yaml").write_text(PIPELINE + flink, encoding="utf-8")
        return local_options(load(tmp_path / "pipeline.yaml"), tmp_path, [], None)

    closed = options("")
    opened = options('flink: {web.submit.enable: "true", taskmanager.bind-host: 0.0.0.0}\n')
    assert {name for name in closed if closed[name] != opened[name]} == {"web.submit.enable", "taskmanager.bind-host"}
    assert {closed[name] for name in closed if name.endswith(("bind-host", "bind-address"))} == {"127.0.0.1"}


def test_another_python_first_on_the_path_lends_it_no_library(tmp_path: Path) -> None:
    other = tmp_path / "bin" / "python3"
    # what an installation is known by
    library = tmp_path / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "os.py"
    for file in (other, library):
        file.parent.mkdir(parents=True)
        file.touch(0o755)
    path = os.pathsep.join([str(other.parent), os.environ["PATH"]])
    ran = subprocess.run(
        [sys.executable, "-c", JOB],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert str(Path(sys.base_prefix)) in ran.stdout, ran.stdout + ran.stderr
    assert str(tmp_path) not in ran.stdout
