"""The Python inside the JVM: that of the environment which starts the job, whatever else is on the path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from core.config.file import load
from flink_jobs.engine.environment import local_options
from flink_jobs.engine.java_start import SETTINGS, refusal, said
from tests.operations.test_status import PIPELINE

ROOT = Path(__file__).parents[2]
JOB = """
import sys
from pyflink.common import Types
from flink_jobs.engine.environment import local_environment

options = {"python.execution-mode": "thread", "python.executable": sys.executable}
environment = local_environment({**options, "python.client.executable": sys.executable})
environment.from_collection([1], Types.INT()).map(lambda n: __import__("ssl").__file__, Types.STRING()).print()
environment.execute("probe")

# as `timeout`, systemd or a shell tell a whole group
import os, signal, time
from pyflink.java_gateway import get_gateway

signals = []
signal.signal(signal.SIGTERM, lambda *_: signals.append(1))
os.killpg(0, signal.SIGTERM)
time.sleep(0.5)
print("signals:", len(signals), "and Java is", "there" if get_gateway().jvm.java.lang.System.nanoTime() else "")
"""


def test_a_pipelines_own_options_open_what_they_name(tmp_path: Path) -> None:
    def options(flink: str) -> dict[str, str]:
        (tmp_path / "pipeline.yaml").write_text(PIPELINE + flink, encoding="utf-8")
        return local_options(load(tmp_path / "pipeline.yaml"), tmp_path, [], None)

    closed = options("")
    opened = options('flink: {web.submit.enable: "true", taskmanager.bind-host: 0.0.0.0}\n')
    assert {name for name in closed if closed[name] != opened[name]} == {"web.submit.enable", "taskmanager.bind-host"}
    assert {closed[name] for name in closed if name.endswith(("bind-host", "bind-address"))} == {"127.0.0.1"}


def test_another_python_first_on_the_path_lends_it_no_library_and_sigterm_ends_no_jvm(tmp_path: Path) -> None:
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
        start_new_session=True,
    )
    assert "signals: 1 and Java is there" in ran.stdout, ran.stdout + ran.stderr
    assert str(Path(sys.base_prefix)) in ran.stdout, ran.stdout + ran.stderr
    assert str(tmp_path) not in ran.stdout


IN_A_FOLDER_OF_OTHERS = """
import os, sys
sys.path.pop(0)
from pyflink.common import Types
from flink_jobs.engine.environment import local_environment

paths = lambda n: "here" if "" in sys.path or os.getcwd() in sys.path else f"elsewhere {os.getpid()}"
for mode in ("thread", "process"):
    options = {"python.executable": sys.executable, "python.client.executable": sys.executable}
    environment = local_environment({**options, "python.execution-mode": mode})
    environment.from_collection([1], Types.INT()).map(paths, Types.STRING()).print()
    environment.execute("probe")
"""


def test_a_module_in_the_folder_that_a_job_is_started_from_is_not_run(tmp_path: Path) -> None:
    # struct is of the library; google is a package that is found in several folders, whose first module wins
    for name in ("struct", "google", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')\n", encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-c", IN_A_FOLDER_OF_OTHERS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.stdout.count("elsewhere") == 2 and "here\n" not in ran.stdout, ran.stdout + ran.stderr
    assert not (tmp_path / "was-run").exists()


WITHOUT_JAVA = """
import os
from core.errors import FreshetError
from flink_jobs.engine.environment import local_environment

for name, value in (("JVM_ARGS", "-Xmx5x"), ("JVM_ARGS", "-XX:+UseSerialGC -XX:+UseG1GC"), ("JAVA_HOME", "/nowhere")):
    os.environ.pop("JVM_ARGS", None)
    os.environ[name] = value
    try:
        local_environment({})
    except FreshetError as error:
        print("said:", error)
    os.environ.pop("JAVA_HOME", None)
"""


def test_a_java_that_does_not_start_is_one_error_with_its_own_words() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_JAVA], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert [line for line in ran.stdout.splitlines() if line.startswith("said: ")] == [
        "said: Java doesn't start: Invalid maximum heap size: -Xmx5x. Correct JVM_ARGS, or unset it",
        "said: Java doesn't start: Multiple garbage collectors selected. Correct JVM_ARGS, or unset it",
        "said: Java doesn't start: No such file or directory: /nowhere/bin/java. Correct JAVA_HOME, or unset it",
    ], ran.stdout + ran.stderr


def test_memory_that_is_not_there_is_not_called_a_wrong_setting() -> None:
    words = said(
        "Picked up JAVA_TOOL_OPTIONS: -Dx=y\n#\n# There is insufficient memory for the Java Runtime Environment to "
        "continue.\n# Native memory allocation (mmap) failed to map 966367641600 bytes.\n"
        "# An error report file with more information is saved as:\n# /tmp/hs_err_pid6329.log\n"
    )
    assert words.startswith("There is insufficient memory") and words.endswith("966367641600 bytes")
    assert refusal(words, []).endswith("Free some memory, or have it take less, as by JVM_ARGS=-Xmx1g")
    assert refusal(words, ["JVM_ARGS"]).endswith("Free some memory, or lower what JVM_ARGS asks for")
