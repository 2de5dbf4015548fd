"""Python workers forked off a process that has loaded what they need: a start takes 2 s of a core, 10 with a model.

A resident's jobs (`tests/resident.py`) start this module's program where Flink starts Python. It asks the server, which
forks; the worker is PyFlink's own, with the environment, folder and output that Flink gave. Who asked ends as the
worker ends, by its code or its signal; where who asked is killed, the worker is killed too. Jobs that a test runs
`alone` have workers as users have them.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORKER = "pyflink.fn_execution.beam.beam_boot"
LOADED = (
    WORKER,
    "pyflink.fn_execution.beam.beam_sdk_worker_main",
    "flink_jobs.steps.apply",
    "flink_jobs.vectorize",
    "udfs.embedding.transformer",
)

_LOOKS_S = 2.0
"""How often the server looks whether the tests are there."""

_PROGRAM = """#!{python} -IS
import json, os, socket, sys
if sys.argv[1:3] != ["-m", "{worker}"]:
    os.execv("{python}", ["{python}", *sys.argv[1:]])
order = json.dumps([sys.argv[3:], dict(os.environ), os.getcwd()]).encode()
with socket.socket(socket.AF_UNIX) as way:
    way.connect("{place}")
    socket.send_fds(way, [len(order).to_bytes(8)], [0, 1, 2])
    way.sendall(order)
    code = int.from_bytes(way.recv(8), signed=True)
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@dataclass(frozen=True)
class Server:
    """The process that forks, and the program that asks it, which stands for Python."""

    process: subprocess.Popen[bytes]
    program: Path

    def end(self) -> None:
        """Fork no more; the workers that are there end with who asked for them."""
        self.process.kill()
        self.process.wait()


def started(folder: Path) -> Server:
    """A server whose socket and program are in this folder; who asks before it has loaded everything waits."""
    place, program = folder / "socket", folder / "python"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(place))
    listening.listen(64)
    program.write_text(_PROGRAM.format(python=sys.executable, worker=WORKER, place=place), encoding="utf-8")
    program.chmod(0o755)
    with listening:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked_workers"], cwd=ROOT, stdin=listening.fileno(), start_new_session=True
        )
    return Server(process, program)


def _serve() -> None:
    for module in LOADED:
        importlib.import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for attendants
    tests = os.getppid()
    with socket.socket(fileno=0) as listening:
        while os.getppid() == tests:
            if not select.select([listening], [], [], _LOOKS_S)[0]:
                continue
            way = listening.accept()[0]
            if os.fork() == 0:
                listening.close()
                _attend(way)
            way.close()


def _attend(way: socket.socket) -> None:
    """Have a worker forked, and tell how it ended who asked, or kill it where nobody waits any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, given, _, _ = socket.recv_fds(way, 8, 3)
    order = b""
    while len(order) < int.from_bytes(length):
        order += way.recv(1 << 20)
    worker = os.fork()
    if worker == 0:
        way.close()
        _work(order, given)
    ends = select.select([os.pidfd_open(worker), way.fileno()], [], [])[0]
    if way.fileno() in ends:
        os.kill(worker, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    with suppress(OSError):  # nobody waits
        way.sendall(code.to_bytes(8, signed=True))
    os._exit(0)


def _work(order: bytes, given: list[int]) -> None:
    """Be PyFlink's worker."""
    arguments, environment, folder = json.loads(order)
    for number, each in enumerate(given):
        os.dup2(each, number)
        os.close(each)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    more = [each for each in environment.get("PYTHONPATH", "").split(os.pathsep) if each and each not in sys.path]
    sys.path[1:1] = more
    sys.argv = [WORKER, *arguments]
    code = 1
    try:
        # as `python -m` does, of a module that is loaded already
        source = Path(str(sys.modules[WORKER].__file__))
        exec(compile(source.read_bytes(), str(source), "exec"), {"__name__": "__main__", "__file__": str(source)})
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
