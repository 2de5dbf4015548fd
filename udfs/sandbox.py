"""Parsers in processes of their own, with a limit of memory and a deadline: a bomb takes its process alone with it."""

from __future__ import annotations

import contextlib
import os
import queue
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

import msgspec

from core.errors import ConfigError, ObjectError
from udfs.parsing import Limits, Options, encoded

_LENGTH = struct.Struct(">Q")
_RUN = "from udfs.sandbox import serve; serve()"


class _Job(msgspec.Struct, array_like=True):
    content: bytes
    key: str
    content_type: str | None
    options: Options
    limits: Limits


class _Answer(msgspec.Struct, array_like=True):
    rows: bytes = b""
    error: str = ""
    missing: str = ""


_encode = msgspec.msgpack.Encoder().encode
_job = msgspec.msgpack.Decoder(_Job).decode
_answer = msgspec.msgpack.Decoder(_Answer).decode


class Sandboxes:
    """Up to `processes` parsers, started when first needed, and again after each that had to be stopped."""

    def __init__(self, processes: int, limits: Limits) -> None:
        """Starts nothing."""
        self._limits = limits
        self._free: queue.LifoQueue[subprocess.Popen[bytes] | None] = queue.LifoQueue()
        for _ in range(processes):
            self._free.put(None)

    def parse(self, content: bytes, key: str, content_type: str | None, options: Options) -> bytes:
        """The rows of a file, encoded as `core.objects.Loaded` has them.

        Waits for a free process.
        Raises ObjectError where the file can't be parsed, or not within the limits; ConfigError without its library.
        """
        process = self._free.get()
        try:
            if process is None or process.poll() is not None:
                process = _started(self._limits.memory)
            answer = self._asked(process, _encode(_Job(content, key, content_type, options, self._limits)), key)
        except BaseException:
            if process is not None:
                _stopped(process)
            process = None
            raise
        finally:
            self._free.put(process)
        if answer.missing:
            raise ConfigError([answer.missing])
        if answer.error:
            raise ObjectError(answer.error)
        return answer.rows

    def _asked(self, process: subprocess.Popen[bytes], job: bytes, key: str) -> _Answer:
        assert process.stdin is not None and process.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        deadline = threading.Timer(self._limits.seconds, stop)
        deadline.start()
        try:
            _write(process.stdin, job)
            raw = _read(process.stdout)
        except OSError:
            raw = None
        finally:
            deadline.cancel()
        if raw is not None:
            return _answer(raw)
        if late.is_set():
            raise ObjectError(
                f"{key} takes more than {self._limits.seconds:g} s to parse: give it smaller, or not at all"
            )
        raise ObjectError(_needs_memory(key, self._limits))

    def close(self) -> None:
        """Stops the processes that wait; those at work end with the pipe they read from."""
        with contextlib.suppress(queue.Empty):
            while True:
                process = self._free.get_nowait()
                if process is not None:
                    _stopped(process)


def _needs_memory(key: str, limits: Limits) -> str:
    return f"{key} needs more than {limits.memory >> 20} MiB of memory to parse: give it smaller, or not at all"


def _started(memory: int) -> subprocess.Popen[bytes]:
    """A process that is ready. Raises ConfigError where it doesn't start, with what it said."""
    # modules may have come from places that only this process knows, such as Flink's archives
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MALLOC_ARENA_MAX": "2"}
    environment |= {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1", "FRESHET_SANDBOX": str(memory)}
    process = subprocess.Popen(
        [sys.executable, "-c", _RUN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None and process.stderr is not None
    if _read(process.stdout) is None:
        why = process.stderr.read().decode(errors="replace").strip().splitlines()[-1:]
        _stopped(process)
        raise ConfigError([f"parsers of documents can't be started with {sys.executable}: {' '.join(why)}"])
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
    while (raw := _read(sys.stdin.buffer)) is not None:
        _write(answers, _encode(_parsed(_job(raw))))


def _parsed(job: _Job) -> _Answer:
    try:
        return _Answer(encoded(job.content, job.key, job.content_type, job.options, job.limits))
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
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    message = pipe.read(length)
    return message if len(message) == length else None
