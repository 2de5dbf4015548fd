"""What Python workers need that Flink doesn't give them."""

import os
import select
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

_BUNDLES = """
import time
from apache_beam.runners.worker.statesampler import StateSampler
from apache_beam.utils.counters import CounterFactory
from flink_jobs.engine.workers import end_bundles_at_once

end_bundles_at_once()
sampler = StateSampler("bundle", CounterFactory())
waited = 0.0
for number in range(5):
    sampler.start()
    time.sleep(0.5 + number / 50)
    ended = time.perf_counter()
    sampler.stop()
    waited += time.perf_counter() - ended
    sampler.reset()
print(waited)
"""


def test_a_bundle_doesnt_wait_for_the_last_sleep_of_its_sampler() -> None:
    done = subprocess.run([sys.executable, "-c", _BUNDLES], capture_output=True, text=True, check=True)
    # without it each waits up to 0.1 s, and five of them 0.2 s and more, as they end at different places in a sleep
    assert float(done.stdout) < 0.1


_WORKER = """
import os, time
from flink_jobs.engine.workers import end_with_the_runner

end_with_the_runner()
end_with_the_runner()
print(os.getpid(), os.getppid(), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("above", ["java", "other"])
def test_a_worker_ends_with_the_script_that_the_jvm_started_it_by(tmp_path: Path, above: str) -> None:
    (tmp_path / "worker.py").write_text(_WORKER, encoding="utf-8")
    shutil.copy(shutil.which("sh") or "", tmp_path / above)
    # as Flink's runner has it: a script that waits for Python, which it writes the output of
    script = f"{sys.executable} {tmp_path / 'worker.py'}; exit $?"
    runner = f"sh -c '{script}' | cat; exit 0"
    jvm = subprocess.Popen(
        [tmp_path / above, "-c", runner],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    assert jvm.stdout is not None
    worker, script_pid = map(int, jvm.stdout.readline().split())
    ended = os.pidfd_open(worker)
    try:
        os.kill(script_pid, signal.SIGTERM)
        assert bool(select.select([ended], [], [], 10 if above == "java" else 1)[0]) == (above == "java")
    finally:
        os.close(ended)
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
        jvm.wait(10)
