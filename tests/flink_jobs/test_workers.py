"""What Python workers need that Flink doesn't give them."""

import subprocess
import sys

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
