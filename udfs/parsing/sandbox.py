"""Parsers in processes of their own, with a limit of memory and a deadline: a bomb takes its process alone with it."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import msgspec

from core.documents.objects import Piece
from core.errors import ConfigError, ObjectError
from udfs.parsing.files import Limits, Options, encoded

_LENGTH = struct.Struct(">Q")
_RUN = "from udfs.parsing.sandbox import serve; serve()"


class _Job(msgspec.Struct, array_like=True):
    """What to parse; the content follows it."""

    key: str
    content_type: str | None
    options: Options
    limits: Limits


class _Answer(msgspec.Struct, array_like=True):
    rows: list[memoryview] = []
    error: str = ""
    missing: str = ""


_encode = msgspec.msgpack.Encoder().encode
_job = msgspec.msgpack.Decoder(_Job).decode
_answer = msgspec.msgpack.Decoder(_Answer).decode


class TooSlow(Exception):
    """A file that isn't parsed within the time that it was given."""


class Sandboxes:
    """Up to `processes` parsers, started when first needed, and again after each that had to be stopped."""

    def __init__(self, processes: int, limits: Limits) -> None:
        """Starts nothing."""
        self.seconds = limits.seconds
        self._limits = limits
        self._closed = False
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._free: queue.LifoQueue[subprocess.Popen[bytes] | None] = queue.LifoQueue()
        for _ in range(processes):
            self._free.put(None)

    def parse(
        self,
        content: bytes,
        key: str,
        content_type: str | None,
        options: Options,
        admit: Callable[[int], None] = lambda size: None,
    ) -> Sequence[Piece]:
        """The rows of a file, in pieces as `core.documents.objects.Loaded` has them.

        Waits for a free process, and lets it wait in `admit`, which gets the size of the rows in bytes before they are
        read.
        Raises ObjectError where the file can't be parsed, or not within the limits of all but time, for which it is
        TooSlow; ConfigError without its library.
        """
        process = self._free.get()
        try:
            if process is None or process.poll() is not None:
                self._ended(process)
                process = self._started()
            job = _Job(key, content_type, options, self._limits)
            answer = self._asked(process, job, content, admit)
        except BaseException:
            self._ended(process)
            process = None
            raise
        finally:
            self._free.put(process)
        if answer.missing:
            raise ConfigError([answer.missing])
        if answer.error:
            raise ObjectError(answer.error)
        return answer.rows

    def _started(self) -> subprocess.Popen[bytes]:
        process = _started(self._limits.memory)
        with self._lock:
            self._running.add(process)
            closed = self._closed
        if closed:
            self._ended(process)
            raise ObjectError("parsers are stopped")
        return process

    def _ended(self, process: subprocess.Popen[bytes] | None) -> None:
        if process is not None:
            _stopped(process)
            with self._lock:
                self._running.discard(process)

    def _asked(
        self, process: subprocess.Popen[bytes], job: _Job, content: bytes, admit: Callable[[int], None]
    ) -> _Answer:
        assert process.stdin is not None and process.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        deadline = threading.Timer(self._limits.seconds, stop)
        deadline.daemon = True
        deadline.start()
        try:
            _write(process.stdin, _encode(job))
            _write(process.stdin, content)
            length = _length(process.stdout)
        except OSError:
            length = None
        finally:
            deadline.cancel()
        if length is not None:
            admit(length)
            raw = process.stdout.read(length)
            if len(raw) == length:
                return _answer(raw)
        if late.is_set():
            raise TooSlow
        raise ObjectError(_needs_memory(job.key, self._limits))

    def close(self) -> None:
        """Stops the processes, those at work too: who waits for one has an ObjectError."""
        with self._lock:
            self._closed = True
            for running in self._running:
                running.kill()
        waiting = []
        with contextlib.suppress(queue.Empty):
            while True:
                waiting.append(self._free.get_nowait())
        for idle in waiting:
            self._ended(idle)
            self._free.put(None)


def _needs_memory(key: str, limits: Limits) -> str:
    return f"{key} needs more than {limits.memory >> 20} MiB of memory to parse: give it smaller, or not at all"


def _started(memory: int) -> subprocess.Popen[bytes]:
    """A process that is ready. Raises ConfigError where it doesn't start, with what it said."""
    # modules may have come from places that only this process knows, such as Flink's archives
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MALLOC_ARENA_MAX": "2"}
    environment |= {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1", "FRESHET_SANDBOX": str(memory)}
    # -c takes modules from the folder that it is started in, whose files may be others'
    environment["PYTHONSAFEPATH"] = "1"
    # not every Python inside a JVM knows its own
    python = sys.executable or shutil.which("python3") or "python3"
    process = subprocess.Popen(
        [python, "-c", _RUN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None and process.stderr is not None
    if _read(process.stdout) is None:
        why = process.stderr.read().decode(errors="replace").strip().splitlines()[-1:]
        _stopped(process)
        raise ConfigError([f"parsers of documents can't be started with {python}: {' '.join(why)}"])
    return process


def _stopped(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def serve() -> None:
    """What a process of the sandbox runs: parses files that come by standard input, until it ends."""
    answers = os.fdopen(os.dup(1), "wb")
    _limit(int(os.environ["FRESHET_SANDBOX"]))
    _write(answers, b"")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):  # whatever a library prints must not come between the answers, nor fill a pipe
        os.dup2(nowhere, output)
    while (raw := _read(sys.stdin.buffer)) is not None and (content := _read(sys.stdin.buffer)) is not None:
        job = _job(raw)
        _end_after(job.limits.seconds)
        answer = _encode(_parsed(job, content))
        _end_after(None)
        del content
        _write(answers, answer)


def _end_after(seconds: float | None) -> None:
    """Lets the process die where it takes longer: whoever started it may be gone, and watches no deadline then."""
    if hasattr(signal, "alarm"):
        signal.alarm(0 if seconds is None else int(seconds) + 2)


def _parsed(job: _Job, content: bytes) -> _Answer:
    try:
        made = encoded(content, job.key, job.content_type, job.options, job.limits)
        return _Answer([memoryview(piece) for piece in made])
    except ObjectError as error:
        return _Answer(error=str(error))
    except ConfigError as error:
        return _Answer(missing=str(error))
    except MemoryError:
        return _Answer(error=_needs_memory(job.key, job.limits))


def _limit(memory: int) -> None:
    """At most `memory` bytes more than now. Systems without such a limit have the deadline alone."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _write(pipe: IO[bytes], message: bytes) -> None:
    pipe.write(_LENGTH.pack(len(message)))
    pipe.write(message)
    pipe.flush()


def _read(pipe: IO[bytes]) -> bytes | None:
    length = _length(pipe)
    if length is None:
        return None
    message = pipe.read(length)
    return message if len(message) == length else None


def _length(pipe: IO[bytes]) -> int | None:
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    return int(length)
