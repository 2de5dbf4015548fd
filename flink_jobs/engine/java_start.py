"""The JVM behind this process, started; and why it doesn't start, in Java's own words."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pyflink import pyflink_gateway_server
from pyflink.java_gateway import get_gateway

from core.errors import FreshetError

SETTINGS = ("JVM_ARGS", "JAVA_HOME", "JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS")
"""Variables of the environment by which a user says how Java starts."""

_ASK_S = 20.0
_LONGEST = 500
_SAYS_NOTHING = re.compile(
    r"Error: (Could not create the Java Virtual Machine|A fatal exception has occurred)|Error occurred during init|"
    r"# An error report file|#? ?/\S+\.log$|Picked up |#?\s*$"
)
_OF_MEMORY = re.compile(r"memory|reserve|allocat|not enough space", re.IGNORECASE)


def start(theirs: Collection[str]) -> None:
    """Have the process's JVM there; nothing to do where it is. `theirs` are those of `SETTINGS` that the user has set.

    Raises FreshetError where it doesn't start.
    """
    try:
        with _deaf():
            get_gateway()
    except RuntimeError as error:
        # some of what Java says of its own start goes to its standard output, which PyFlink doesn't keep
        words = said(str(error).partition("Stderr:\n")[2]) or said(_asked())
        raise FreshetError(refusal(words, theirs)) from None
    except OSError as error:
        raise FreshetError(refusal(f"{error.strerror}: {error.filename}", theirs)) from None


@contextmanager
def _deaf() -> Iterator[None]:
    """Have a JVM that starts meanwhile ignore SIGTERM, and so its workers, as PyFlink has it ignore SIGINT alone.

    `timeout`, systemd and others tell a whole group or unit: who is to stop the job with a savepoint is this process,
    with which the JVM ends. What Java is started with as ignored it leaves ignored.
    """
    plain = pyflink_gateway_server.Popen

    def started(*arguments: Any, preexec_fn: Callable[[], object], **options: Any) -> subprocess.Popen[bytes]:
        def before() -> None:
            preexec_fn()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

        process: subprocess.Popen[bytes] = plain(*arguments, preexec_fn=before, **options)
        return process

    pyflink_gateway_server.Popen = started
    try:
        yield
    finally:
        pyflink_gateway_server.Popen = plain


def said(output: str) -> str:
    """What Java's output says of why it doesn't start, on one line; "" where it says nothing."""
    lines = (line for line in output.splitlines() if not _SAYS_NOTHING.match(line))
    return "; ".join(line.strip("# ").rstrip(". ") for line in lines)[:_LONGEST]


def refusal(words: str, theirs: Collection[str]) -> str:
    """Why there is no job, and what to do."""
    message = f"Java doesn't start: {words or 'it says nothing'}"
    if _OF_MEMORY.search(words):
        less = "lower what JVM_ARGS asks for" if "JVM_ARGS" in theirs else "have it take less, as by JVM_ARGS=-Xmx1g"
        return f"{message}. Free some memory, or {less}"
    if named := [name for name in SETTINGS if name in theirs]:
        return f"{message}. Correct {' or '.join(named)}, or unset {'it' if len(named) == 1 else 'them'}"
    return f"{message}. It is the Java that comes with Freshet: `{_java()} -version` must run here"


def _asked() -> str:
    command = [_java(), *os.environ.get("JVM_ARGS", "").split(), "-XX:+IgnoreUnrecognizedVMOptions", "-version"]
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_S, check=False)
        return done.stderr + "\n" + done.stdout if done.returncode else ""
    return ""


def _java() -> str:
    return str(Path(os.environ.get("JAVA_HOME", "")) / "bin" / "java")
