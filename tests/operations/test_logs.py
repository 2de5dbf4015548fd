"""How a run's JVM logs: by a real one, without a job."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOGS = """
from pathlib import Path
from operations.resuming import log_to
from core.config.file import load
log_to(load(Path("pipeline.yaml")))
from flink_jobs.engine.environment import local_environment
local_environment({})
from pyflink.java_gateway import get_gateway
log = get_gateway().jvm.org.slf4j.LoggerFactory.getLogger("test")
for number in range(400):
    log.info(f"line {number} " + "x" * 100)
"""


def test_flinks_log_is_cut_at_a_size_and_the_last_few_files_stay(tmp_path: Path) -> None:
    from tests.operations.test_status import PIPELINE

    (tmp_path / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FRESHET_LOG_SIZE": "10KB"}
    environment.pop("LOG4J_PROPERTIES", None)
    subprocess.run([sys.executable, "-c", LOGS], cwd=tmp_path, env=environment, check=True, timeout=120)
    files = sorted((tmp_path / ".freshet/pipelines/documents/log").iterdir())
    assert [file.suffix for file in files] == [".log", ".1", ".2", ".3", ".4"]
    assert all(file.stat().st_size < 12_000 for file in files)
    assert "line 399 " in files[0].read_text() or "line 399 " in files[4].read_text()
